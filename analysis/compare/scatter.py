"""The scatter from launch to launch, modelled: a shift of all cases of a launch, and each case's own."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from .rank_tests import Floats

__all__ = ["PRIOR_DF", "Scatter", "find_scatter"]

# Priors, assumed and not measured: standard deviations of a launch's log median, for the shift of a whole launch and
# for a case's own scatter, and their weight in launches. benchmarks/compare_alarms.py shows their effect.
_PRIOR_SHIFT, _PRIOR_OWN, PRIOR_DF = 0.05, 0.08, 4.0
# The same where each side has one launch, so that nothing shows how launches scatter: of a shared machine, at the high
# end of those in docs/compare.md.
_ALONE_SHIFT, _ALONE_OWN = 0.10, 0.15
_MOST_DF = 50.0


@dataclass(frozen=True)
class Scatter:
    """Variances of a launch's log median, with their degrees of freedom.

    Args:
        own: one value per case.
        words: the basis, in a sentence.
    """

    shift: float
    shift_df: float
    own: Floats
    own_df: float
    words: str


def find_scatter(points: pd.DataFrame, effect: Floats, counts: pd.DataFrame, sampling: Floats) -> Scatter:
    """The scatter of one fabric.

    Args:
        points: `case`, `side`, `launch`, and `rest`, the logarithm of a time less the mean of its case and side.
        effect: logarithm of the ratio of the sides, of each case.
        counts: launches of each case by side; the one column `pair` where differences within pairs are tested.
        sampling: variance of the logarithm of a time from the samples of its launch, of each case.
    """
    launches = points.groupby("side")["launch"].nunique()
    repeats = int(launches.sum()) - len(launches)
    if repeats < 1:
        return _without_repeats(effect, sampling)
    summed = 3 - len(launches)      # a difference has the variance of two launches
    shift = points.groupby(["side", "launch"])["rest"].median()     # over the cases
    shift = shift - shift.groupby("side").transform("mean")
    common = (PRIOR_DF * summed * _PRIOR_SHIFT**2 + float((shift**2).sum())) / (PRIOR_DF + repeats)
    rest = points["rest"] - [shift[key] for key in zip(points["side"], points["launch"], strict=True)]
    freedom = np.maximum((counts.sum(axis=1) - len(launches)).to_numpy(), 0)
    squares = (rest**2).groupby(points["case"]).sum().to_numpy()
    own, own_df = _moderated(squares, freedom)
    of, many = ("differences within pairs", f"{launches['pair']} pairs") if summed == 2 else (
        "launches", f"{launches['a']} and {launches['b']} launches")
    words = (f"{of} scatter by a common shift of {100 * math.sqrt(common):.1f} % and by "
             f"{100 * math.sqrt(float(np.median(own))):.1f} % in a case (standard deviations, from {many})")
    return Scatter(common, PRIOR_DF + repeats, np.maximum(own, sampling), own_df, words)


def _without_repeats(effect: Floats, sampling: Floats) -> Scatter:
    """One launch per side: priors, and for a case's own scatter also how much the differences differ.

    A disturbed case looks like a slower one here, so the largest difference counts as scatter too.
    """
    others = len(effect) - 1
    around = float(((effect - np.median(effect))**2).sum()) / 2
    own = (PRIOR_DF * _ALONE_OWN**2 + around) / (PRIOR_DF + others)
    words = (f"one launch per side: a common shift of {100 * _ALONE_SHIFT:.0f} % between launches is assumed, not "
             f"measured; cases scatter by {100 * math.sqrt(own):.1f} % (standard deviations)")
    return Scatter(_ALONE_SHIFT**2, PRIOR_DF, own + sampling, PRIOR_DF + others, words)


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
        prior_df, prior = PRIOR_DF, _PRIOR_OWN**2
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
