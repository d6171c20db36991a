"""The algorithm and bus bandwidth of a row: their ratio is a function of the number of ranks."""

from collections.abc import Callable, Iterable

from .printed_numbers import PrintedNumber

__all__ = ["Pair", "agree", "implied_ranks"]

Pair = tuple[PrintedNumber, PrintedNumber]      # algorithm bandwidth, bus bandwidth, in the same unit

_MOST_RANKS = 4096      # beyond that, (n-1)/n needs more digits than any tool prints
_MOST_ROWS = 64
_SLACK = 1e-6           # beyond rounding


def agree(pair: Pair, factor: float) -> bool:
    """Whether the bus bandwidth is `factor` times the algorithm bandwidth, within rounding."""
    low, high = _ratio(pair)
    return low <= factor <= high


def implied_ranks(factor: Callable[[int], float], pairs: Iterable[Pair]) -> int | None:
    """The number of ranks n for which busbw is `factor(n)` times algbw in most rows; None if none or several fit."""
    ratios = [_ratio(pair) for pair in sorted(pairs, key=lambda pair: -pair[0].value)[:_MOST_ROWS] if pair[0].value > 0]
    votes = [sum(low <= factor(ranks) <= high for low, high in ratios) for ranks in range(2, _MOST_RANKS + 1)]
    most = max(votes, default=0)
    return votes.index(most) + 2 if 2 * most > len(ratios) and votes.count(most) == 1 else None


def _ratio(pair: Pair) -> tuple[float, float]:
    """Bounds of busbw over algbw."""
    algbw, busbw = pair
    lowest = algbw.value - algbw.error
    high = (busbw.value + busbw.error) / lowest if lowest > 0 else float("inf")
    return (busbw.value - busbw.error) / (algbw.value + algbw.error) * (1 - _SLACK), high * (1 + _SLACK)
