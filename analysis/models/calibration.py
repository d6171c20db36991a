"""Calibration from earlier measurements: the typical error of each candidate, and the width of intervals.

`backtest.learn` computes it from public measurements at several rank counts. It is stored by data set, so that a
backtest can leave out the data set that it is run on.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

import numpy as np

from .curve import Curve, Floats
from .growth import Growth

__all__ = ["COUNTS", "FEATURES", "Calibration", "History", "Row", "Widths", "bucket", "data_set_of", "history_class",
           "kind_of", "load_calibration"]

COUNTS = (1, 2, 3)                # classes of the number of rank counts fitted to: one, two, more
BUCKETS = (2.01, 4.01, 8.01)      # upper ends of the distance classes; one more class lies beyond the last
FEATURES = ("one", "score", "tried", "history", "doublings", "tried x doublings", "rank counts", "spread")

_SHRINK = 10.0       # number of curves that the wider group counts as
_NOTHING = np.log(0.4)

Row = tuple[str, str, str, str, str, int, float, int]      # data set, op, kind, scope, candidate, bucket, sum, curves


def bucket(distance: float) -> int:
    """Class of a distance: up to 2x, 4x, 8x, more."""
    return sum(distance > edge for edge in BUCKETS)


def history_class(distance: float, counts: int) -> int:
    """Class of a forecast in the error history: its distance, and whether it rests on a single rank count."""
    return bucket(distance) + (len(BUCKETS) + 1 if counts == 1 else 0)


def kind_of(library: str | None, op: str) -> str:
    """The family of a communication library, which decides how time grows with the rank count."""
    name = (library or "").lower()
    if op.startswith("moe"):
        return "exchange"
    return next((family for family in ("nccl", "rccl", "hccl") if family in name), "mpi").replace("rccl", "nccl")


def scope_of(curve: Curve) -> str:
    """`one` if the curve stays within the innermost known level of the machine, else `many`."""
    return "many" if curve.levels and curve.counts[-1] > curve.levels[-1] else "one"


class History:
    """Mean log of absolute log errors by candidate and distance, for successively narrower groups of curves."""

    def __init__(self, rows: Iterable[Row]) -> None:
        table: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0])
        for _, op, kind, scope, name, distance, total, curves in rows:
            for group in ((), (op,), (op, kind), (op, kind, scope)):
                entry = table[(name, distance, *group)]
                entry[0] += total
                entry[1] += curves
        self._table = dict(table)

    def log_error(self, name: str, distance: int, op: str, kind: str, scope: str) -> float:
        """Of a candidate; a group of few curves is shrunk towards the wider group that contains it."""
        found, pulled = _NOTHING, 0.0
        for group in ((), (op,), (op, kind), (op, kind, scope)):
            total, curves = self._table.get((name, distance, *group), (0.0, 0))
            if curves:
                found = (total + pulled * found) / (curves + pulled)
            pulled = _SHRINK
        return float(found)


@dataclass(frozen=True)
class Widths:
    """Maps features of a forecast to its 90 % prediction interval.

    Args:
        coefficients: [feature] of the log of the error scale.
        low, high: [bucket] quantiles of error over scale, by distance class.
    """

    coefficients: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Calibration:
    """Error history, growth of library families, and interval widths, possibly without one data set.

    Args:
        widths: by class of the number of rank counts fitted to.
    """

    history: History
    growth: Growth
    widths: Mapping[int, Widths]

    def widths_for(self, counts: int) -> Widths:
        """The widths for a fit to so many rank counts."""
        return self.widths[min(counts, COUNTS[-1])]

    def curve(self, curve: Curve, kind: str) -> Curve:
        """The curve with what is known of its library family."""
        return replace(curve, growth=self.growth.of(curve.op, kind, scope_of(curve)))


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("collbench.analysis").joinpath("data", "experience", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _systems() -> dict[str, str]:
    return {row["system"]: row["data_set"] for row in _table("systems.csv")}


def data_set_of(system: str | None) -> str:
    """The calibration data set that contains `system`; empty if none does."""
    return _systems().get(system or "", "")


@lru_cache(maxsize=64)
def load_calibration(without: str = "") -> Calibration:
    """The shipped calibration; with `without`, that data set is left out."""
    rows = [(row["data_set"], row["op"], row["kind"], row["scope"], row["candidate"], int(row["bucket"]),
             float(row["sum_log_error"]), int(row["curves"])) for row in _table("errors.csv")]
    growth = [(row["data_set"], row["system"], row["op"], row["kind"], row["scope"], int(row["band"]),
               float(row["growth"])) for row in _table("growth.csv")]
    widths = {(row["without"], int(row["counts"])): row for row in _table("widths.csv")}
    return Calibration(History(entry for entry in rows if entry[0] != without),
                       Growth(entry for entry in growth if entry[0] != without),
                       {counts: _widths(widths.get((without, counts), widths["", counts])) for counts in COUNTS})


def _widths(row: Mapping[str, str]) -> Widths:
    low, high = (np.array([float(row[f"{side} {i}"]) for i in range(len(BUCKETS) + 1)]) for side in ("low", "high"))
    return Widths(np.array([float(row[name]) for name in FEATURES]), low, high)
