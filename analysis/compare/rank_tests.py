"""Exact rank tests: distributions of their statistics, and the p that they give."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "means_of_two", "rank_p", "rank_sum_distribution", "signed_rank_distribution"]

Floats = NDArray[np.float64]


@lru_cache
def rank_sum_distribution(a: int, b: int) -> Floats:
    """Distribution function of the rank-sum statistic U at 0, 1 ... a b, for equal sides of `a` and `b` launches."""
    ways = [1] + [0] * (a * b)
    for part in range(1, a + 1):        # coefficients of the Gaussian binomial, one factor at a time
        for place in range(a * b, b + part - 1, -1):
            ways[place] -= ways[place - b - part]
        for place in range(part, a * b + 1):
            ways[place] += ways[place - part]
    total = math.comb(a + b, a)
    return np.array([count / total for count in np.cumsum(np.array(ways, dtype=object))])


@lru_cache
def signed_rank_distribution(pairs: int) -> Floats:
    """The distribution function of the signed-rank statistic at 0, 1 ... n (n + 1) / 2, for pairs without effect."""
    ways = [1] + [0] * (pairs * (pairs + 1) // 2)
    for rank in range(1, pairs + 1):
        for place in range(len(ways) - 1, rank - 1, -1):
            ways[place] += ways[place - rank]
    return np.array([count / 2**pairs for count in np.cumsum(np.array(ways, dtype=object))])


def rank_p(gaps: Floats, null: Floats) -> float:
    """Two-sided p of the exact test; ties count half, rounded conservatively."""
    above = float((gaps > 0).sum() + (gaps == 0).sum() / 2)
    return min(1.0, 2 * float(null[math.ceil(min(above, len(gaps) - above))]))


def means_of_two(values: Floats) -> Floats:
    """Walsh averages: the means of all pairs of values, each with itself included."""
    return (values[:, None] + values)[np.triu_indices(len(values))] / 2
