"""How much two published tables of the same accelerator and case differ."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..projection.references import measured

__all__ = ["apart", "widths"]

_LARGE = 4 << 20        # from here on bandwidth dominates, and tables agree better
_DISAGREE = 0.95


@cache
def apart() -> tuple[float, float]:
    """The factor by which tables for one accelerator and case differ, for small and for large messages."""
    frame = measured()
    spread = frame.groupby(["domain", "op", "ranks", "payload_bytes"])["time_s"].agg(["min", "max", "size"])
    spread = spread[spread["size"] > 1].reset_index()
    ratio = spread["max"] / spread["min"]
    large = spread["payload_bytes"] >= _LARGE
    return float(ratio[~large].quantile(_DISAGREE)), float(ratio[large].quantile(_DISAGREE))


def widths(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """[size] that factor at message sizes in bytes."""
    small, large = apart()
    return np.where(sizes >= _LARGE, large, small)
