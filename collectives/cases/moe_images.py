"""The bytes that a rank sends and must hold after a step of a mixture-of-experts exchange.

Tokens are bytes that depend on rank, token and position. The results of the experts are small integers, and so are the
weights, so that every partial sum is exact in the element type and the right result has one bit pattern, in whatever
order a library adds.
"""

import numpy as np

from . import values
from .moe_plan import Shape, arrivals, shares_of
from .moe_workload import Workload
from .operation import DTYPES
from .routing import source_tokens

__all__ = ["combined", "dispatched", "expert_results", "largest_result", "tokens"]

_PERIOD = 16381         # a prime, so that no rows of a power of two are alike


def largest_result(work: Workload, dtype: str) -> int:
    """The largest result of an expert such that the weighted sum over all picks is exact; 0 if there is none."""
    return min(DTYPES[dtype].exact // (2 * work.topk), 1 << 10)


def tokens(shape: Shape, row_bytes: int, source: int, salt: int, which: np.ndarray) -> np.ndarray:
    """Some tokens of `source`, uint8 [token, byte]."""
    index = np.arange(_PERIOD, dtype=np.uint32)
    # Adding the source to one hash keeps sources apart; each group of 256 gets another hash.
    tile = (values.hashed(index, salt + 1009 * shape.step + 10007 * (source >> 8)) + source) % 256
    return _rows(tile.astype(np.uint8), row_bytes, which)


def dispatched(shape: Shape, row_bytes: int, rank: int, salt: int) -> np.ndarray:
    """All tokens that `rank` receives, uint8 [row, byte]."""
    return np.concatenate([tokens(shape, row_bytes, source, salt, which) for source, which in arrivals(shape, rank)])


def expert_results(shape: Shape, dtype: str, rank: int, salt: int) -> np.ndarray:
    """What the experts of `rank` make of the tokens that it received, [row, value] in `dtype`; bfloat16 as uint16."""
    made = [_results(shape, dtype, rank, source, salt, which) for source, which in arrivals(shape, rank)]
    return values.encode(np.concatenate(made), dtype)


def combined(shape: Shape, dtype: str, source: int, salt: int) -> np.ndarray:
    """The weighted sums of all results for the tokens of `source`, [token, value] in `dtype`; bfloat16 as uint16."""
    own = int(source_tokens(shape.traffic, shape.ranks, shape.tokens)[source])
    total = np.zeros((own, shape.work.hidden), np.int32)
    for rank in range(shape.ranks):
        weights = shares_of(shape, source, rank)
        which = np.flatnonzero(weights)
        total[which] += weights[which, None].astype(np.int32) * _results(shape, dtype, rank, source, salt, which)
    return values.encode(total, dtype)


def _results(shape: Shape, dtype: str, rank: int, source: int, salt: int, which: np.ndarray) -> np.ndarray:
    """int32 [token, value]"""
    most = largest_result(shape.work, dtype)
    tile = values.hashed(np.arange(_PERIOD, dtype=np.uint32),
                         salt + 1009 * shape.step + 101 * rank + 10007 * source) % (2 * most + 1) - most
    return _rows(tile.astype(np.int32), shape.work.hidden, which)


def _rows(tile: np.ndarray, width: int, which: np.ndarray) -> np.ndarray:
    """Rows `which` of an array of this width that repeats the tile."""
    windows = np.lib.stride_tricks.sliding_window_view(np.resize(tile, len(tile) + width), width)
    chosen: np.ndarray = windows[which * width % len(tile)]
    return chosen
