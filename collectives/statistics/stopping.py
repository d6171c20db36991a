"""When to stop sampling. Pure functions of values that all ranks share, so all ranks take the same decisions."""

import functools
import math
from collections.abc import Sequence

__all__ = ["calls_per_block", "median", "median_precision", "median_ranks", "next_round", "settled"]

_MAX_ROUND = 64
_PATIENCE_S = 0.5       # a shorter budget counts as this long when waiting for the minimum number of samples


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the middle two."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@functools.cache
def median_ranks(n: int) -> tuple[int, int] | None:
    """The order statistics (0-based) of n samples that bound the median with at least 95 % confidence.

    The number of samples below the median is binomial(n, 1/2) for any distribution, so the interval from the k-th
    smallest to the k-th largest sample misses it with probability 2 P(binomial < k). Returns the narrowest such pair,
    computed exactly in integers; None if even the full range is not enough.
    Source: Hahn and Meeker, Statistical Intervals, 5.2; also Le Boudec, Performance Evaluation, theorem 2.1.
    """
    below, k = 0, 0
    while 40 * (below + math.comb(n, k)) <= 2**n:
        below += math.comb(n, k)
        k += 1
    return (k - 1, n - k) if k else None


def median_precision(values: Sequence[float]) -> float | None:
    """Relative half-width of the 95 % confidence interval of the median; None if there is none."""
    ranks = median_ranks(len(values))
    middle = median(values) if values else 0.0
    if ranks is None or middle <= 0:
        return None
    ordered = sorted(values)
    return (ordered[ranks[1]] - ordered[ranks[0]]) / 2 / middle


def settled(blocks: Sequence[Sequence[float]]) -> bool:
    """Whether warm-up is over: the last block of calls is no faster than the one before."""
    return len(blocks) >= 2 and median(blocks[-1]) >= 0.98 * median(blocks[-2])


def next_round(counted: int, spent_s: float, budget_s: float, minimum: int, maximum: int) -> int:
    """Size of the next round of samples; 0 to stop.

    At least `minimum` samples are taken, unless so many begin late that four times the budget (and at least 2 s) was
    not enough. A round doubles the number of samples, limited to what the remaining time affords at the rate so far.

    Args:
        counted: samples so far, without late ones.
        spent_s, budget_s: time used, and available, in seconds.
        minimum, maximum: bounds on the counted samples.
    """
    if counted < minimum:
        return minimum - counted if spent_s < 4 * max(budget_s, _PATIENCE_S) else 0
    if counted >= maximum or spent_s >= budget_s:
        return 0
    affordable = int((budget_s - spent_s) / (spent_s / counted)) if spent_s > 0 else maximum
    return max(1, min(counted, affordable, maximum - counted, _MAX_ROUND))


def calls_per_block(call_s: float, block_s: float, slots: int) -> int:
    """Calls per streamed sample so that it lasts `block_s` seconds; at least 2, at most one per slot."""
    wanted = slots if call_s * slots <= block_s else math.ceil(block_s / call_s)
    return max(2, min(wanted, slots))
