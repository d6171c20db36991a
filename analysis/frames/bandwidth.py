"""Bandwidths from time and the catalog, exactly as nccl-tests has them: algbw = S / t, busbw = algbw * factor(n)."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from collbench.collectives.cases.catalog import OPERATIONS

__all__ = ["algbw_Bps", "bus_factor", "busbw_Bps"]


@cache
def bus_factor(op: str, ranks: int) -> float:
    """busbw over algbw of `op` over `ranks` ranks (nccl-tests doc/PERFORMANCE.md); NaN of what the catalog lacks."""
    return OPERATIONS[op].bus_factor(ranks) if op in OPERATIONS else float("nan")


def algbw_Bps(message_bytes: ArrayLike, time_s: ArrayLike) -> NDArray[np.float64]:
    """Payload over time, elementwise; NaN where there is no payload or the time is 0 or unknown."""
    size, time = np.broadcast_arrays(np.asarray(message_bytes, float), np.asarray(time_s, float))
    known = (size > 0) & (time > 0)
    return np.divide(size, time, out=np.full(size.shape, np.nan), where=known)


def busbw_Bps(op: ArrayLike, ranks: ArrayLike, message_bytes: ArrayLike, time_s: ArrayLike) -> NDArray[np.float64]:
    """Bus bandwidth, elementwise; NaN where algbw is."""
    names, counts, rates = np.broadcast_arrays(np.asarray(op, object), ranks, algbw_Bps(message_bytes, time_s))
    factors = [bus_factor(str(name), int(n)) for name, n in zip(names.flat, counts.flat, strict=True)]
    return rates * np.array(factors, float).reshape(rates.shape)
