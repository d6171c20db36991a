"""Figures of several means or quantiles of the same rounds of samples, with bootstrap intervals.

A round has one sample of each column, taken one after another. Whole rounds are drawn again, so what slows all samples
of a round together cancels out of a ratio (Efron and Tibshirani, An Introduction to the Bootstrap, 13.3: percentile
intervals).
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEW", "FEW_FOR_TAIL", "TAIL", "Interval", "means", "resampled", "tails"]

FEW = 10                # fewer rounds give no interval
FEW_FOR_TAIL = 100      # fewer rounds have no sample beyond the quantile
TAIL = 0.99
_RESAMPLES = 1000
_LEVEL = 0.95

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]


class Interval(NamedTuple):
    """A figure with its 95 % interval; the bounds are None if there are too few rounds."""

    value: float
    lo: float | None
    hi: float | None


def means(rows: Floats) -> Floats:
    """The mean along the last axis."""
    found: Floats = rows.mean(axis=-1)
    return found


def tails(rows: Floats) -> Floats:
    """Along the last axis, the smallest sample that is >= at least 99 % of all."""
    at = max(0, math.ceil(TAIL * rows.shape[-1]) - 1)
    found: Floats = np.partition(rows, at, axis=-1)[..., at]
    return found


def resampled(columns: Columns, reduce: Callable[[Floats], Floats],
              figures: Mapping[str, Callable[[Columns], Floats]]) -> dict[str, Interval]:
    """Each of the figures, from the columns as `reduce` condenses them.

    The same columns always give the same intervals.

    Args:
        columns: equally long, [round].
        figures: by name, (condensed columns: [resample]) -> the figure: [resample].
    """
    rounds = len(next(iter(columns.values())))
    whole = {name: reduce(column[None]) for name, column in columns.items()}
    drawn: Columns = {}
    if rounds >= FEW:
        chosen = np.random.default_rng(rounds).integers(0, rounds, (_RESAMPLES, rounds))
        drawn = {name: reduce(column[chosen]) for name, column in columns.items()}
    found = {}
    for name, figure in figures.items():
        bounds = np.quantile(figure(drawn), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist() if drawn else (None, None)
        found[name] = Interval(float(figure(whole)[0]), *bounds)
    return found
