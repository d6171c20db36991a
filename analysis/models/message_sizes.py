"""Message sizes at a rank count that was not measured: constant, growing with the ranks, or rounded to divide."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from collbench.collectives.cases.catalog import OPERATIONS, round_up
from collbench.collectives.errors import UsageError

from ..cost.operations import is_routed
from .curve import Curve, Floats, Ints
from .series import Points

__all__ = ["sizes_at"]

_MOST_WEIGHED = 2048        # ranks; a few seconds, and 32 MB
_ALIKE = 0.02       # by how much message sizes may differ from a law of their growth


def sizes_at(op: str, dtype: str, traffic: str | None, points: Points, curve: Curve, target: int,
             variant: str | None = None) -> tuple[Floats, Ints]:
    """[size] message size in bytes at `target` ranks, and the requested size that it stands for.

    A message size that grew with the rank count keeps growing; a constant one is rounded up so that the target rank
    count divides it. Those of expert-parallel operations grow as tokens reach more ranks, up to the number of experts
    that a token goes to, if `variant` states it.
    """
    asked = np.full(len(curve.sizes), np.iinfo(np.int64).max)
    np.minimum.at(asked, np.searchsorted(curve.sizes, points.size), points.asked_bytes.astype(np.int64))
    first, last = curve.payload_bytes[:, 0], curve.payload_bytes[:, -1]
    if op not in OPERATIONS or is_routed(op):
        return last * _reach_growth(curve, target, variant), asked
    grows = np.abs(last - first) > 0.5 * np.abs(first * curve.counts[-1] / curve.counts[0] - first)
    grows &= (len(curve.counts) > 1) & (curve.sizes != asked)
    # A tool that states the block of one rank keeps that; with a single rank count, this alone shows it.
    grows |= np.abs(curve.sizes * curve.counts[-1] / np.maximum(last, 1.0) - 1) < _ALIKE
    grown = last * target / curve.counts[-1]
    if not OPERATIONS[op].has_payload:
        return np.where(grows, grown, last), asked
    unit = _unit(op, target, dtype, traffic if OPERATIONS[op].uneven else None)
    rounded = np.maximum(1, -(-asked // unit)) * unit
    return np.where(grows, grown, rounded).astype(float), asked


def _reach_growth(curve: Curve, target: int, variant: str | None) -> float:
    """Growth of the message size from the largest measured rank count to `target`, by the first law that fits the data.

    Constant, or proportional to the other ranks that a token is sent to. Constant too if none fits, or if a single rank
    count was measured.
    """
    stated = re.search(r"\btop_?k=(\d+)", variant or "")
    most = int(stated[1]) if stated else None
    laws: list[Callable[[float], float]] = [lambda n: 1.0]
    if most:
        laws.append(lambda n: min(most, n) - 1)
    laws += [lambda n: n, lambda n: n - 1]
    counts = curve.counts.astype(float)
    for law in laws if len(counts) > 1 else ():
        shape = np.array([law(n) for n in counts])
        with np.errstate(all="ignore"):
            ratio = curve.payload_bytes / shape
            spread = np.nanmax(ratio, axis=1) / np.nanmin(ratio, axis=1)
        if (shape > 0).all() and np.nanmax(spread, initial=1.0) <= 1 + _ALIKE:
            return float(law(target) / shape[-1])
    return 1.0


@cache
def _unit(op: str, ranks: int, dtype: str, traffic: str | None) -> int:
    """The size of which all others are multiples; cached, because weighing the traffic of 384 ranks takes time.

    Of more ranks than anyone can weigh, which is a square of weights, the rank count.
    """
    if traffic is not None and ranks > _MOST_WEIGHED:
        return ranks
    try:
        return round_up(op, 1, ranks, dtype, traffic)
    except (KeyError, UsageError):      # an element type or a traffic pattern that only another tool has
        return ranks
