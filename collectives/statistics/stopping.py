"""How many samples are enough. Pure functions of figures that all ranks share, so all ranks decide alike."""

import functools
import math
from collections.abc import Sequence

__all__ = ["calls_per_block", "median", "median_precision", "median_ranks", "next_round", "settled"]

_MAX_ROUND = 64
_PATIENCE_S = 0.5       # for the smallest number of samples, where the time for a case is shorter


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@functools.cache
def median_ranks(n: int) -> tuple[int, int] | None:
    """Which order statistics (0-based) of n samples bound the median with at least 95 % confidence.

    The number of samples below the median is binomial(n, 1/2) whatever the distribution, so the interval from
    the k-th smallest to the k-th largest misses it with probability 2 P(binomial < k). Returned is the
    narrowest such pair, computed exactly in whole numbers; None when even smallest to largest is not enough.
    Source: Hahn and Meeker, Statistical Intervals, 5.2; also Le Boudec, Performance Evaluation, theorem 2.1.
    """
    below, k = 0, 0
    while 40 * (below + math.comb(n, k)) <= 2**n:
        below += math.comb(n, k)
        k += 1
    return (k - 1, n - k) if k else None


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

    At least `minimum` are taken, unless so many begin late that four times the time did not bring them. A round
    doubles what there is, but is cut to the time left, judged by the samples so far.
    """
    if counted < minimum:
        return minimum - counted if spent_s < 4 * max(budget_s, _PATIENCE_S) else 0
    if counted >= maximum or spent_s >= budget_s:
        return 0
    affordable = int((budget_s - spent_s) / (spent_s / counted)) if spent_s > 0 else maximum
    return max(1, min(counted, affordable, maximum - counted, _MAX_ROUND))


def calls_per_block(call_s: float, block_s: float, slots: int) -> int:
    """Calls that make a streamed sample last `block_s`; at least 2, at most one a slot."""
    wanted = slots if call_s * slots <= block_s else math.ceil(block_s / call_s)
    return max(2, min(wanted, slots))
