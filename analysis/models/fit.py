"""Fit every candidate to a series, choose by what it predicts where it was not fitted, then fit on everything.

Errors are relative throughout, because times of one series span many decades.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar, nnls

from .costs import SHAPES
from .forms import AlphaBeta, Anchored, CostModel, Floats, Ints, PowerLaw

__all__ = ["Candidate", "Fitted", "Series", "candidates", "fit", "fit_series"]

_STEEPEST = 2.0        # of the power law: every pair of ranks talking in turn
_SURE_OF = 0.01        # held-out errors below this are not told apart: medians are not known better


@dataclass(frozen=True)
class Series:
    """Measured times of one operation on one fabric; arrays are [point], seconds and bytes.

    `noise_log` is the standard deviation of a median, as a logarithm: no error below it can be told from luck.
    """

    op: str
    ranks: Ints
    message_bytes: Ints
    time_s: Floats
    noise_log: float = 0.0

    @property
    def counts(self) -> Ints:
        """Rank counts measured, ascending."""
        return np.unique(self.ranks)

    def only(self, chosen: "np.ndarray") -> "Series":
        """The points for which `chosen` is true."""
        return replace(self, ranks=self.ranks[chosen], message_bytes=self.message_bytes[chosen],
                       time_s=self.time_s[chosen])


@dataclass(frozen=True)
class Candidate:
    """A model fitted on everything, and its weight among the candidates by how well it predicted."""

    model: Anchored
    weight: float


@dataclass(frozen=True)
class Fitted:
    """The outcome for one series.

    Args:
        best: the chosen model.
        all: every candidate, weights summing to 1.
        holdout_log: typical log error of `best` at the largest rank count, fitted up to half of it; None with fewer
            than 3 rank counts, where nothing can be held out.
        holdout_error: the median over sizes of the relative error there; None likewise.
        holdout_doublings: log2 of the largest rank count over the largest fitted then; None likewise.
        residual_log: typical log error of `best`, fitted on everything, at the second largest rank count.
    """

    best: Anchored
    all: tuple[Candidate, ...]
    holdout_log: float | None
    holdout_error: float | None
    holdout_doublings: float | None
    residual_log: float


def candidates(op: str, counts: int) -> list[CostModel]:
    """Models that compete for `op` measured at so many rank counts, without parameters; the earlier wins a tie.

    A free exponent goes through any two rank counts, so it takes part from three on.
    """
    shapes = [AlphaBeta(shape) for shape in SHAPES[op]]
    shared = [AlphaBeta(shape, shared=True) for shape in SHAPES[op] if shape.factor(2)]
    return [*shapes, *shared, PowerLaw(), *([PowerLaw(exponent=1.0)] if counts >= 3 else [])]


def fit(form: CostModel, series: Series) -> CostModel:
    """`form` with the non-negative parameters of least squared relative error; for a power law also the exponent.

    Points weigh less the more doublings of ranks they are below the largest rank count: what comes next resembles
    what came last, and a small group may never have left one switch.
    """
    if isinstance(form, PowerLaw) and form.exponent:
        found = minimize_scalar(lambda power: _solve(PowerLaw(exponent=power), series)[1],
                                bounds=(0.0, _STEEPEST), method="bounded", options={"xatol": 1e-3})
        form = PowerLaw(exponent=float(found.x))
    return form.with_parameters(_solve(form, series)[0])


def _solve(form: CostModel, series: Series) -> tuple[Floats, float]:
    weight = 1 / (1 + np.log2(series.counts[-1] / series.ranks))
    terms = form.terms(series.ranks, series.message_bytes) * (weight / series.time_s)[:, None]
    scale = np.where(terms.any(axis=0), np.abs(terms).max(axis=0), 1.0)
    found, error = nnls(terms / scale, weight)
    return found / scale, error


def fit_series(series: Series) -> Fitted:
    """The best of all candidates for `series`, which has at least one point."""
    forms = candidates(series.op, len(series.counts))
    refitted = [_anchor(fit(form, series), series) for form in forms]
    largest, until = series.counts[-1], _train_until(series.counts)
    if until is not None:
        earlier, latest = series.only(series.ranks <= until), series.only(series.ranks > until)
        tried = [_anchor(fit(form, earlier), earlier) for form in forms]
    else:
        latest, tried = series.only(series.ranks == series.counts[-2:][0]), refitted
    errors = [_log_errors(model, latest) for model in tried]
    scores = np.array([_typical(error) for error in errors])
    chosen = int(scores.argmin())
    weights = _weights(scores, len(errors[chosen]), series.noise_log).tolist()
    at_largest = errors[chosen][latest.ranks == largest]
    return Fitted(
        best=refitted[chosen],
        all=tuple(Candidate(*pair) for pair in zip(refitted, weights, strict=True)),
        holdout_log=None if until is None else _typical(at_largest),
        holdout_error=None if until is None else float(np.median(np.abs(np.expm1(at_largest)))),
        holdout_doublings=None if until is None else math.log2(largest / until),
        residual_log=_typical(_log_errors(refitted[chosen], series.only(series.ranks == series.counts[-2:][0]))),
    )


def _train_until(counts: Ints) -> int | None:
    """The rank count up to which to fit when the largest is held out; None when there are fewer than 3.

    It is half of the largest or less, so that the test is a doubling: beside 12 ranks, 16 tells no shapes apart.
    """
    if len(counts) < 3:
        return None
    half = counts[counts <= counts[-1] / 2]
    return int(half[-1]) if len(half) >= 2 else int(counts[1])


def _anchor(model: CostModel, series: Series) -> Anchored:
    top = series.only(series.ranks == series.counts[-1])
    modelled = np.maximum(model.seconds(top.ranks, top.message_bytes), 1e-12)
    ratios = np.log(top.time_s / modelled)
    sizes, where = np.unique(top.message_bytes, return_inverse=True)
    means = np.bincount(where, ratios) / np.bincount(where)
    return Anchored(model, int(series.counts[-1]), np.log1p(sizes), means)


def _log_errors(model: Anchored, series: Series) -> Floats:
    modelled = np.maximum(model.seconds(series.ranks, series.message_bytes), 1e-12)
    return np.log(modelled / series.time_s)


def _typical(errors: Floats) -> float:
    """Standard deviation of log errors, from their mean absolute value: one bad size must not decide alone."""
    return float(np.mean(np.abs(errors)) * math.sqrt(math.pi / 2)) if len(errors) else 0.0


def _weights(scores: Floats, points: int, noise_log: float) -> Floats:
    """Of each candidate: the likelihood of its error were the smallest error the true spread.

    Sizes measured in one job err together, so n of them count as sqrt(n) observations.
    """
    spread = max(float(scores.min()), noise_log, _SURE_OF)
    independent = math.sqrt(max(points, 1))
    likelihood = np.exp(-independent * (np.square(scores) - np.square(scores.min())) / (2 * spread**2))
    return likelihood / likelihood.sum()
