"""Calibration from earlier measurements: errors of the candidates, drift of forecasts, and widths of intervals.

`backtest.learn` computes it from public measurements at several rank counts. It is stored by machine, so that a
backtest can leave out the machine that it is run on.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

import numpy as np

from .curve import Curve, Floats
from .growth import Growth
from .history import History, scope_of
from .offsets import Offsets
from .regime import BUCKETS, COUNTS, Category
from .track_record import TrackRecord
from .widths import FEATURES, Widths

__all__ = ["Calibration", "category_of", "experience", "load_calibration", "machine_of"]

@dataclass(frozen=True)
class Calibration:
    """All that was learned, possibly without one machine.

    Args:
        widths: by class of the rank counts fitted to.
        record: outcomes of earlier forecasts by category.
        without: the machine that is left out; empty if none is.
    """

    history: History
    growth: Growth
    offsets: Offsets
    widths: Mapping[int, Widths]
    record: TrackRecord
    without: str = ""

    def curve(self, curve: Curve, kind: str) -> Curve:
        """The curve with what is known of its library family."""
        return replace(curve, growth=self.growth.of(curve.op, kind, scope_of(curve)))


def experience(name: str) -> list[dict[str, str]]:
    """Rows of a file of `analysis/data/experience`."""
    text = resources.files("collbench.analysis").joinpath("data", "experience", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _machines() -> dict[str, str]:
    return {row["system"]: row["machine"] for row in experience("systems.csv")}


def machine_of(system: str | None) -> str:
    """The machine that the calibration was learned from and that `system` is; empty if it is none of them."""
    return _machines().get(system or "", "")


def category_of(row: Mapping[str, str]) -> Category:
    """The category in the columns of a row of the experience tables."""
    return Category(int(row["counts"]), int(row["bucket"]), row["regime"], row["kind"], row["op"])


@lru_cache(maxsize=64)
def load_calibration(without: str = "") -> Calibration:
    """The shipped calibration; with `without`, that machine is left out."""
    def kept(name: str) -> list[dict[str, str]]:
        return [row for row in experience(name) if row["machine"] != without]
    errors = [(row["machine"], row["op"], row["kind"], row["scope"], row["candidate"], int(row["bucket"]),
               float(row["sum_log_error"]), int(row["curves"])) for row in kept("errors.csv")]
    growth = [(row["machine"], row["op"], row["kind"], row["scope"], int(row["band"]), float(row["growth"]))
              for row in kept("growth.csv")]
    offsets = Offsets(((row["machine"], category_of(row), int(row["band"]), float(row["drift"]))
                       for row in kept("drift.csv")),
                      ((row["machine"], category_of(row), float(row["log_error"])) for row in kept("typical.csv")))
    widths = {(row["without"], int(row["counts"])): row for row in experience("widths.csv")}
    return Calibration(History(errors), Growth(growth), offsets,
                       {counts: _widths(widths.get((without, counts), widths["", counts])) for counts in COUNTS},
                       TrackRecord((row["machine"], category_of(row), float(row["error"]), float(row["inside"]))
                                   for row in kept("record.csv")), without)


def _widths(row: Mapping[str, str]) -> Widths:
    low, high, drift = (np.array([float(row[f"{name} {i}"]) for i in range(len(BUCKETS) + 1)])
                        for name in ("low", "high", "drift"))
    coefficients: Floats = np.array([float(row[name]) for name in FEATURES])
    return Widths(coefficients, low, high, drift)
