"""What earlier measurements taught: how wrong each candidate tends to be, and how wide an interval must be.

Learned by `backtest.learn` from public measurements at several rank counts, kept by data set, so that a data
set can be judged by what the others taught.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from .curve import Curve, Floats

__all__ = ["FEATURES", "Experience", "History", "Row", "Widths", "bucket", "experience", "kind_of", "taught_by"]

BUCKETS = (2.01, 4.01, 8.01)      # upper ends of distance; beyond the last there is one more
FEATURES = ("one", "score", "tried", "history", "doublings", "tried x doublings", "rank counts", "spread")

_SHRINK = 10.0       # curves that the wider group counts for
_NOTHING = np.log(0.4)

Row = tuple[str, str, str, str, str, int, float, int]      # data set, op, kind, scope, candidate, bucket, sum, curves


def bucket(distance: float) -> int:
    """Which class of distance: up to 2x, 4x, 8x, more."""
    return sum(distance > edge for edge in BUCKETS)


def kind_of(library: str | None, op: str) -> str:
    """The family of a communication library, as far as it decides how time grows with ranks."""
    name = (library or "").lower()
    if op.startswith("moe"):
        return "exchange"
    return next((family for family in ("nccl", "rccl", "hccl") if family in name), "mpi").replace("rccl", "nccl")


def scope_of(curve: Curve) -> str:
    """Whether the curve stays within the innermost level that is known of the machine."""
    return "many" if curve.levels and curve.counts[-1] > curve.levels[-1] else "one"


class History:
    """Mean log of absolute log errors by candidate and distance, for ever narrower groups of curves."""

    def __init__(self, rows: Iterable[Row]) -> None:
        table: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0])
        for _, op, kind, scope, name, distance, total, curves in rows:
            for group in ((), (op,), (op, kind), (op, kind, scope)):
                entry = table[(name, distance, *group)]
                entry[0] += total
                entry[1] += curves
        self._table = dict(table)

    def log_error(self, name: str, distance: int, op: str, kind: str, scope: str) -> float:
        """Of a candidate; a group of few curves is drawn towards the wider group that holds it."""
        found, pulled = _NOTHING, 0.0
        for group in ((), (op,), (op, kind), (op, kind, scope)):
            total, curves = self._table.get((name, distance, *group), (0.0, 0))
            if curves:
                found = (total + pulled * found) / (curves + pulled)
            pulled = _SHRINK
        return float(found)


@dataclass(frozen=True)
class Widths:
    """From features of a forecast to its 90 % interval.

    Args:
        coefficients: [feature] of the log of a scale.
        low, high: [bucket] quantiles of error over scale, by distance; they grow with it.
    """

    coefficients: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Experience:
    """Everything learned, but for one data set where that one is being judged."""

    history: History
    widths: Widths


def _table(name: str) -> list[dict[str, str]]:
    text = resources.files("collbench.analysis").joinpath("data", "experience", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _systems() -> dict[str, str]:
    return {row["system"]: row["data_set"] for row in _table("systems.csv")}


def taught_by(system: str | None) -> str:
    """The data set with which the tool has learned from `system`; empty when it has not."""
    return _systems().get(system or "", "")


@lru_cache(maxsize=64)
def experience(without: str = "") -> Experience:
    """All that was learned, or all but from the data set `without`."""
    rows = [(row["data_set"], row["op"], row["kind"], row["scope"], row["candidate"], int(row["bucket"]),
             float(row["sum_log_error"]), int(row["curves"])) for row in _table("errors.csv")]
    widths = {row["without"]: row for row in _table("widths.csv")}
    row = widths.get(without, widths[""])
    return Experience(History(entry for entry in rows if entry[0] != without),
                      Widths(np.array([float(row[name]) for name in FEATURES]),
                             np.array([float(row[f"low {i}"]) for i in range(len(BUCKETS) + 1)]),
                             np.array([float(row[f"high {i}"]) for i in range(len(BUCKETS) + 1)])))
