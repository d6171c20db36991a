"""Which variants are known to be faster than which, after each look at the launches so far.

A launch is one observation: the logarithm of the median time of a case. Launches of one round are paired, so that drift
of the machine cancels. For each case and pair of variants the differences within rounds are tested: with Student's t,
or where there are enough rounds, with the exact signed-rank test of `compare`, for which a disturbed launch is one
rank, however slow it was. The variance in the t test is shrunk, towards that of other pairs in the case, and of the
pair in other cases, whichever is larger: a single disturbed launch, or a variant or case that scatters more than the
others, must not look like a difference.

Holm's procedure holds the chance of any false statement in the whole table, over all cases and pairs, at the level of
the look. Looks come after 3, 4, 6, 8, 12, 16 ... rounds, at shares of 5 % that sum to 1 (`share_of`): by the union
bound, looking repeatedly and dropping what has lost raise no false alarms. What was told apart stays so, and is no
longer tested, which leaves the others more of the level.
"""

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ..compare.rank_tests import Floats, means_of_two, rank_p, signed_rank_distribution
from ..compare.verdict import ALPHA, BAND, holm

__all__ = ["FEWEST_ROUNDS", "Race", "is_look", "looks_until", "share_of"]

Bools = NDArray[np.bool_]

# Weight of the other pairs and cases in the variance of one, at most, in degrees of freedom.
_MOST_DF = 6.0
FEWEST_ROUNDS = 3         # rounds
_LEAST_VARIANCE = 1e-8
# Of the level, for the first looks: the very first has few launches to go by; later ones halve what is left.
_SPENT = (0.05, 0.1, 0.15, 0.2)
_WIDEST = 50.0      # largest half-width of an interval of a logarithm


def is_look(rounds: int) -> bool:
    """Whether variants are compared after this many rounds: 3, 4, 6, 8, 12, 16 ..."""
    power = 1 << max(rounds, 1).bit_length() - 1
    return rounds >= FEWEST_ROUNDS and rounds in (power, power + power // 2)


def looks_until(rounds: int) -> list[int]:
    """Rounds after which variants are compared, and the last one, which may end a race between two looks."""
    looks = [count for count in range(FEWEST_ROUNDS, rounds + 1) if is_look(count)]
    return looks if not looks or looks[-1] == rounds else [*looks, rounds]


def share_of(look: int) -> float:
    """The share of the level that is spent on look 1, 2, 3 ...; all together it is 1."""
    return _SPENT[look - 1] if look <= len(_SPENT) else (1 - sum(_SPENT)) / 2 ** (look - len(_SPENT))


class Race:
    """Variants of the same cases, compared look by look.

    Attributes:
        faster: [cell, a, b] whether variant a is known to be faster than b.
        same: [cell, a, b] whether their times are known to be equal within `band`.
        effect, low, high: [cell, a, b] logarithm of the time of b over that of a with its confidence interval, at the
            level at which Holm's procedure tested it in the last look that did; not a number where it was never tested.
        pairs: [cell, a, b] rounds in which both were measured, at that look.
    """

    def __init__(self, cells: int, variants: int, band: float = BAND) -> None:
        shape = (cells, variants, variants)
        self.band, self.looks = band, 0
        self.faster, self.same = np.zeros(shape, bool), np.zeros(shape, bool)
        self.effect, self.low, self.high = (np.full(shape, np.nan) for _ in range(3))
        self.pairs = np.zeros(shape, int)

    def look(self, log_s: Floats, share: float | None = None) -> None:
        """Compare all pairs that are not told apart yet.

        Args:
            log_s: [cell, variant, round] logarithms of times; not a number where there was no launch.
            share: of the level; None for that of the next of many looks.
        """
        self.looks += 1
        level = ALPHA * (share_of(self.looks) if share is None else share)
        first, second = (np.array(side) for side in zip(*combinations(range(log_s.shape[1]), 2), strict=True))
        gaps = log_s[:, second] - log_s[:, first]       # [cell, pair, round]
        there = np.isfinite(gaps)
        n = there.sum(axis=2)
        cell, pair = np.nonzero(n >= FEWEST_ROUNDS)
        if not len(cell):
            return
        gaps, n = np.where(there, gaps, 0.0)[cell, pair], n[cell, pair]
        there = there[cell, pair]
        a, b = first[pair], second[pair]
        mean = gaps.sum(axis=1) / n
        squares = np.where(there, (gaps - mean[:, None])**2, 0.0).sum(axis=1)
        variance, df = self._variance(squares, n, cell, pair)
        open_ = ~(self.faster[cell, a, b] | self.faster[cell, b, a] | self.same[cell, a, b])
        tests = int(open_.sum())
        if not tests:
            return
        rows = np.nonzero(open_)[0]
        effect, p, walsh = self._tested(gaps[rows], there[rows], mean[rows], variance[rows], df[rows], level / tests)
        own_level, rejected = holm(p, level)
        half = stats.t.ppf(1 - own_level / 2, df[rows]) * np.sqrt(variance[rows] / n[rows])
        low, high = effect - np.minimum(half, _WIDEST), effect + np.minimum(half, _WIDEST)
        for at, ordered in walsh.items():
            left_out = int((2 * signed_rank_distribution(int(n[rows[at]])) <= own_level[at]).sum())
            low[at], high[at] = ordered[left_out - 1], ordered[-left_out]
        self._note(cell[rows], a[rows], b[rows], (effect, low, high), rejected, n[rows])

    @staticmethod
    def _variance(squares: Floats, n: NDArray[np.int_], cell: NDArray[np.int_],
                  pair: NDArray[np.int_]) -> tuple[Floats, Floats]:
        """Of a difference within a round, for each row, and its degrees of freedom.

        What is expected of a pair in a case: the variance of all pairs in the case, times how much more than others the
        pair scatters in all cases, if it does. Of the (k - 2) (n - 1) degrees of freedom that the other variants add,
        half count, since all pairs share the same launches.
        """
        freedom = (n - 1).astype(float)
        cells, pairs = int(cell.max()) + 1, int(pair.max()) + 1
        usual = np.bincount(cell, squares, cells) / np.maximum(np.bincount(cell, freedom, cells), 1)
        expected = usual[cell]
        scatter = np.bincount(pair, squares, pairs) / np.maximum(np.bincount(pair, expected * freedom, pairs), 1e-12)
        expected = expected * np.maximum(1.0, scatter[pair])
        variants = (1 + np.sqrt(1 + 8 * np.bincount(cell, minlength=cells)[cell])) / 2      # from k (k - 1) / 2 pairs
        weight = np.minimum(_MOST_DF, (variants - 2) * freedom / 2)
        variance = (weight * expected + squares) / (weight + freedom)
        return np.maximum(variance, _LEAST_VARIANCE), weight + freedom

    @staticmethod
    def _tested(gaps: Floats, there: Bools, mean: Floats, variance: Floats, df: Floats,
                least_p: float) -> tuple[Floats, Floats, dict[int, Floats]]:
        """Effects, their two-sided p, and for rows that the signed-rank test decides the ordered Walsh averages.

        Args:
            least_p: that the signed-rank test must be able to reach in order to be used.
        """
        effect, n = mean.copy(), there.sum(axis=1)
        p = 2 * stats.t.sf(np.abs(mean) / np.sqrt(variance / n), df)
        walsh = {}
        for at in np.nonzero(2.0 ** (1 - n) <= least_p)[0]:
            ordered = np.sort(means_of_two(gaps[at][there[at]]))
            effect[at], p[at] = np.median(ordered), rank_p(ordered, signed_rank_distribution(int(n[at])))
            walsh[int(at)] = ordered
        return effect, p, walsh

    def _note(self, cell: NDArray[np.int_], a: NDArray[np.int_], b: NDArray[np.int_],
              found: tuple[Floats, Floats, Floats], rejected: Bools, n: NDArray[np.int_]) -> None:
        effect, low, high = found
        edge = math.log1p(self.band)
        same = (low >= -edge) & (high <= edge)
        apart = rejected & ~same
        self.effect[cell, a, b], self.low[cell, a, b], self.high[cell, a, b] = effect, low, high
        self.effect[cell, b, a], self.low[cell, b, a], self.high[cell, b, a] = -effect, -high, -low
        self.pairs[cell, a, b] = self.pairs[cell, b, a] = n
        self.same[cell, a, b] = self.same[cell, b, a] = same
        self.faster[cell, a, b] = apart & (effect > 0)
        self.faster[cell, b, a] = apart & (effect < 0)

    def contenders(self, measured: Bools) -> Bools:
        """[cell, variant] what no other variant is known to be faster than.

        Args:
            measured: [cell, variant] whether there is any launch of it.
        """
        standing: Bools = measured & ~self.faster.any(axis=1)
        return standing

    def settled(self, measured: Bools) -> Bools:
        """[cell] whether more launches would change nothing: one variant is left, or all that are left are the same."""
        left = self.contenders(measured)
        both = left[:, :, None] & left[:, None, :] & ~np.eye(left.shape[1], dtype=bool)
        return np.asarray(~(both & ~self.same).any(axis=(1, 2)) & measured.any(axis=1))
