"""Statistics of one measured point; those of `collectives.stability`, so that a live row and a report say the same."""

from collbench.collectives.statistics.stability import LEVEL, Spread, flags, quantile, spread
from collbench.collectives.statistics.stopping import median_ranks

__all__ = ["LEVEL", "Spread", "flags", "median_ranks", "quantile", "spread"]
