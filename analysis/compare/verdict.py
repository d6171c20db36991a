"""Decide each case from the launches of both sides: effect, confidence interval, and launches needed to settle it.

Samples of one launch vary less than launches do: rank placement, memory and other load change from launch to launch.
So a launch counts as one observation, the logarithm of its median.

With enough launches, the exact rank-sum test decides, and effect and confidence interval are those of Hodges and
Lehmann (Ann. Math. Stat. 34(2), 1963): a disturbed launch is one rank, however slow it was. For launches in pairs, run
next to each other, it is the signed-rank test of the differences within pairs, in which drift of the machine cancels.

With fewer launches the scatter is modelled in two parts: a shift common to all cases of a launch, from the medians over
cases and a stated prior, and each case's own, its variance shrunk towards that of all (Smyth, Stat. Appl. Genet. Mol.
Biol. 3(1), 2004). One launch per side has no repeats to learn from; it settles no difference.

Holm's procedure holds the family-wise error of the whole comparison at 5 %: a gate must not raise a false alarm
anywhere in a table, which control of the false discovery rate would allow. The interval of a case has the level at
which Holm's procedure tested it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from .sides import KEY, Match

__all__ = ["ALPHA", "BAND", "Comparison", "compare"]

ALPHA = 0.05
BAND = 0.05                 # default: ratios within this share of 1 count as the same
# Priors, assumed and not measured: standard deviations of a launch's log median, for the shift of a whole launch and
# for a case's own scatter, and their weight in launches. benchmarks/compare_alarms.py shows their effect.
_PRIOR_SHIFT, _PRIOR_OWN, _PRIOR_DF = 0.05, 0.08, 4.0
_MOST_DF = 50.0
_ORDER = ("slower", "faster", "cannot tell", "same")
_FAR = 10_000               # launches: largest estimate that is given
_MIDDLE_HALF = 1.349        # standard deviations that the middle half of a normal distribution spans
_RANKS = 1.05               # launches that a rank test needs relative to a t test
_POWER = 0.84               # standard deviations beyond the critical value for 80 % power
_WIDEST = 50.0              # largest half-width of an interval of a logarithm
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Args:
        rows: one row per case of both sides, slower cases first, then by the size of the effect: `sides.KEY`,
            `label`, `a_s` and `b_s` (seconds), `ratio` of B to A with `ratio_lo` and `ratio_hi`, `p`, `verdict`
            (slower, faster, same, cannot tell), `more` (estimated launches per side that would settle it; None if it
            is settled), `launches_a`, `launches_b`.
        match: the matched cases, and those left out with the reasons.
        band: the share within which two times count as the same.
        scatter: the basis of the intervals, a sentence per fabric.
    """

    rows: pd.DataFrame
    match: Match
    band: float
    scatter: tuple[str, ...]

    def over(self, share: float) -> pd.DataFrame:
        """Cases that are significantly slower and whose estimated slowdown exceeds `share`."""
        return self.rows[(self.rows["verdict"] == "slower") & (self.rows["ratio"] > 1 + share)]


@dataclass(frozen=True)
class _Scatter:
    """Variances of a launch's log median, with their degrees of freedom; `own` has one value per case."""

    shift: float
    shift_df: float
    own: Floats
    own_df: float
    words: str


def compare(found: Match, band: float = BAND) -> Comparison:
    """Decide every case of `found`."""
    parts, words = [], []
    cases = len(found.points[["fabric", *KEY]].drop_duplicates())
    for fabric, points in found.points.groupby("fabric", sort=False):
        part, scatter = _fabric(points, cases, found.paired)
        parts.append(part)
        words.append(f"{fabric}: {scatter}")
    rows = pd.concat(parts, ignore_index=True)
    level, rejected = _holm(rows["p"].to_numpy())
    effect = rows["effect"].to_numpy()
    low, high = np.array([_interval(row, step) for row, step in zip(rows.itertuples(), level, strict=True)]).T
    edge = math.log1p(band)
    same = (low >= -edge) & (high <= edge)
    verdict = np.where(same, "same", np.where(rejected, np.where(effect > 0, "slower", "faster"), "cannot tell"))
    rows = rows.assign(ratio=np.exp(effect), ratio_lo=np.exp(low), ratio_hi=np.exp(high),
                       verdict=verdict)
    rows["more"] = pd.array([_more(row, step, edge) if row.verdict == "cannot tell" else None
                             for row, step in zip(rows.itertuples(), level, strict=True)], dtype="Int64")
    order = pd.DataFrame({"verdict": rows["verdict"].map(_ORDER.index), "effect": -rows["effect"].abs()})
    rows = rows.loc[order.sort_values(["verdict", "effect"], kind="stable").index]
    rows = rows.drop(columns=["effect", "variance", "df", "each", "gaps", "null", "paired"]).reset_index(drop=True)
    return Comparison(rows, found, band, tuple(words))


def _fabric(points: pd.DataFrame, cases: int, paired: bool) -> tuple[pd.DataFrame, str]:
    """Effects of the cases of one fabric, which share the shifts of their launches; `cases` counts all fabrics.

    If a rank test is used, `gaps` are the ascending pairwise differences whose median is the estimate, and `null` is
    the distribution function of how many of them are above zero when the sides are equal; else both are None.
    """
    case = points.groupby(KEY, dropna=False, sort=False).ngroup()
    points = points.assign(case=case, y=np.log(points["time_s"]))
    counts = points.groupby(["case", "side"]).size().unstack("side")
    middle_a, middle_b = (points[points["side"] == side].groupby("case")["y"].median().to_numpy() for side in "ab")
    paired = paired and bool((counts["a"] > 1).any())
    seen = _differences(points) if paired else points
    cell = seen.groupby(["case", "side"])["y"]
    seen = seen.assign(rest=seen["y"] - cell.transform("mean"))
    means, observed = cell.mean().unstack("side"), cell.size().unstack("side")
    effect = (means["pair"] if paired else means["b"] - means["a"]).to_numpy(copy=True)
    scatter = _scatter(seen, effect, observed, seen.groupby("case")["sampling"].mean().to_numpy())
    share = (1 / observed).sum(axis=1).to_numpy()
    shift, own = scatter.shift * share, scatter.own * share
    variance = shift + own
    df = variance**2 / (shift**2 / scatter.shift_df + own**2 / scatter.own_df)
    p = np.array(2 * stats.t.sf(np.abs(effect) / np.sqrt(variance), df))
    values = {key: group.to_numpy() for key, group in seen.groupby(["case", "side"])["y"]}
    gaps: list[Floats | None] = [None] * len(effect)
    null: list[Floats | None] = [None] * len(effect)
    for index, many in enumerate(observed.to_numpy()):
        known = _signed(int(many[0])) if paired else _cumulative(*map(int, many))
        if 2 * known[0] <= ALPHA / cases:       # the smallest p that it can give passes Holm's first step
            between = np.sort(_means_of_two(values[index, "pair"]) if paired else np.subtract.outer(
                values[index, "b"], values[index, "a"]), axis=None)
            null[index], gaps[index] = known, between
            effect[index], p[index] = np.median(between), _rank_p(between, known)
    first = points.drop_duplicates("case").sort_values("case")
    rows = first[[*KEY, "fabric", "label"]].reset_index(drop=True).assign(
        a_s=np.exp(middle_a), b_s=np.exp(middle_b), effect=effect, variance=variance, df=df,
        each=(scatter.shift + scatter.own) / (2 if paired else 1), p=p,
        gaps=pd.Series(gaps, dtype=object), null=pd.Series(null, dtype=object), paired=paired,
        launches_a=counts["a"].to_numpy(), launches_b=counts["b"].to_numpy())
    return rows, scatter.words


def _differences(points: pd.DataFrame) -> pd.DataFrame:
    """One row per case and pair of launches: log time of B minus log time of A."""
    points = points.assign(pair=points["launch"].str[1:])       # the launch without the letter of its side
    wide = points.set_index(["case", "pair", "side"])[["y", "sampling"]].unstack("side")
    sampling = wide["sampling", "a"] + wide["sampling", "b"]
    differences = pd.DataFrame({"y": wide["y", "b"] - wide["y", "a"], "side": "pair", "sampling": sampling})
    return differences.reset_index(names=["case", "launch"])


def _means_of_two(values: Floats) -> Floats:
    """Walsh averages: the means of all pairs of values, each with itself included."""
    return (values[:, None] + values)[np.triu_indices(len(values))] / 2


def _scatter(points: pd.DataFrame, effect: Floats, counts: pd.DataFrame, sampling: Floats) -> _Scatter:
    launches = points.groupby("side")["launch"].nunique()
    repeats = int(launches.sum()) - len(launches)
    if repeats < 1:
        return _without_repeats(effect, sampling)
    summed = 3 - len(launches)      # a difference has the variance of two launches
    shift = points.groupby(["side", "launch"])["rest"].median()     # over the cases
    shift = shift - shift.groupby("side").transform("mean")
    common = (_PRIOR_DF * summed * _PRIOR_SHIFT**2 + float((shift**2).sum())) / (_PRIOR_DF + repeats)
    rest = points["rest"] - [shift[key] for key in zip(points["side"], points["launch"], strict=True)]
    freedom = np.maximum((counts.sum(axis=1) - len(launches)).to_numpy(), 0)
    squares = (rest**2).groupby(points["case"]).sum().to_numpy()
    own, own_df = _moderated(squares, freedom)
    of, many = ("differences within pairs", f"{launches['pair']} pairs") if summed == 2 else (
        "launches", f"{launches['a']} and {launches['b']} launches")
    words = (f"{of} scatter by a common shift of {100 * math.sqrt(common):.1f} % and by "
             f"{100 * math.sqrt(float(np.median(own))):.1f} % in a case (standard deviations, from {many})")
    return _Scatter(common, _PRIOR_DF + repeats, np.maximum(own, sampling), own_df, words)


def _without_repeats(effect: Floats, sampling: Floats) -> _Scatter:
    """One launch per side: a prior for the common shift; the differences, with one degree of freedom, for the rest.

    A disturbed case looks like a slower one here, so the largest difference counts as scatter too.
    """
    others = len(effect) - 1
    around = float(((effect - np.median(effect))**2).sum()) / 2
    own = (_PRIOR_DF * _PRIOR_OWN**2 + around) / (_PRIOR_DF + others)
    words = (f"one launch per side: a common shift of {100 * _PRIOR_SHIFT:.0f} % between launches is assumed, not "
             f"measured; cases scatter by {100 * math.sqrt(own):.1f} % (standard deviations). Take more launches")
    return _Scatter(_PRIOR_SHIFT**2, _PRIOR_DF, own + sampling, 1.0, words)


@lru_cache
def _cumulative(a: int, b: int) -> Floats:
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
def _signed(pairs: int) -> Floats:
    """The distribution function of the signed-rank statistic at 0, 1 ... n (n + 1) / 2, for pairs without effect."""
    ways = [1] + [0] * (pairs * (pairs + 1) // 2)
    for rank in range(1, pairs + 1):
        for place in range(len(ways) - 1, rank - 1, -1):
            ways[place] += ways[place - rank]
    return np.array([count / 2**pairs for count in np.cumsum(np.array(ways, dtype=object))])


def _rank_p(gaps: Floats, null: Floats) -> float:
    """Two-sided p of the exact test; ties count half, rounded conservatively."""
    above = float((gaps > 0).sum() + (gaps == 0).sum() / 2)
    return min(1.0, 2 * float(null[math.ceil(min(above, len(gaps) - above))]))


def _interval(row: Any, level: float) -> tuple[float, float]:
    """Confidence interval of the effect at `level`: order statistics of the gaps, else Student's t."""
    if row.gaps is None:
        half = min(float(stats.t.ppf(1 - level / 2, row.df)) * math.sqrt(row.variance), _WIDEST)
        return row.effect - half, row.effect + half
    left_out = int((2 * row.null <= level).sum())      # ordered gaps to drop at each end
    return float(row.gaps[left_out - 1]), float(row.gaps[-left_out])


def _moderated(squares: Floats, freedom: Floats) -> tuple[Floats, float]:
    """Each case's variance, shrunk towards that of all (Smyth 2004), and the fewest degrees of freedom of any case."""
    known = freedom > 0
    usual = float(np.median(freedom[known]))
    raw = np.maximum(squares[known] / freedom[known], 1e-10)
    # Log variances, corrected for the bias of a log chi-square; their excess variance gives the prior's weight.
    logs = np.log(raw) - special.digamma(freedom[known] / 2) + np.log(freedom[known] / 2)
    beyond = float(np.var(logs, ddof=1)) - float(special.polygamma(1, usual / 2)) if len(raw) > 1 else 0.0
    prior_df = min(2 * _inverse_trigamma(beyond), _MOST_DF) if beyond > 0 else _MOST_DF
    prior = math.exp(float(np.mean(logs)) + float(special.digamma(prior_df / 2)) - math.log(prior_df / 2))
    if len(raw) < 4:
        prior_df, prior = _PRIOR_DF, _PRIOR_OWN**2
    own = (prior_df * prior + squares) / (prior_df + freedom)
    return own, prior_df + float(freedom.min())


def _inverse_trigamma(value: float) -> float:
    """The x whose trigamma is `value`, by Newton's method on the reciprocal."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def _holm(p: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The level at which Holm's procedure tests each p, and whether it rejects."""
    m, level, rejected = len(p), np.empty(len(p)), np.zeros(len(p), bool)
    going = True
    step = ALPHA / m
    for place, index in enumerate(np.argsort(p, kind="stable")):
        if going:
            step = ALPHA / (m - place)
            going = bool(p[index] <= step)
        level[index], rejected[index] = step, going
    return level, rejected


def _more(row: Any, level: float, edge: float) -> int:
    """Launches per side still needed to separate the effect from zero, or from the band, with 80 % power.

    If a rank test decides, the scatter is estimated from the middle half of the gaps, which is robust like the test.
    """
    effect: float = abs(row.effect)
    target = effect if effect > edge else max(edge - effect, edge / 2)
    have: int = min(row.launches_a, row.launches_b)
    if row.gaps is not None:
        low, high = np.quantile(row.gaps, [0.25, 0.75])
        each = float((high - low) / _MIDDLE_HALF)**2 * (1 if row.paired else 0.5)     # of a launch
        factor = float(stats.norm.isf(level / 2)) + _POWER
        return min(max(1, math.ceil(factor**2 * 2 * each * _RANKS / target**2) - have), _FAR)
    needed = have + 1
    while needed < _FAR and (stats.t.ppf(1 - level / 2, _PRIOR_DF + 2 * needed - 2) + _POWER) * math.sqrt(
            2 * row.each / needed) > target:
        needed += max(1, needed // 10)
    return needed - have
