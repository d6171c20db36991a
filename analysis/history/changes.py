"""Where a series of runs changes its level: exact rank tests of every stretch of runs against all others.

The statistic of a series is the smallest two-sided p of the rank-sum test between a stretch of consecutive runs and
the rest (circular binary segmentation, Olshen et al. 2004, with ranks), so a change that was undone is found as well.
How small it is without any change is known from random orders of as many runs: nothing is assumed of the noise but
that runs are exchangeable. The parts of a series that changes are searched again.
"""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from ..compare.rank_tests import rank_sum_distribution

__all__ = ["Change", "chance_of_change", "changes_of", "discoveries"]

Floats = NDArray[np.float64]

_LEAST = 2              # runs of a stretch, and of the rest
_FEWEST = 5             # runs of a series: below, no order of them is unlikely enough
_MOST = 100             # latest runs that are looked at
_ORDERS = 5_000
_EXACT = 10             # runs on the shorter side up to which the distribution is exact
_LATER_ALPHA = 0.01     # of a further change within a part
_LEVEL = 0.95


class Change(NamedTuple):
    """A change of level.

    Args:
        at: index of the first run after it.
        factor, low, high: level after it over that before it, and its 95 % confidence interval.
    """

    at: int
    factor: float
    low: float
    high: float


def chance_of_change(values: Floats) -> float:
    """How likely a series of runs without a change looks as much like one; 1 for a series that is too short."""
    values = values[-_MOST:]
    if len(values) < _FEWEST:
        return 1.0
    null = _smallest_of_random_orders(len(values))
    smallest = float(_likeliest(rankdata(values)[None])[0][0])
    return float((np.searchsorted(null, smallest * (1 + 1e-9), side="right") + 1) / (len(null) + 1))


def changes_of(log_values: Floats, least_effect: float) -> list[Change]:
    """The changes of a series that is known to have one, by index.

    Args:
        log_values: logarithms, in the order of time.
        least_effect: a smaller relative difference is no change.
    """
    early = max(0, len(log_values) - _MOST)
    edges = [early, *sorted(_searched(log_values[early:], early, first=True)), len(log_values)]
    while len(edges) > 2:
        found = [_estimated(log_values[begin:end], at - begin, begin)
                 for begin, at, end in zip(edges[:-2], edges[1:-1], edges[2:], strict=True)]
        effects = [abs(np.log(change.factor)) for change in found]
        least = int(np.argmin(effects))
        if effects[least] >= np.log1p(least_effect):
            return found
        edges.pop(least + 1)        # its two parts are one level
    return []


def _searched(values: Floats, offset: int, first: bool = False) -> list[int]:
    """Indices of the first runs after each change."""
    if len(values) < _FEWEST or (not first and chance_of_change(values) > _LATER_ALPHA):
        return []
    _, begin, end = (int(found[0]) for found in _likeliest(rankdata(values)[None]))
    edges = sorted({0, begin, end, len(values)})
    inner = [offset + edge for edge in edges[1:-1]]
    return inner + [at for low, high in pairwise(edges) for at in _searched(values[low:high], offset + low)]


def _estimated(values: Floats, at: int, offset: int) -> Change:
    """Hodges and Lehmann's shift: the median of all differences, and the interval that inverts the rank-sum test."""
    before, after = values[:at], values[at:]
    gaps = np.sort((after[:, None] - before).ravel())
    if min(len(before), len(after)) <= _EXACT:
        null = rank_sum_distribution(len(before), len(after))
        cut = int(np.searchsorted(null, (1 - _LEVEL) / 2))
    else:
        spread = np.sqrt(len(gaps) * (len(values) + 1) / 12)
        cut = max(0, int(len(gaps) / 2 - norm.ppf((1 + _LEVEL) / 2) * spread))
    low, high = gaps[min(cut, (len(gaps) - 1) // 2)], gaps[max(-1 - cut, -1 - (len(gaps) - 1) // 2)]
    return Change(offset + at, *np.exp([float(np.median(gaps)), low, high]).tolist())


def _likeliest(ranks: Floats) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """[series] the smallest p of all stretches of consecutive runs against the rest, and where that begins and ends."""
    many, count = ranks.shape
    sums = np.concatenate([np.zeros((many, 1)), np.cumsum(ranks, axis=1)], axis=1)
    best, first, last = np.ones(many), np.zeros(many, int), np.full(many, count)
    for size in range(_LEAST, count - _LEAST + 1):
        below = sums[:, size:] - sums[:, :-size] - size * (size + 1) / 2
        far = np.minimum(below, size * (count - size) - below)
        begin = far.argmin(axis=1)
        p = _two_sided(far[np.arange(many), begin], size, count - size)
        better = p < best
        best, first, last = (np.where(better, new, old) for new, old in
                             ((p, best), (begin, first), (begin + size, last)))
    return best, first, last


def _two_sided(far: Floats, a: int, b: int) -> Floats:
    """Two-sided p of the rank-sum statistic, counted from the closer end of its range."""
    if min(a, b) <= _EXACT:
        found: Floats = 2 * rank_sum_distribution(min(a, b), max(a, b))[np.floor(far).astype(int)]
    else:
        found = 2 * norm.cdf((far + 0.5 - a * b / 2) / np.sqrt(a * b * (a + b + 1) / 12))
    return np.minimum(found, 1.0)


@lru_cache(maxsize=256)
def _smallest_of_random_orders(count: int) -> Floats:
    """The smallest p over all stretches, for random orders of as many runs, in increasing order."""
    orders = np.random.default_rng(count).permuted(np.tile(np.arange(1.0, count + 1), (_ORDERS, 1)), axis=1)
    return np.sort(_likeliest(orders)[0])


def discoveries(chances: Floats, rate: float) -> NDArray[np.bool_]:
    """Which series change, so that at most this share of those named is expected to be wrong (Benjamini, Hochberg)."""
    order = np.argsort(chances)
    passed = np.flatnonzero(chances[order] <= rate * np.arange(1, len(chances) + 1) / max(1, len(chances)))
    named = np.zeros(len(chances), bool)
    if len(passed):
        named[order[:passed[-1] + 1]] = True
    return named
