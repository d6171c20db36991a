"""Errors of earlier forecasts of a category: their drift, added to a forecast, and their size, which sets the width.

Drift is the median signed log error: real times exceed simple forecasts by amounts that are typical of library family,
operation and distance, and of how little was measured. Each statistic is a median over systems. A group of few systems
is shrunk towards the wider group that contains it. Groups are split by distance first; for large messages that take the
same path as before (`Category.same_path`), by regime and library family first.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .curve import Floats
from .regime import BANDS_BYTES, Category

__all__ = ["DriftRow", "Offsets", "TypicalRow", "log_error", "within_score"]

_SHRINK = 2.0           # number of systems that the wider group counts as
_FLOOR = 0.01           # added to an absolute log error before its log is taken
_UNKNOWN = -2.0         # log of the error assumed where no group has any data

DriftRow = tuple[str, Category, int, float]         # system, category, band of message sizes, median signed log error
TypicalRow = tuple[str, Category, float]            # system, category, median of `log_error`


def log_error(error: Floats) -> Floats:
    """Log of absolute log errors."""
    found: Floats = np.log(np.abs(error) + _FLOOR)
    return found


def within_score(drift: Floats, score: Floats) -> Floats:
    """The drift, limited to the error that the hold-outs of the forecast itself suggest (`Forecast.score`)."""
    found: Floats = np.clip(drift, -score, score)
    return found


class Offsets:
    """Typical drift and error of a category, from the rows of systems."""

    def __init__(self, drift: Iterable[DriftRow], typical: Iterable[TypicalRow]) -> None:
        self._drift = _medians((system, (*_groups(category), band), value) for system, category, band, value in drift)
        self._typical = _medians((system, _groups(category), value) for system, category, value in typical)

    def drift(self, category: Category, payload: Floats) -> Floats:
        """[size] typical log of true over forecast time.

        Large messages that take the same path as before (`Category.same_path`) have none, with two exceptions in which
        drift was observed: forecasts from 2 ranks alone, and forecasts up to twice the ranks measured.

        Args:
            payload: [size] message sizes in bytes.
        """
        bands = np.array([self._shrunk(self._drift, (*_groups(category), band), 0.0)
                          for band in range(len(BANDS_BYTES) + 1)])
        if category.same_path and category.counts > 0 and category.bucket > 0:
            bands[-1] = 0.0
        found: Floats = bands[np.searchsorted(BANDS_BYTES, payload)]
        return found

    def typical(self, category: Category) -> float:
        """Median of `log_error` that is typical of `category`.

        Kernels made for an exchange are taken to be no easier to forecast than collectives, as far as nothing is known
        of them.
        """
        wider = category._replace(kind="", op="")
        start = self._shrunk(self._typical, _groups(wider)[:3], _UNKNOWN) if category.kind == "exchange" else _UNKNOWN
        return self._shrunk(self._typical, _groups(category), start)

    @staticmethod
    def _shrunk(table: dict[tuple[object, ...], tuple[float, int]], key: tuple[object, ...], value: float) -> float:
        for length in range(2, len(key) + 1):
            middle, systems = table.get(key[:length], (0.0, 0))
            value = (middle * systems + _SHRINK * value) / (systems + _SHRINK)
        return value


def _groups(category: Category) -> tuple[object, ...]:
    """The fields of a category in the order in which they narrow a group.

    Kernels made for an exchange form groups of their own: what they miss by says nothing of collectives.
    """
    if category.same_path:
        return (category.counts, category.regime, category.kind, category.bucket, category.op)
    if category.kind == "exchange":
        return (category.counts, category.kind, category.bucket, category.regime, category.op)
    return (category.counts, category.bucket, category.regime, category.kind, category.op)


def _medians(rows: Iterable[tuple[str, tuple[object, ...], float]]) -> dict[tuple[object, ...], tuple[float, int]]:
    """For each prefix of the keys from two parts on, the median over systems of their medians, and their number."""
    found: dict[tuple[object, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for system, key, value in rows:
        for length in range(2, len(key) + 1):
            found[key[:length]][system].append(value)
    return {key: (float(np.median([np.median(values) for values in systems.values()])), len(systems))
            for key, systems in found.items()}
