"""The ensemble: candidates are weighted by their hold-out errors and combined by a weighted median.

The score of a candidate is its error in the forward-chained trials of the same curve near the message size. With few
trials it is shrunk towards the error on earlier measurements of the same operation, library and distance. The
prediction interval follows from the scores and the distance.
"""

from dataclasses import dataclass

import numpy as np

from .candidates import STEADY
from .curve import Curve, Floats
from .history import History, history_class, scope_of
from .holdout import Trials, extended
from .regime import BANDS_BYTES

__all__ = ["Forecast", "forecast"]

_POWER = 2.0           # weight is score to minus this power
_HISTORY = 8.0         # number of trials that earlier measurements count as
_NEAR_SIZES = 1.5      # trials this many sizes away have weight exp(-1/2)
_RECENT = 0.5          # factor on the weight of a trial per rank count that it lies further back
_ALIKE = 2.0           # decay of the weight of trials over another distance
_OTHER_TIER = 0.05     # weight of a trial that entered a new level if the forecast does not, or vice versa
_BARE = 0.5            # weight of a trial from one rank count
_CLOSE = 0.06          # log error of the best candidate below which trials outweigh history
_CLEARLY = 1.5         # a candidate this many times worse than the best loses weight with every trial
_DECAY = 0.3
_NAMED = 0.1           # weight of trends if the data name an algorithm of the registry
_FLOOR, _SURE = 0.01, 0.005
_UNTRIED = 0.3         # log error assumed without any trial


@dataclass(frozen=True)
class Forecast:
    """The forecast for one rank count; arrays are [size].

    Args:
        log_time_s: weighted median of the candidates; NaN if there is none.
        weights: [candidate][size].
        score: typical log error from trials and history; `tried` from trials only, `history` from history only.
        trials: total weight of the trials.
        spread: weighted standard deviation of log time between candidates.
    """

    log_time_s: Floats
    weights: Floats
    score: Floats
    tried: Floats
    history: Floats
    trials: Floats
    spread: Floats


def forecast(trials: Trials, until: int, ranks: int, payload: Floats, kind: str, history: History,
             algorithms_only: bool = False, steady: bool = False) -> Forecast:
    """Forecast of `ranks` ranks from the first `until` rank counts of a curve.

    Args:
        trials: of the curve, which may have more rank counts than `until`.
        payload: [size] message size there.
        algorithms_only: leave out trends, which cannot represent a level whose rate is assumed.
        steady: messages travel as far as where they were measured, so that large ones keep their bus bandwidth.
    """
    seen = trials.curve.until(int(trials.curve.counts[until - 1]))
    estimates = np.stack([extended(candidate, seen, np.array([ranks]), payload[:, None])[:, 0]
                     for candidate in trials.candidates])
    if algorithms_only:
        estimates[[candidate.algorithm is None for candidate in trials.candidates]] = np.nan
    if steady:
        others = np.array([candidate.name != STEADY for candidate in trials.candidates])
        estimates[np.ix_(others, payload > BANDS_BYTES[-1])] = np.nan
    return _weigh(trials, until, ranks, estimates, kind, history)


def _weigh(trials: Trials, until: int, ranks: int, estimates: Floats, kind: str, history: History) -> Forecast:
    """As `forecast`, from the estimates of the candidates: [candidate][size] log of time."""
    curve = trials.curve
    total, logs, count = _trial_errors(trials, until, ranks)
    distance = history_class(ranks / curve.counts[until - 1], until, int(curve.counts[until - 1]))
    scope = scope_of(curve.until(int(curve.counts[until - 1])))
    past = np.array([history.log_error(candidate.name, distance, curve.op, kind, scope)
                     for candidate in trials.candidates])[:, None]
    able = np.isfinite(estimates)
    with np.errstate(all="ignore"):
        error = np.where(count > 0, total / count, np.nan)
    often = np.where(count > 0.3 * count.max(axis=0), error, np.inf)
    best = np.maximum(np.where(np.isfinite(often), often, np.inf).min(axis=0), _SURE)
    trust = _HISTORY * np.clip(np.where(np.isfinite(best), best, 1.0) / _CLOSE, 0.0, 1.0)
    score = np.exp((logs + trust * past) / (count + trust))
    excess = np.log(np.maximum(np.nan_to_num(error, nan=_UNTRIED), _SURE) / np.where(np.isfinite(best), best, 1.0))
    weight = score**-_POWER * np.exp(-_DECAY * count * np.maximum(0.0, excess - np.log(_CLEARLY)))
    weight = np.where(able, weight, 0.0)
    trend = np.array([candidate.algorithm is None for candidate in trials.candidates])
    # The name of an expert-parallel kernel tells what it sends, but not what limits it.
    if curve.routing is None and any(candidate.algorithm and candidate.algorithm.name == curve.algorithm
                                     for candidate in trials.candidates):
        weight[trend] *= _NAMED
    # One rank count does not tell step times from rates, except where all is sent at once.
    elif until == 1 and curve.routing is None and (weight[trend] > 0).any():
        weight[~trend] = 0.0
    with np.errstate(all="ignore"):
        weight = weight / weight.sum(axis=0)
    weight = np.nan_to_num(weight)
    mean = (weight * np.nan_to_num(estimates)).sum(axis=0)
    spread = np.sqrt((weight * np.where(able, estimates - mean, 0.0) ** 2).sum(axis=0))
    return Forecast(_median(estimates, weight), weight, (weight * score).sum(axis=0),
                    np.exp((weight * np.log(np.maximum(np.nan_to_num(error, nan=_UNTRIED), 0.003))).sum(axis=0)),
                    np.exp((weight * past).sum(axis=0)), count.max(axis=0), spread)


def _trial_errors(trials: Trials, until: int, ranks: int) -> tuple[Floats, Floats, Floats]:
    """[candidate][size] weighted sums of errors, of their logs, and of weights, over trials within `until`."""
    errors = trials.errors()
    curve = trials.curve
    at = np.arange(len(curve.sizes))
    near = np.exp(-0.5 * ((at[:, None] - at) / _NEAR_SIZES) ** 2)
    total, logs, count = (np.zeros((errors.shape[0], errors.shape[2])) for _ in range(3))
    for i in range(1, until):
        for j in range(i, until):
            weight = _trial_weight(curve, i, j, until, ranks)
            here = errors[:, i, :, j]
            known = np.isfinite(here)
            filled = np.where(known, here, 1.0)
            total += weight * (np.where(known, here, 0.0) @ near)
            logs += weight * (np.where(known, np.log(np.maximum(filled, _FLOOR)), 0.0) @ near)
            count += weight * (known @ near)
    return total, logs, count


def _trial_weight(curve: Curve, i: int, j: int, until: int, ranks: int) -> float:
    """Weight of the trial of rank count j from the first i, in a forecast of `ranks` from the first `until`."""
    counts = curve.counts
    here, there = np.log2(counts[j] / counts[i - 1]), np.log2(ranks / counts[until - 1])
    alike = np.exp(-_ALIKE * abs(here - there) / max(here, there, 0.5))
    same = _enters(curve, int(counts[i - 1]), int(counts[j])) == _enters(curve, int(counts[until - 1]), ranks)
    return float(_RECENT ** (until - 1 - j) * alike * (1.0 if same else _OTHER_TIER) * (_BARE if i == 1 else 1.0))


def _enters(curve: Curve, ranks: int, target: int) -> bool:
    """Whether going from `ranks` to `target` ranks crosses a new level of the machine."""
    return any(ranks <= size < target for size in curve.levels)


def _median(estimates: Floats, weight: Floats) -> Floats:
    order = np.argsort(np.where(weight > 0, estimates, np.inf), axis=0)
    ordered = np.take_along_axis(estimates, order, axis=0)
    reached = np.take_along_axis(weight, order, axis=0).cumsum(axis=0) >= 0.5
    middle = np.take_along_axis(ordered, reached.argmax(axis=0)[None], axis=0)[0]
    return np.where(reached.any(axis=0), middle, np.nan)
