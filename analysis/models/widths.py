"""Widths of 90 % prediction intervals as a function of the features of a forecast.

The log of the scale is linear in the features; quantiles of error over scale, by distance class, give the ends. Both
are learned from forecasts whose outcome is known (`backtest.learn`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .ensemble import Forecast
from .regime import away_at

__all__ = ["FEATURES", "Widths", "features", "log_ends"]

FEATURES = ("one", "score", "tried", "history", "doublings", "rank counts", "spread", "typical")
_LEAST = 0.01       # log half width of the narrowest interval
_MOST = 3.4         # and of the widest: a factor of 30 either way says that nothing is known


@dataclass(frozen=True)
class Widths:
    """Maps features of a forecast to its 90 % prediction interval.

    Args:
        coefficients: [feature] of the log of the error scale.
        low, high: [bucket] quantiles of error over scale, by distance class; an error is the log of true over forecast.
        drift: [bucket] share of the typical drift that a forecast is moved by.
    """

    coefficients: Floats
    low: Floats
    high: Floats
    drift: Floats


def features(estimate: Forecast, distance: float, counts: int, typical: float) -> Floats:
    """[size][feature] in the order of FEATURES.

    Args:
        distance: target ranks over the largest fitted.
        counts: number of rank counts fitted to.
        typical: log of the error that is typical of its category (`offsets.Offsets`).
    """
    def log(values: Floats, most: float = 0.7) -> Floats:
        return np.log(np.minimum(values, most) + 0.01)
    one = np.ones(len(estimate.tried))
    return np.column_stack([one, log(estimate.score), log(estimate.tried, 0.5), log(estimate.history),
                            one * np.log(max(np.log2(distance), 0.25)), one * np.log(counts), log(estimate.spread),
                            one * typical])


def log_ends(estimate: Forecast, distance: float, counts: int, typical: Sequence[float],
             widths: Widths) -> tuple[Floats, Floats]:
    """[size] log widths below and above a forecast; nowhere less than they would be at a smaller distance.

    Args:
        typical: [bucket] log of the typical error in each distance class up to `Category.reach`.
    """
    below, above = (np.full(len(estimate.tried), _LEAST) for _ in range(2))
    for at, known in enumerate(typical):
        scale = np.exp(features(estimate, away_at(at, distance), counts, known) @ widths.coefficients)
        below, above = np.maximum(below, -widths.low[at] * scale), np.maximum(above, widths.high[at] * scale)
    return np.minimum(below, _MOST), np.minimum(above, _MOST)
