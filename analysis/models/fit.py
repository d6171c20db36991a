"""An algorithm's parameters from a curve, and the change of time with ranks that follows from them.

Parameters are physical: found by non-negative least squares on relative errors, because times of one curve span many
decades. Every function that says a change takes (curve, [target] ranks, [size][target] payloads) and returns
[size][target] the change of the log of time from each size's last measured rank count on.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from .curve import Curve, Floats, Ints
from .registry import Algorithm, profile

__all__ = ["Fit", "anchored", "design", "fit_algorithm", "fitted_level", "outwards", "size_by_size"]

_TINY = 1e-12
_NEIGHBOURS = 2        # sizes on either side that share parameters

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
    """[point][1 + 2 * levels]: what multiplies the overhead, the step times and the byte times."""
    counts = ranks.tolist()
    table = {n: _row(algorithm, n, levels, pipelined) for n in set(counts)}
    rows = np.array([table[n] for n in counts])
    tiers = len(levels) + 1
    volume = rows[:, 1 + tiers:] * payload[:, None]
    return np.concatenate([rows[:, :1 + tiers], volume], axis=1)


@lru_cache(maxsize=65536)
def _row(algorithm: Algorithm, ranks: int, levels: tuple[int, ...], pipelined: bool) -> tuple[float, ...]:
    known = profile(algorithm, ranks, levels)
    steps = [float(count) for count in known.steps]
    if pipelined:
        rounds = sum(known.steps) / ranks
        steps = [rounds * hops for hops in known.boundary]
    return (1.0, *steps, *known.shares)


def fit_algorithm(curve: Curve, algorithm: Algorithm, pipelined: bool = False) -> Fit:
    """Non-negative parameters of least squared relative error.

    Points weigh less the more doublings of ranks they are below the largest rank count: what comes next resembles
    what came last, and a small group may never have left one switch. Levels never crossed get the parameters of the
    outermost level that was, changed as the curve assumes of them.
    """
    known = np.isfinite(curve.log_time_s)
    where = np.nonzero(known)
    ranks = curve.counts[where[1]]
    terms = design(algorithm, ranks, curve.payload_bytes[where], curve.levels, pipelined)
    weight = 1 / (1 + np.log2(curve.counts[-1] / ranks))
    rows = terms * (weight * np.exp(-curve.log_time_s[where]))[:, None]
    scale = np.abs(rows).max(axis=0)
    used = scale > 0
    found = np.zeros(terms.shape[1])
    found[used] = nnls(rows[:, used] / scale[used], weight)[0] / scale[used]
    found = outwards(curve, algorithm, used, found)
    tiers = len(curve.levels) + 1
    return Fit(float(found[0]), found[1:1 + tiers], found[1 + tiers:])


def outwards(curve: Curve, algorithm: Algorithm, used: "np.ndarray", found: Floats) -> Floats:
    """Parameters with those of levels that were not crossed (not `used`), level by level outwards.

    They are those inside, changed as the curve assumes. Where only one rank of a node sends out of it at a time, that
    one has the rate of all of them, as far as its own links carry it.
    """
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
        fit = fit_algorithm(curve, algorithm, pipelined)
        parameters = fit.parameters()
        last = curve.last()
        rows = np.arange(len(last))
        here = design(algorithm, curve.counts[last], curve.payload_bytes[rows, last], curve.levels, pipelined)
        there = design(algorithm, np.tile(ranks, len(rows)), payload.ravel(), curve.levels, pipelined)
        ahead = np.log(np.maximum(there @ parameters, _TINY)).reshape(payload.shape)
        return ahead - np.log(np.maximum(here @ parameters, _TINY))[:, None]
    return change


def fitted_level(algorithm: Algorithm) -> Change:
    """The same, with the level of each size taken from its last measurement only as far as it persisted.

    What is left of a size after the fit is part noise, part lasting (a protocol, a cache). How much lasts is the
    covariance, over sizes, of what is left at the last two rank counts, as a share of its variance at the last.
    """
    level = anchored(algorithm)

    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        if len(curve.counts) < 2 or len(curve.sizes) < 3:
            return np.full(payload.shape, np.nan)
        fit = fit_algorithm(curve, algorithm)
        left = [curve.log_time_s[:, at] - _log_seconds(fit, algorithm, curve, at) for at in (-2, -1)]
        both = np.isfinite(left[0] * left[1])
        lasting = float(np.clip((left[0][both] @ left[1][both]) / max(left[1][both] @ left[1][both], _TINY), 0, 1))
        return level(curve, ranks, payload) - (1 - lasting) * left[1][:, None]
    return change


def _log_seconds(fit: Fit, algorithm: Algorithm, curve: Curve, at: int) -> Floats:
    """[size] log of the fitted time at the rank count at position `at`."""
    ranks = np.full(len(curve.sizes), curve.counts[at])
    terms = design(algorithm, ranks, curve.payload_bytes[:, at], curve.levels)
    return np.log(np.maximum(terms @ fit.parameters(), _TINY))


def size_by_size(algorithm: Algorithm) -> Change:
    """The same fitted size by size, to a size and its neighbours: protocols change with size, and so do parameters."""
    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        rows = []
        for at in range(len(curve.sizes)):
            window = slice(max(0, at - _NEIGHBOURS), at + _NEIGHBOURS + 1)
            part = replace(curve, sizes=curve.sizes[window], log_time_s=curve.log_time_s[window],
                           payload_bytes=curve.payload_bytes[window])
            middle = at - window.start
            rows.append(anchored(algorithm)(part, ranks, payload[window])[middle])
        return np.array(rows)
    return change
