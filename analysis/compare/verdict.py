"""Decide each case from the launches of both sides: effect, confidence interval, and launches needed to settle it.

Samples of one launch vary less than launches do: rank placement, memory and other load change from launch to launch.
So a launch counts as one observation, the logarithm of its median.

With enough launches, the exact rank-sum test decides, and effect and confidence interval are those of Hodges and
Lehmann (Ann. Math. Stat. 34(2), 1963): a disturbed launch is one rank, however slow it was. For launches in pairs, run
next to each other, it is the signed-rank test of the differences within pairs, in which drift of the machine cancels.

With fewer launches the scatter is modelled in two parts: a shift common to all cases of a launch, from the medians over
cases and a stated prior, and each case's own, its variance shrunk towards that of all (Smyth, Stat. Appl. Genet. Mol.
Biol. 3(1), 2004). One launch per side has no repeats to learn from: the scatter is assumed (`scatter`), and only large
differences are detected.

A machine that is slower in everything shows first in all cases together: each launch then has one value, the median
over cases of its deviations, which scatters less than any case. It is one more hypothesis for each fabric.

Holm's procedure holds the family-wise error of the whole comparison at 5 %: a gate must not raise a false alarm
anywhere in a table, which control of the false discovery rate would allow. The interval of a case has the level at
which Holm's procedure tested it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from .rank_tests import Floats, means_of_two, rank_p, rank_sum_distribution, signed_rank_distribution
from .scatter import PRIOR_DF, Scatter, find_scatter
from .sides import KEY, Match

__all__ = ["ALPHA", "BAND", "Comparison", "compare", "holm"]

ALPHA = 0.05
BAND = 0.05                 # default: ratios within this share of 1 count as the same
_ORDER = ("slower", "faster", "cannot tell", "same")
_FAR = 10_000               # launches: largest estimate that is given
_MIDDLE_HALF = 1.349        # standard deviations that the middle half of a normal distribution spans
_RANKS = 1.05               # launches that a rank test needs relative to a t test
_POWER = 0.84               # standard deviations beyond the critical value for 80 % power
_OF_MEDIAN = math.pi / 2    # variance of a median relative to that of a mean
_WIDEST = 50.0              # largest half-width of an interval of a logarithm


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Args:
        rows: one row per case of both sides, slower cases first, then by the size of the effect: `sides.KEY`,
            `label`, `a_s` and `b_s` (seconds), `ratio` of B to A with `ratio_lo` and `ratio_hi`, `p`, `verdict`
            (slower, faster, same, cannot tell), `more` (estimated launches per side that would settle it; None if it
            is settled), `noticed` (the smallest ratio that would have been called slower), `launches_a`, `launches_b`.
        together: one row per fabric with several cases, all of them together: `fabric`, `cases`, and of the columns
            of `rows` those from `ratio` on.
        match: the matched cases, and those left out with the reasons.
        band: the share within which two times count as the same.
        scatter: the basis of the intervals, a sentence per fabric.
    """

    rows: pd.DataFrame
    together: pd.DataFrame
    match: Match
    band: float
    scatter: tuple[str, ...]

    def over(self, share: float) -> pd.DataFrame:
        """Cases that are significantly slower and whose estimated slowdown exceeds `share`."""
        return _over(self.rows, share)

    def together_over(self, share: float) -> pd.DataFrame:
        """Fabrics all of whose cases together are significantly slower, by more than `share`."""
        return _over(self.together, share)

    @property
    def one_launch(self) -> bool:
        """Whether each side has one launch, so that nothing shows how launches scatter."""
        return bool((self.rows[["launches_a", "launches_b"]] == 1).all(axis=None))

    @property
    def noticed(self) -> float:
        """The ratio from which a slowdown of a usual case is detected: the median over the cases."""
        return float(self.rows["noticed"].median())


def _over(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    return rows[(rows["verdict"] == "slower") & (rows["ratio"] > 1 + share)]


def compare(found: Match, band: float = BAND) -> Comparison:
    """Decide every case of `found`."""
    parts, words = [], []
    cases = found.points[["fabric", *KEY]].drop_duplicates()
    tests = len(cases) + cases["fabric"].nunique()
    for fabric, points in found.points.groupby("fabric", sort=False):
        part, scatter = _fabric(points, tests, found.paired)
        parts.append(part)
        words.append(f"{fabric}: {scatter}")
    rows = pd.concat(parts, ignore_index=True)
    level, rejected = holm(rows["p"].to_numpy())
    effect = rows["effect"].to_numpy()
    low, high = np.array([_interval(row, step) for row, step in zip(rows.itertuples(), level, strict=True)]).T
    edge = math.log1p(band)
    same = (low >= -edge) & (high <= edge)
    verdict = np.where(same, "same", np.where(rejected, np.where(effect > 0, "slower", "faster"), "cannot tell"))
    rows = rows.assign(ratio=np.exp(effect), ratio_lo=np.exp(low), ratio_hi=np.exp(high),
                       verdict=verdict, noticed=np.exp(effect - low))
    rows["more"] = pd.array([_more(row, step, edge) if row.verdict == "cannot tell" else None
                             for row, step in zip(rows.itertuples(), level, strict=True)], dtype="Int64")
    order = pd.DataFrame({"verdict": rows["verdict"].map(_ORDER.index), "effect": -rows["effect"].abs()})
    rows = rows.loc[order.sort_values(["verdict", "effect"], kind="stable").index]
    rows = rows.drop(columns=["effect", "variance", "df", "each", "gaps", "null", "paired"])
    single, together = (rows[rows["cases"].isna()], rows[rows["cases"].notna()])
    together = together.drop(columns=[*KEY, "label", "a_s", "b_s"]).astype({"cases": int})
    return Comparison(single.drop(columns="cases").reset_index(drop=True), together.reset_index(drop=True), found,
                      band, tuple(words))


def _fabric(points: pd.DataFrame, tests: int, paired: bool) -> tuple[pd.DataFrame, str]:
    """Effects of the cases of one fabric, which share the shifts of their launches, and of all of them together.

    If a rank test is used, `gaps` are the ascending pairwise differences whose median is the estimate, and `null` is
    the distribution function of how many of them are above zero when the sides are equal; else both are None.

    Args:
        tests: number of hypotheses of the whole comparison.
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
    scatter = find_scatter(seen, effect, observed, seen.groupby("case")["sampling"].mean().to_numpy())
    first = points.drop_duplicates("case").sort_values("case")
    rows = first[[*KEY, "fabric", "label"]].reset_index(drop=True).assign(
        a_s=np.exp(middle_a), b_s=np.exp(middle_b), launches_a=counts["a"].to_numpy(),
        launches_b=counts["b"].to_numpy(), cases=math.nan)
    values = [seen[["case", "side", "y"]]]
    own = scatter.own
    if len(effect) > 1:
        whole = _together(seen, means)
        values.append(whole.assign(case=len(effect)))
        many = whole["side"].value_counts()
        observed.loc[len(effect)] = many
        at = points.groupby("side")["launch"].nunique()
        rows.loc[len(effect)] = {"fabric": rows["fabric"].iloc[0], "label": "all cases together", "cases": len(effect),
                                 "launches_a": at["a"], "launches_b": at["b"]}
        middle = whole.groupby("side")["y"].mean()
        effect = np.append(effect, middle["pair"] if paired else middle["b"] - middle["a"])
        own = np.append(own, _OF_MEDIAN * own.mean() / len(own))
    return _tested(rows, pd.concat(values), effect, observed.astype(int), (scatter, own), tests), scatter.words


def _together(seen: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """One value per launch, or pair: `side`, `launch`, and `y`, the median deviation from the mean of a case.

    Launches with less than half of the cases are left out, unless no other is left on their side.
    """
    middle = 0.0 if "pair" in means else seen["case"].map(means.mean(axis=1))
    groups = seen.assign(y=seen["y"] - middle).groupby(["side", "launch"], sort=False)["y"]
    found = groups.agg(["median", "size"]).reset_index()
    most = found.groupby("side")["size"].transform("max")
    return found[2 * found["size"] >= most].rename(columns={"median": "y"})[["side", "launch", "y"]]


def _tested(rows: pd.DataFrame, values: pd.DataFrame, effect: Floats, observed: pd.DataFrame,
            scatter: tuple[Scatter, Floats], tests: int) -> pd.DataFrame:
    """`rows` with effects, their p, and what intervals are made of."""
    (model, owns), paired = scatter, "pair" in observed
    share = (1 / observed).sum(axis=1).to_numpy()
    shift, own = model.shift * share, owns * share
    variance = shift + own
    df = variance**2 / (shift**2 / model.shift_df + own**2 / model.own_df)
    p = np.array(2 * stats.t.sf(np.abs(effect) / np.sqrt(variance), df))
    of = {key: group.to_numpy() for key, group in values.groupby(["case", "side"])["y"]}
    gaps: list[Floats | None] = [None] * len(effect)
    null: list[Floats | None] = [None] * len(effect)
    for index, many in enumerate(observed.to_numpy()):
        known = signed_rank_distribution(int(many[0])) if paired else rank_sum_distribution(*map(int, many))
        if 2 * known[0] <= ALPHA / tests:       # the smallest p that it can give passes Holm's first step
            between = np.sort(means_of_two(of[index, "pair"]) if paired else np.subtract.outer(
                of[index, "b"], of[index, "a"]), axis=None)
            null[index], gaps[index] = known, between
            effect[index], p[index] = np.median(between), rank_p(between, known)
    return rows.assign(effect=effect, variance=variance, df=df, p=p, paired=paired,
                       each=(model.shift + owns) / (2 if paired else 1), gaps=pd.Series(gaps, dtype=object),
                       null=pd.Series(null, dtype=object))


def _differences(points: pd.DataFrame) -> pd.DataFrame:
    """One row per case and pair of launches: log time of B minus log time of A."""
    points = points.assign(pair=points["launch"].str[1:])       # the launch without the letter of its side
    wide = points.set_index(["case", "pair", "side"])[["y", "sampling"]].unstack("side")
    sampling = wide["sampling", "a"] + wide["sampling", "b"]
    differences = pd.DataFrame({"y": wide["y", "b"] - wide["y", "a"], "side": "pair", "sampling": sampling})
    return differences.reset_index(names=["case", "launch"])


def _interval(row: Any, level: float) -> tuple[float, float]:
    """Confidence interval of the effect at `level`: order statistics of the gaps, else Student's t."""
    if row.gaps is None:
        half = min(float(stats.t.ppf(1 - level / 2, row.df)) * math.sqrt(row.variance), _WIDEST)
        return row.effect - half, row.effect + half
    left_out = int((2 * row.null <= level).sum())      # ordered gaps to drop at each end
    return float(row.gaps[left_out - 1]), float(row.gaps[-left_out])


def holm(p: Floats, alpha: float = ALPHA) -> tuple[Floats, NDArray[np.bool_]]:
    """The level at which Holm's procedure tests each p, and whether it rejects; `alpha` is for all together."""
    m, level, rejected = len(p), np.empty(len(p)), np.zeros(len(p), bool)
    going = True
    step = alpha / m
    for place, index in enumerate(np.argsort(p, kind="stable")):
        if going:
            step = alpha / (m - place)
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
    while needed < _FAR and (stats.t.ppf(1 - level / 2, PRIOR_DF + 2 * needed - 2) + _POWER) * math.sqrt(
            2 * row.each / needed) > target:
        needed += max(1, needed // 10)
    return needed - have
