"""How many samples are enough. Pure functions of figures that all ranks share, so all ranks decide alike."""

import functools
import math
from collections.abc import Sequence

__all__ = ["calls_per_block", "median", "median_precision", "median_ranks", "next_round", "settled"]

_MAX_ROUND = 64


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@functools.lru_cache(maxsize=4096)
def median_ranks(n: int, level: float = 0.95) -> tuple[int, int] | None:
    """Indices (low, high) into n sorted values whose interval holds the true median with probability >= level.

    Order statistics of the binomial(n, 1/2), no assumption about the distribution (Le Boudec, Performance Evaluation,
    2010, section 2.2.2). None when n is too small (below 6 for 95 %).
    """
    tail, low = 0.0, -1
    scale = 2.0 ** -n if n < 1000 else 0.0
    if scale == 0.0:    # the normal approximation is good to one index long before this
        low = max(0, math.floor(n / 2 - 1.959964 * math.sqrt(n) / 2) - 1)
        return low, n - 1 - low
    while tail + math.comb(n, low + 1) * scale <= (1 - level) / 2:
        low += 1
        tail += math.comb(n, low) * scale
    return (low, n - 1 - low) if low >= 0 else None


def median_precision(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of the median, as a share of the median; None when unknown."""
    ranks = median_ranks(len(values))
    middle = median(values) if values else 0.0
    if ranks is None or middle <= 0:
        return None
    ordered = sorted(values)
    return (ordered[ranks[1]] - ordered[ranks[0]]) / 2 / middle


def settled(blocks: Sequence[Sequence[float]]) -> bool:
    """Whether warm-up is over: the last block is no longer faster than the one before it."""
    return len(blocks) >= 2 and median(blocks[-1]) >= 0.98 * median(blocks[-2])


def next_round(counted: int, spent_s: float, budget_s: float, minimum: int, maximum: int) -> int:
    """How many samples to take before looking again; 0 when time or samples are used up.

    At least `minimum` are always taken. A round doubles what there is, but is cut to the time left, judged by the
    samples so far.
    """
    if counted < minimum:
        return minimum - counted
    if counted >= maximum or spent_s >= budget_s:
        return 0
    affordable = int((budget_s - spent_s) / (spent_s / counted)) if spent_s > 0 else maximum
    return max(1, min(counted, affordable, maximum - counted, _MAX_ROUND))


def calls_per_block(call_s: float, block_s: float, slots: int) -> int:
    """Calls that make a streamed sample last `block_s`; at least 2, at most one a slot."""
    wanted = slots if call_s * slots <= block_s else math.ceil(block_s / call_s)
    return max(2, min(wanted, slots))
