"""An algorithm's parameters from a curve, and the change of time with ranks that follows from them.

Parameters are physical: found by non-negative least squares on relative errors, because times of one curve span many
decades. Every function that says a change takes (curve, [target] ranks, [size][target] payloads) and returns
[size][target] the change of the log of time from each size's last measured rank count on.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cost.algorithms import Algorithm, profile
from .curve import Curve, Floats, Ints

__all__ = ["Fit", "anchored", "design", "fit_algorithm", "fitted_level", "least_squares", "outwards", "size_by_size"]

_TINY = 1e-12
_NEIGHBOURS = 2        # sizes on either side that share parameters
_KEPT = 256            # fits and their terms; candidates that fit the same, and targets of one series, share them

Change = Callable[[Curve, Ints, Floats], Floats]


class Fit(NamedTuple):
    """Parameters of an algorithm fitted to a curve: seconds a call, and [level] seconds a step and a byte."""

    overhead_s: float
    step_s: Floats
    byte_s: Floats

    def parameters(self) -> Floats:
        """In the order of the columns of `design`."""
        return np.concatenate([[self.overhead_s], self.step_s, self.byte_s])


def design(algorithm: Algorithm, ranks: Ints, payload: Floats, levels: tuple[int, ...],
           pipelined: bool = False) -> Floats:
    """[...][point][1 + 2 * levels]: what multiplies the overhead, the step times and the byte times.

    Args:
        ranks: [point].
        payload: [...][point].
    """
    rows = np.array([_row(algorithm, n, levels, pipelined) for n in ranks.tolist()])
    terms = np.empty((*payload.shape, rows.shape[1]))
    fixed = 2 + len(levels)
    terms[..., :fixed] = rows[:, :fixed]
    terms[..., fixed:] = rows[:, fixed:] * payload[..., None]
    return terms


@lru_cache(maxsize=65536)
def _row(algorithm: Algorithm, ranks: int, levels: tuple[int, ...], pipelined: bool) -> tuple[float, ...]:
    known = profile(algorithm, ranks, levels)
    steps = [float(count) for count in known.steps]
    if pipelined:
        rounds = sum(known.steps) / ranks
        steps = [rounds * hops for hops in known.boundary]
    return (1.0, *steps, *known.shares)


class _Terms(NamedTuple):
    """A curve as an algorithm sees it.

    Args:
        grid: [size][count][column] of `design`.
        rows: [point][column] the same of measured points, size by size, times `weight` over the time measured.
        weight: [point].
        ends: [size + 1] where the points of each size begin, and where the last ones end.
    """

    grid: Floats
    rows: Floats
    weight: Floats
    ends: list[int]


@lru_cache(maxsize=_KEPT)
def _terms(curve: Curve, algorithm: Algorithm, pipelined: bool) -> _Terms:
    """Points weigh less the more doublings of ranks they are below the largest rank count.

    What comes next resembles what came last, and a small group may never have left one switch.
    """
    grid = design(algorithm, curve.counts, curve.payload_bytes, curve.levels, pipelined)
    known = np.isfinite(curve.log_time_s)
    weight = 1 / (1 + np.log2(curve.counts[-1] / curve.counts[np.nonzero(known)[1]]))
    rows = grid[known] * (weight * np.exp(-curve.log_time_s[known]))[:, None]
    return _Terms(grid, rows, weight, [0, *known.sum(axis=1).cumsum().tolist()])


def least_squares(rows: Floats, wanted: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Non-negative parameters with which `rows` come closest to `wanted`, and which columns say anything of them."""
    # Imported here, since it takes a quarter of a second, which only who predicts should wait for.
    from scipy.optimize import nnls
    scale = np.abs(rows).max(axis=0)
    used = scale > 0
    if used.all():
        return nnls(rows / scale, wanted)[0] / scale, used
    found = np.zeros(len(scale))
    found[used] = nnls(rows[:, used] / scale[used], wanted)[0] / scale[used]
    return found, used


def fit_algorithm(curve: Curve, algorithm: Algorithm, pipelined: bool = False) -> Fit:
    """Non-negative parameters of least squared relative error.

    Levels never crossed get the parameters of the outermost level that was, changed as the curve assumes of them.
    """
    return _fit(curve, algorithm, pipelined)


@lru_cache(maxsize=_KEPT)
def _fit(curve: Curve, algorithm: Algorithm, pipelined: bool) -> Fit:
    terms = _terms(curve, algorithm, pipelined)
    found, used = least_squares(terms.rows, terms.weight)
    found = outwards(curve, algorithm, used, found)
    tiers = len(curve.levels) + 1
    return Fit(float(found[0]), found[1:1 + tiers], found[1 + tiers:])


@lru_cache(maxsize=_KEPT)
def _fit_by_size(curve: Curve, algorithm: Algorithm) -> Floats:
    """[size][column] parameters fitted to a size and its neighbours."""
    terms, last = _terms(curve, algorithm, False), len(curve.sizes)
    found = []
    for at in range(last):
        window = slice(terms.ends[max(0, at - _NEIGHBOURS)], terms.ends[min(last, at + _NEIGHBOURS + 1)])
        parameters, used = least_squares(terms.rows[window], terms.weight[window])
        found.append(outwards(curve, algorithm, used, parameters))
    return np.array(found)


def outwards(curve: Curve, algorithm: Algorithm, used: NDArray[np.bool_], found: Floats) -> Floats:
    """Parameters with those of levels that were not crossed (not `used`), level by level outwards.

    They are those inside, changed as the curve assumes. Where only one rank of a node sends out of it at a time, that
    one has the rate of all of them, as far as its own links carry it.
    """
    if used.all():
        return found
    tiers = len(curve.levels) + 1
    found = found.copy()
    step, byte = found[1:1 + tiers], found[1 + tiers:]
    for values, seen in ((step, used[1:1 + tiers]), (byte, used[1 + tiers:])):
        if seen.any():
            outermost = int(np.nonzero(seen)[0][-1])
            values[outermost + 1:] = values[outermost]
    for back, assumed in enumerate(reversed(curve.beyond), 1):
        at = tiers - back
        if at < 1 or used[1 + at]:
            continue
        share = min(1.0, assumed.rate * curve.levels[at - 1]) if algorithm.neighbours else assumed.rate
        step[at:] += assumed.latency_s
        byte[at:] = byte[at:] / share
    return found


def anchored(algorithm: Algorithm, pipelined: bool = False) -> Change:
    """Change by the algorithm fitted to all sizes; `pipelined`: a ring pays for a level only where it crosses it."""
    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        parameters = fit_algorithm(curve, algorithm, pipelined).parameters()
        return _change(curve, algorithm, pipelined, parameters, ranks, payload)
    return change


def _change(curve: Curve, algorithm: Algorithm, pipelined: bool, parameters: Floats, ranks: Ints,
            payload: Floats) -> Floats:
    """[size][target] change of the log of time by `parameters`, [column] or [size][column]."""
    grid = _terms(curve, algorithm, pipelined).grid
    here = grid[np.arange(len(grid)), curve.last]
    there = design(algorithm, ranks, payload, curve.levels, pipelined)
    each = parameters if parameters.ndim == 1 else parameters[:, None]
    return np.log(np.maximum((there * each).sum(axis=2), _TINY)) \
        - np.log(np.maximum((here * parameters).sum(axis=1), _TINY))[:, None]


def fitted_level(algorithm: Algorithm) -> Change:
    """The same, with the level of each size taken from its last measurement only as far as it persisted.

    What is left of a size after the fit is part noise, part lasting (a protocol, a cache). How much lasts is the
    covariance, over sizes, of what is left at the last two rank counts, as a share of its variance at the last.
    """
    level = anchored(algorithm)

    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        if len(curve.counts) < 2 or len(curve.sizes) < 3:
            return np.full(payload.shape, np.nan)
        fit, terms = fit_algorithm(curve, algorithm), _terms(curve, algorithm, False)
        said = np.log(np.maximum(terms.grid[:, -2:] @ fit.parameters(), _TINY))
        left = (curve.log_time_s[:, -2:] - said).T
        both = np.isfinite(left[0] * left[1])
        lasting = float(np.clip((left[0][both] @ left[1][both]) / max(left[1][both] @ left[1][both], _TINY), 0, 1))
        return level(curve, ranks, payload) - (1 - lasting) * left[1][:, None]
    return change


def size_by_size(algorithm: Algorithm) -> Change:
    """The same fitted size by size, to a size and its neighbours: protocols change with size, and so do parameters."""
    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        return _change(curve, algorithm, False, _fit_by_size(curve, algorithm), ranks, payload)
    return change
