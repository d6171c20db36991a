"""The contest: candidates are weighted by what they predicted where they were not fitted, then averaged.

A candidate's score is its error in the forward-chained trials of this very curve, near the size in question, drawn
towards the error that it had on earlier measurements of the same operation, library and distance; the more so, the
fewer the trials. The forecast is the weighted median, its interval comes from the scores and the distance.
"""

from dataclasses import dataclass

import numpy as np

from .calibration import Experience, Widths, bucket, scope_of
from .curve import Curve, Floats
from .holdout import Trials, ahead

__all__ = ["Forecast", "features", "forecast", "interval", "weigh"]

_POWER = 2.0           # weight is score to the power of minus this
_HISTORY = 8.0         # trials that earlier measurements count for
_NEAR_SIZES = 1.5      # trials at this many sizes away count exp(-1/2)
_RECENT = 0.5          # what a trial counts for with every rank count it lies further back
_ALIKE = 2.0           # how much less trials over another distance count
_OTHER_TIER = 0.05     # what a trial counts for that entered a new level where the forecast does not, or vice versa
_BARE = 0.5            # what a trial from one rank count counts for
_CLOSE = 0.06          # log error of the best candidate below which its own trials outweigh history
_CLEARLY = 1.5         # a candidate clearly worse in trials than the best loses weight with every trial
_DECAY = 0.3
_NAMED = 0.1           # what trends count for where the data name an algorithm whose counts are known
_FLOOR, _SURE = 0.01, 0.005
_UNTRIED = 0.3         # error assumed of what was never tried


@dataclass(frozen=True)
class Forecast:
    """What is said of one rank count; arrays are [size].

    Args:
        log_time_s: weighted median of the candidates; NaN where there is none.
        weights: [candidate][size].
        score: typical log error by trials and history; `tried` by trials only, `history` by history only.
        trials: how much trials counted.
        spread: log standard deviation between candidates, by weight.
    """

    log_time_s: Floats
    weights: Floats
    score: Floats
    tried: Floats
    history: Floats
    trials: Floats
    spread: Floats


def forecast(trials: Trials, until: int, ranks: int, payload: Floats, kind: str, known: Experience,
             algorithms_only: bool = False) -> Forecast:
    """What the first `until` rank counts of a curve say of `ranks` ranks.

    Args:
        trials: of the curve, which may have more rank counts than may be used.
        payload: [size] payload there.
        algorithms_only: leave out trends, which know nothing of a level whose rate is assumed.
    """
    seen = trials.curve.until(int(trials.curve.counts[until - 1]))
    says = np.stack([ahead(candidate, seen, np.array([ranks]), payload[:, None])[:, 0]
                     for candidate in trials.candidates])
    if algorithms_only:
        says[[candidate.algorithm is None for candidate in trials.candidates]] = np.nan
    return weigh(trials, until, ranks, says, kind, known)


def weigh(trials: Trials, until: int, ranks: int, says: Floats, kind: str, known: Experience) -> Forecast:
    """As `forecast`, of what each candidate says: [candidate][size]."""
    curve = trials.curve
    total, logs, count = _tried(trials, until, ranks)
    distance = bucket(ranks / curve.counts[until - 1])
    scope = scope_of(curve.until(int(curve.counts[until - 1])))
    past = np.array([known.history.log_error(candidate.name, distance, curve.op, kind, scope)
                     for candidate in trials.candidates])[:, None]
    able = np.isfinite(says)
    with np.errstate(all="ignore"):
        error = np.where(count > 0, total / count, np.nan)
    often = np.where(count > 0.3 * count.max(axis=0), error, np.inf)
    best = np.maximum(np.where(np.isfinite(often), often, np.inf).min(axis=0), _SURE)
    trust = _HISTORY * np.clip(np.where(np.isfinite(best), best, 1.0) / _CLOSE, 0.0, 1.0)
    score = np.exp((logs + trust * past) / (count + trust))
    excess = np.log(np.maximum(np.nan_to_num(error, nan=_UNTRIED), _SURE) / np.where(np.isfinite(best), best, 1.0))
    weight = score**-_POWER * np.exp(-_DECAY * count * np.maximum(0.0, excess - np.log(_CLEARLY)))
    weight = np.where(able, weight, 0.0)
    if any(candidate.algorithm and candidate.algorithm.name == curve.algorithm for candidate in trials.candidates):
        weight[[candidate.algorithm is None for candidate in trials.candidates]] *= _NAMED
    with np.errstate(all="ignore"):
        weight = weight / weight.sum(axis=0)
    weight = np.nan_to_num(weight)
    mean = (weight * np.nan_to_num(says)).sum(axis=0)
    spread = np.sqrt((weight * np.where(able, says - mean, 0.0) ** 2).sum(axis=0))
    return Forecast(_median(says, weight), weight, (weight * score).sum(axis=0),
                    np.exp((weight * np.log(np.maximum(np.nan_to_num(error, nan=_UNTRIED), 0.003))).sum(axis=0)),
                    np.exp((weight * past).sum(axis=0)), count.max(axis=0), spread)


def _tried(trials: Trials, until: int, ranks: int) -> tuple[Floats, Floats, Floats]:
    """[candidate][size]: weighted sums of errors, of their logs, and of weights, over trials within `until`."""
    errors = trials.errors()
    curve = trials.curve
    at = np.arange(len(curve.sizes))
    near = np.exp(-0.5 * ((at[:, None] - at) / _NEAR_SIZES) ** 2)
    total, logs, count = (np.zeros((errors.shape[0], errors.shape[2])) for _ in range(3))
    for i in range(1, until):
        for j in range(i, until):
            weight = _counts_for(curve, i, j, until, ranks)
            here = errors[:, i, :, j]
            known = np.isfinite(here)
            filled = np.where(known, here, 1.0)
            total += weight * (np.where(known, here, 0.0) @ near)
            logs += weight * (np.where(known, np.log(np.maximum(filled, _FLOOR)), 0.0) @ near)
            count += weight * (known @ near)
    return total, logs, count


def _counts_for(curve: Curve, i: int, j: int, until: int, ranks: int) -> float:
    """What the trial of rank count j by the first i counts for when `ranks` are forecast by the first `until`."""
    counts = curve.counts
    here, there = np.log2(counts[j] / counts[i - 1]), np.log2(ranks / counts[until - 1])
    alike = np.exp(-_ALIKE * abs(here - there) / max(here, there, 0.5))
    same = _enters(curve, int(counts[i - 1]), int(counts[j])) == _enters(curve, int(counts[until - 1]), ranks)
    return float(_RECENT ** (until - 1 - j) * alike * (1.0 if same else _OTHER_TIER) * (_BARE if i == 1 else 1.0))


def _enters(curve: Curve, ranks: int, target: int) -> bool:
    """Whether going from `ranks` to `target` ranks enters a level of the machine not crossed before."""
    return any(ranks <= size < target for size in curve.levels)


def _median(says: Floats, weight: Floats) -> Floats:
    order = np.argsort(np.where(weight > 0, says, np.inf), axis=0)
    ordered = np.take_along_axis(says, order, axis=0)
    reached = np.take_along_axis(weight, order, axis=0).cumsum(axis=0) >= 0.5
    middle = np.take_along_axis(ordered, reached.argmax(axis=0)[None], axis=0)[0]
    return np.where(reached.any(axis=0), middle, np.nan)


def features(said: Forecast, doublings: float, counts: int) -> Floats:
    """[size][feature] of `experience.FEATURES`: what the width of an interval depends on."""
    def log(values: Floats) -> Floats:
        return np.log(np.minimum(values, 0.7) + 0.01)
    tried = np.log(np.minimum(said.tried, 0.5) + 0.01)
    away = np.full(len(tried), np.log(max(doublings, 0.25)))
    return np.column_stack([np.ones(len(tried)), log(said.score), log(said.tried), log(said.history), away,
                            tried * min(doublings - 1, 3.0), np.full(len(tried), np.log(counts)), log(said.spread)])


def interval(said: Forecast, doublings: float, counts: int, widths: Widths) -> tuple[Floats, Floats]:
    """[size] log of the ends of the 90 % interval: at which the truth has been in nine of ten earlier cases."""
    scale = np.exp(features(said, doublings, counts) @ widths.coefficients)
    at = bucket(2.0**doublings)
    # An error is forecast less truth, so its high quantile bounds the truth from below; further is never surer.
    below, above = widths.high[:at + 1].max(), widths.low[:at + 1].min()
    return said.log_time_s - below * scale, said.log_time_s - above * scale
