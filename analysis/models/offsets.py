"""What earlier forecasts of a case missed by: a typical drift, to be added, and a typical error, which sets the width.

Real times exceed simple forecasts by amounts that are typical of library family, operation and distance, and of how
little was measured. Each statistic is a median over systems. A group of few systems is shrunk towards the wider group
that contains it. Groups are divided by distance before all else, but where messages travel as far as before
(`Case.level`), by library family first.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .curve import Floats
from .regime import BANDS_BYTES, Case

__all__ = ["DriftRow", "Offsets", "TypicalRow", "log_error", "within_score"]

_SHRINK = 2.0           # number of systems that the wider group counts as
_FLOOR = 0.01           # added to an absolute log error before its log is taken
_UNKNOWN = -2.0         # log of the error of a case of which nothing is known

DriftRow = tuple[str, Case, int, float]         # system, case, band of message sizes, median signed log error
TypicalRow = tuple[str, Case, float]            # system, case, median of `log_error`


def log_error(error: Floats) -> Floats:
    """Log of absolute log errors."""
    found: Floats = np.log(np.abs(error) + _FLOOR)
    return found


def within_score(drift: Floats, score: Floats) -> Floats:
    """The drift, but no more than the error that the forecast's own hold-outs lead to expect (`Forecast.score`)."""
    found: Floats = np.clip(drift, -score, score)
    return found


class Offsets:
    """Typical drift and error of a case, from the rows of systems."""

    def __init__(self, drift: Iterable[DriftRow], typical: Iterable[TypicalRow]) -> None:
        self._drift = _medians((system, (*_groups(case), band), value) for system, case, band, value in drift)
        self._typical = _medians((system, _groups(case), value) for system, case, value in typical)

    def drift(self, case: Case, payload: Floats) -> Floats:
        """[size] log of true over forecast time that is typical of `case`, by message size in bytes.

        None of large messages that travel as before, but from a pair and up to twice as many ranks: what a pair shows
        of the others, and the last doubling, are known to drift.
        """
        bands = np.array([self._shrunk(self._drift, (*_groups(case), band), 0.0)
                          for band in range(len(BANDS_BYTES) + 1)])
        if case.level and case.counts > 0 and case.bucket > 0:
            bands[-1] = 0.0
        found: Floats = bands[np.searchsorted(BANDS_BYTES, payload)]
        return found

    def typical(self, case: Case) -> float:
        """Median of `log_error` that is typical of `case`."""
        return self._shrunk(self._typical, _groups(case), _UNKNOWN)

    @staticmethod
    def _shrunk(table: dict[tuple[object, ...], tuple[float, int]], key: tuple[object, ...], value: float) -> float:
        for length in range(2, len(key) + 1):
            middle, systems = table.get(key[:length], (0.0, 0))
            value = (middle * systems + _SHRINK * value) / (systems + _SHRINK)
        return value


def _groups(case: Case) -> tuple[object, ...]:
    """The parts of a case, from the widest group to the narrowest."""
    if case.level:
        return (case.counts, case.regime, case.kind, case.bucket, case.op)
    return (case.counts, case.bucket, case.regime, case.kind, case.op)


def _medians(rows: Iterable[tuple[str, tuple[object, ...], float]]) -> dict[tuple[object, ...], tuple[float, int]]:
    """For each prefix of the keys from two parts on, the median over systems of their medians, and their number."""
    found: dict[tuple[object, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for system, key, value in rows:
        for length in range(2, len(key) + 1):
            found[key[:length]][system].append(value)
    return {key: (float(np.median([np.median(values) for values in systems.values()])), len(systems))
            for key, systems in found.items()}
