"""Statistics of one measured point: median, quantiles, a distribution-free interval, and what to warn of.

Times of communication are skewed and have outliers, so nothing here assumes a distribution. Every function
takes the samples of one point; pooling over points or runs happens nowhere in this module.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .stopping import median_ranks

__all__ = ["LEVEL", "Spread", "flags", "quantile", "spread"]

LEVEL = 0.95             # of the interval of the median: 1 in 40 on each side
_FEW = 6                 # fewer samples have no 95 % interval of the median at all
_ENOUGH_FOR_SHAPE = 20   # fewer samples cannot show two modes or a drift
_SHIFT = 0.05            # share of the median below which a shift is of no practical interest

Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """Median of the samples, its interval, and quantiles; in the unit of the samples.

    `lo` and `hi` are NaN with fewer than 6 samples: no distribution-free 95 % interval exists for them.
    """

    median: float
    lo: float
    hi: float
    p5: float
    p95: float
    p99: float

    @property
    def precision(self) -> float:
        """Half width of the interval over the median; NaN when there is no interval."""
        return (self.hi - self.lo) / 2 / self.median if self.median > 0 else math.nan


def quantile(ordered: Floats, share: float) -> float:
    """The smallest sample that at least `share` of all samples do not exceed: always a time that was seen."""
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def spread(samples: Floats) -> Spread:
    """Median, interval and quantiles of at least one sample, in any order."""
    ordered = np.sort(samples)
    return Spread(*_middle(ordered), quantile(ordered, 0.05), quantile(ordered, 0.95), quantile(ordered, 0.99))


def _middle(ordered: Floats) -> tuple[float, float, float]:
    """Median and the ends of its interval."""
    n = len(ordered)
    middle = float(ordered[n // 2] + ordered[(n - 1) // 2]) / 2
    bounds = median_ranks(n)
    return (middle, float(ordered[bounds[0]]), float(ordered[bounds[1]])) if bounds else (middle, math.nan, math.nan)


def flags(samples: Floats, found: Spread, target: float) -> tuple[str, ...]:
    """What a reader must know before trusting the median; `samples` in the order of measurement.

    Args:
        found: the spread of these samples.
        target: the precision that was asked for, as a share of the median.
    """
    said = []
    if len(samples) < _FEW:
        said.append("too few samples")
    elif found.precision > target:
        said.append("precision missed")
    if len(samples) >= _ENOUGH_FOR_SHAPE:
        if _drifts(samples, found.median):
            said.append("drift")
        if _two_modes(samples, found):
            said.append("bimodal")
    return tuple(said)


def _drifts(samples: Floats, median: float) -> bool:
    """The medians of both halves differ by more than 5 % and their 95 % intervals do not meet."""
    half = len(samples) // 2
    (first, first_lo, first_hi), (second, second_lo, second_hi) = (
        _middle(np.sort(part)) for part in (samples[:half], samples[half:]))
    return abs(first - second) > _SHIFT * median and (first_hi < second_lo or second_hi < first_lo)


def _two_modes(samples: Floats, found: Spread) -> bool:
    """One empty gap, with a fifth of the samples or more on each side, is over half of the spread p5 to p95."""
    if found.p95 - found.p5 <= _SHIFT * found.median:       # no gap within can be large enough
        return False
    ordered, edge = np.sort(samples), len(samples) // 5
    gap = float((ordered[edge + 1:len(ordered) - edge] - ordered[edge:len(ordered) - edge - 1]).max())
    return gap > (found.p95 - found.p5) / 2 and gap > _SHIFT * found.median
