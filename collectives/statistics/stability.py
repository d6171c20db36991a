"""Statistics of one measured point: median, its distribution-free confidence interval, quantiles and warnings.

Communication times are skewed and have outliers, so nothing here assumes a distribution. Every function takes the
samples of one point; nothing in this module pools points or runs.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .stopping import median_ranks

__all__ = ["LEVEL", "Spread", "flags", "quantile", "spread"]

LEVEL = 0.95             # of the confidence interval of the median: 1 in 40 on each side
_FEW = 6                 # with fewer samples there is no 95 % confidence interval of the median
_ENOUGH_FOR_SHAPE = 20   # fewer samples cannot show two modes or a drift
_SHIFT = 0.05            # relative to the median; smaller shifts are of no practical interest

Floats = NDArray[np.float64]


class Spread(NamedTuple):
    """Median of the samples, its 95 % confidence interval, and quantiles, in the unit of the samples.

    `lo` and `hi` are NaN with fewer than 6 samples, for which no distribution-free interval exists.
    """

    median: float
    lo: float
    hi: float
    p5: float
    p95: float
    p99: float

    @property
    def precision(self) -> float:
        """Relative half-width of the confidence interval; NaN if there is none."""
        return (self.hi - self.lo) / 2 / self.median if self.median > 0 else math.nan


def quantile(ordered: Floats, share: float) -> float:
    """The smallest sample that is >= at least `share` of all samples; always one of the samples."""
    return float(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def spread(samples: Floats) -> Spread:
    """The spread of at least one sample, in any order."""
    ordered = np.sort(samples)
    return Spread(*_middle(ordered), quantile(ordered, 0.05), quantile(ordered, 0.95), quantile(ordered, 0.99))


def _middle(ordered: Floats) -> tuple[float, float, float]:
    """Median and the ends of its confidence interval."""
    n = len(ordered)
    middle = float(ordered[n // 2] + ordered[(n - 1) // 2]) / 2
    bounds = median_ranks(n)
    return (middle, float(ordered[bounds[0]]), float(ordered[bounds[1]])) if bounds else (middle, math.nan, math.nan)


def flags(samples: Floats, found: Spread, target: float) -> tuple[str, ...]:
    """Warnings about the median; `samples` in the order of measurement.

    Args:
        found: the spread of these samples.
        target: the requested precision, relative to the median.
    """
    warnings = []
    if len(samples) < _FEW:
        warnings.append("too few samples")
    elif found.precision > target:
        warnings.append("precision missed")
    if len(samples) >= _ENOUGH_FOR_SHAPE:
        if _drifts(samples, found.median):
            warnings.append("drift")
        if _two_modes(samples, found):
            warnings.append("bimodal")
    return tuple(warnings)


def _drifts(samples: Floats, median: float) -> bool:
    """The medians of both halves differ by more than 5 % and their 95 % confidence intervals do not overlap."""
    half = len(samples) // 2
    (first, first_lo, first_hi), (second, second_lo, second_hi) = (
        _middle(np.sort(part)) for part in (samples[:half], samples[half:]))
    return abs(first - second) > _SHIFT * median and (first_hi < second_lo or second_hi < first_lo)


def _two_modes(samples: Floats, found: Spread) -> bool:
    """A gap with more than a fifth of the samples on each side is wider than half of the range from p5 to p95."""
    if found.p95 - found.p5 <= _SHIFT * found.median:       # no gap can be wide enough
        return False
    ordered, edge = np.sort(samples), len(samples) // 5
    gap = float((ordered[edge + 1:len(ordered) - edge] - ordered[edge:len(ordered) - edge - 1]).max())
    return gap > (found.p95 - found.p5) / 2 and gap > _SHIFT * found.median
