"""A forecast as text: the leading candidate and its physical parameters with units."""

from collections.abc import Callable

import numpy as np

from ..cost.algorithms import Algorithm
from ..text.units import percent, rate, seconds
from .curve import Curve
from .ensemble import Forecast
from .fit import Fit, fit_algorithm
from .holdout import Trials

__all__ = ["describe"]


def describe(trials: Trials, estimate: Forecast, link_Bps: float | None = None) -> tuple[list[str], list[str]]:
    """[size] name of the leading algorithm or trend, and [size] its parameters as text.

    Args:
        link_Bps: nominal one-way rate of a rank's links, if known; the fitted rate is then also given as a share of it.
    """
    by_name: dict[str, np.ndarray] = {}
    for candidate, weight in zip(trials.candidates, estimate.weights, strict=True):
        name = candidate.algorithm.name if candidate.algorithm else candidate.name
        by_name[name] = by_name.get(name, np.zeros(len(weight))) + weight
    names = np.array(list(by_name))
    shares = np.stack(list(by_name.values()))
    leads = shares.argmax(axis=0)
    known = {candidate.algorithm.name: candidate.algorithm for candidate in trials.candidates if candidate.algorithm}
    words = {name: _words(trials, known.get(name), link_Bps) for name in names[np.unique(leads)]}
    return ([str(names[at]) for at in leads],
            [f"{words[names[at]]}; {_weights(names, shares[:, size])}" for size, at in enumerate(leads)])


def _weights(names: np.ndarray, shares: np.ndarray) -> str:
    best = np.argsort(-shares)[:3]
    return "weights " + ", ".join(f"{names[at]} {percent(float(shares[at]))}" for at in best if shares[at] >= 0.005)


def _words(trials: Trials, algorithm: Algorithm | None, link_Bps: float | None) -> str:
    """Parameters of an algorithm over all sizes; the level of each size is as measured."""
    level = f"level as measured at {trials.curve.counts[-1]} ranks"
    if algorithm is None:
        return level
    fit = fit_algorithm(trials.curve, algorithm)
    others = _without_one(trials.curve, algorithm)
    step, byte = float(fit.step_s[-1]), float(fit.byte_s[-1])
    steps = _range([float(other.step_s[-1]) for other in others], seconds)
    rates = _range([1 / float(other.byte_s[-1]) for other in others if other.byte_s[-1] > 0], rate)
    bandwidth = f", per-rank rate {rate(1 / byte)}{rates}" if byte > 0 else ""
    if byte > 0 and link_Bps:
        shares = _range([1 / float(other.byte_s[-1]) / link_Bps for other in others if other.byte_s[-1] > 0], percent)
        bandwidth += f", {percent(1 / byte / link_Bps)} of the link{shares}"
    return f"overhead {seconds(fit.overhead_s)}, step latency {seconds(step)}{steps}{bandwidth}; {level}"


def _without_one(curve: Curve, algorithm: Algorithm) -> list[Fit]:
    """Fits that each leave out one rank count; none if fewer than two would remain."""
    keep = [curve.counts != left_out for left_out in curve.counts] if len(curve.counts) >= 3 else []
    return [fit_algorithm(curve.only(kept), algorithm) for kept in keep]


def _range(values: list[float], as_text: Callable[[float], str]) -> str:
    """Range of a parameter over fits that leave out one rank count (a jackknife; jobs are independent samples)."""
    return f" ({as_text(min(values))} to {as_text(max(values))})" if values else ""
