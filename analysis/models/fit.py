"""Fits of an algorithm's parameters to a curve, and the change of time with the rank count that follows from them.

Parameters are physical. They are fitted by non-negative least squares on relative errors, because the times of a curve
span many decades. A `Change` takes (curve, [target] ranks, [size][target] message sizes) and returns [size][target] the
change of the log of time from the last measured rank count of each size.
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
_KEPT = 256            # cached fits and terms, shared by similar candidates and by the targets of a series

Change = Callable[[Curve, Ints, Floats], Floats]


class Fit(NamedTuple):
    """Fitted parameters of an algorithm: seconds per call, and [level] seconds per step and per byte."""

    overhead_s: float
    step_s: Floats
    byte_s: Floats

    def parameters(self) -> Floats:
        """In the order of the columns of `design`."""
        return np.concatenate([[self.overhead_s], self.step_s, self.byte_s])


def design(algorithm: Algorithm, ranks: Ints, payload: Floats, levels: tuple[int, ...],
           pipelined: bool = False) -> Floats:
    """[...][point][1 + 2 * levels] coefficients of the overhead, the step times and the byte times.

    Args:
        ranks: [point].
        payload: [...][point] message sizes.
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
    """The linear system of an algorithm for a curve.

    Args:
        grid: [size][count][column] of `design`.
        rows: [point][column] of the measured points, size by size, multiplied by `weight` over the measured time.
        weight: [point].
        ends: [size + 1] index of the first point of each size, then the number of points.
    """

    grid: Floats
    rows: Floats
    weight: Floats
    ends: list[int]


@lru_cache(maxsize=_KEPT)
def _terms(curve: Curve, algorithm: Algorithm, pipelined: bool) -> _Terms:
    """Terms with weights that fall with the number of doublings below the largest rank count.

    Larger rank counts resemble the target more; a small group may not have left one switch.
    """
    grid = design(algorithm, curve.counts, curve.payload_bytes, curve.levels, pipelined)
    known = np.isfinite(curve.log_time_s)
    weight = 1 / (1 + np.log2(curve.counts[-1] / curve.counts[np.nonzero(known)[1]]))
    rows = grid[known] * (weight * np.exp(-curve.log_time_s[known]))[:, None]
    return _Terms(grid, rows, weight, [0, *known.sum(axis=1).cumsum().tolist()])


def least_squares(rows: Floats, wanted: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Non-negative parameters that fit `rows` to `wanted`, and a mask of the columns that determine them."""
    # Imported here because it takes a quarter of a second, which only predictions need.
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

    Levels not crossed get the parameters of the outermost crossed level, changed by the assumptions of the curve.
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
    """[size][column] parameters fitted to each size and its neighbours."""
    terms, last = _terms(curve, algorithm, False), len(curve.sizes)
    found = []
    for at in range(last):
        window = slice(terms.ends[max(0, at - _NEIGHBOURS)], terms.ends[min(last, at + _NEIGHBOURS + 1)])
        parameters, used = least_squares(terms.rows[window], terms.weight[window])
        found.append(outwards(curve, algorithm, used, parameters))
    return np.array(found)


def outwards(curve: Curve, algorithm: Algorithm, used: NDArray[np.bool_], found: Floats) -> Floats:
    """Parameters completed for levels that were not crossed (not `used`), from the innermost level outwards.

    They are those of the next inner level, changed by the assumptions of the curve. If only one rank of a node at a
    time sends to another node, it gets the rate of all of them, up to the rate of its own links.
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
        if curve.routing and assumed.rate_Bps:      # inside, the kernels are the limit, and not the links
            byte[at:] = 1 / assumed.rate_Bps
    return found


def anchored(algorithm: Algorithm, pipelined: bool = False) -> Change:
    """Change by the algorithm fitted to all sizes; a `pipelined` ring pays the latency of a level once per crossing."""
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
    change: Floats = np.log(np.maximum((there * each).sum(axis=2), _TINY)) \
        - np.log(np.maximum((here * parameters).sum(axis=1), _TINY))[:, None]
    return change


def fitted_level(algorithm: Algorithm) -> Change:
    """As `anchored`, but keeping only the persistent part of the residual of each size at its last measurement.

    A residual is part noise and part persistent (a protocol, a cache). The persistent share is the covariance over
    sizes of the residuals at the last two rank counts, over their variance at the last one.
    """
    level = anchored(algorithm)

    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        if len(curve.counts) < 2 or len(curve.sizes) < 3:
            return np.full(payload.shape, np.nan)
        fit, terms = fit_algorithm(curve, algorithm), _terms(curve, algorithm, False)
        fitted = np.log(np.maximum(terms.grid[:, -2:] @ fit.parameters(), _TINY))
        left = (curve.log_time_s[:, -2:] - fitted).T
        both = np.isfinite(left[0] * left[1])
        lasting = float(np.clip((left[0][both] @ left[1][both]) / max(left[1][both] @ left[1][both], _TINY), 0, 1))
        moved: Floats = level(curve, ranks, payload) - (1 - lasting) * left[1][:, None]
        return moved
    return change


def size_by_size(algorithm: Algorithm) -> Change:
    """As `anchored`, fitted to each size and its neighbours, because protocols and parameters change with size."""
    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        return _change(curve, algorithm, False, _fit_by_size(curve, algorithm), ranks, payload)
    return change
