"""Bandwidths as nccl-tests defines them: algbw = S / t, busbw = algbw * factor(n)."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from collbench.collectives.cases.catalog import OPERATIONS

__all__ = ["algbw_Bps", "bus_factor", "busbw_Bps"]


@cache
def bus_factor(op: str, ranks: int) -> float:
    """busbw over algbw (nccl-tests doc/PERFORMANCE.md); NaN for operations unknown to the catalog."""
    return OPERATIONS[op].bus_factor(ranks) if op in OPERATIONS else float("nan")


def algbw_Bps(message_bytes: ArrayLike, time_s: ArrayLike) -> NDArray[np.float64]:
    """Message size over time, elementwise; NaN if the size is 0, or the time 0 or unknown."""
    size, time = np.broadcast_arrays(np.asarray(message_bytes, float), np.asarray(time_s, float))
    known = (size > 0) & (time > 0)
    rates: NDArray[np.float64] = np.divide(size, time, out=np.full(size.shape, np.nan), where=known)
    return rates


def busbw_Bps(op: ArrayLike, ranks: ArrayLike, message_bytes: ArrayLike, time_s: ArrayLike) -> NDArray[np.float64]:
    """Bus bandwidth, elementwise; NaN where algbw is NaN."""
    names, counts, rates = np.broadcast_arrays(np.asarray(op, object), ranks, algbw_Bps(message_bytes, time_s))
    factors = [bus_factor(str(name), int(n)) for name, n in zip(names.flat, counts.flat, strict=True)]
    return np.asarray(rates * np.array(factors, float).reshape(rates.shape))
