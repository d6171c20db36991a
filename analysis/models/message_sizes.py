"""Message sizes at a rank count that was not measured: constant, growing with the ranks, or rounded to divide."""

from functools import cache

import numpy as np

from collbench.collectives.cases.catalog import OPERATIONS, round_up

from .curve import Curve, Floats, Ints
from .series import Points

__all__ = ["sizes_at"]


def sizes_at(op: str, dtype: str, traffic: str | None, points: Points, curve: Curve,
             target: int) -> tuple[Floats, Ints]:
    """[size] message size in bytes at `target` ranks, and the requested size that it stands for.

    A message size that grew with the rank count keeps growing; a constant one is rounded up so that the target rank
    count divides it.
    """
    asked = np.full(len(curve.sizes), np.iinfo(np.int64).max)
    np.minimum.at(asked, np.searchsorted(curve.sizes, points.size), points.asked_bytes.astype(np.int64))
    first, last = curve.payload_bytes[:, 0], curve.payload_bytes[:, -1]
    grows = np.abs(last - first) > 0.5 * np.abs(first * curve.counts[-1] / curve.counts[0] - first)
    grows &= (len(curve.counts) > 1) & (curve.sizes != asked)
    grown = last * target / curve.counts[-1]
    if op not in OPERATIONS or not OPERATIONS[op].has_payload:
        return np.where(grows, grown, last), asked
    unit = _unit(op, target, dtype, traffic if OPERATIONS[op].uneven else None)
    rounded = np.maximum(1, -(-asked // unit)) * unit
    return np.where(grows, grown, rounded).astype(float), asked


@cache
def _unit(op: str, ranks: int, dtype: str, traffic: str | None) -> int:
    """The size of which all others are multiples; cached, because weighing the traffic of 384 ranks takes time."""
    try:
        return round_up(op, 1, ranks, dtype, traffic)
    except KeyError:      # an element type that only another tool has
        return ranks
