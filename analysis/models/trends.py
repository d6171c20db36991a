"""Candidates without an algorithm: constant time, constant bandwidth, or a continued trend."""

from collections.abc import Callable

import numpy as np

from ..cost.expert_parallel import kept_copies, remote_copies
from ..cost.operations import bus_factor
from .curve import Curve, Floats, Ints

__all__ = ["bus_scale", "constant", "handled", "last_slope", "power_law"]

_STEEPEST = 2.0        # exponent of a power law: every pair of ranks communicates in turn


def _log_bus_factor(curve: Curve, ranks: Ints) -> Floats:
    if curve.routing:       # the size is already what the busiest rank sends or receives
        return np.zeros(len(ranks))
    return np.log([bus_factor(curve.op, int(n)) for n in ranks])


def bus_scale(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] log change of time at the bus bandwidth of the last measured rank count."""
    last = curve.last
    rows = np.arange(len(last))
    moved: Floats = np.log(np.maximum(payload, 1.0)) - np.log(np.maximum(curve.payload_bytes[rows, last], 1.0))[:, None]
    return _log_bus_factor(curve, ranks)[None, :] + moved - _log_bus_factor(curve, curve.counts[last])[:, None]


def constant(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] no change of time."""
    return np.zeros((len(curve.sizes), len(ranks)))


def handled(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] log change of time if copies of tokens that a rank keeps take as long as those that leave it.

    NaN for operations other than an expert-parallel exchange.
    """
    routing = curve.routing
    if routing is None:
        return np.full((len(curve.sizes), len(ranks)), np.nan)

    def kept(counts: Ints) -> Floats:
        return np.log([1 + float(kept_copies(routing, int(n)) / remote_copies(routing, int(n))) for n in counts])
    change: Floats = bus_scale(curve, ranks, payload) + kept(ranks)[None, :] - kept(curve.counts[curve.last])[:, None]
    return change


def _doublings(curve: Curve, ranks: Ints) -> Floats:
    away: Floats = np.log(ranks.astype(float))[None, :] - np.log(curve.counts[curve.last])[:, None]
    return away


def _smooth(values: Floats) -> Floats:
    """Medians over each size and its two neighbours, so that an outlier does not determine its own slope."""
    padded = np.concatenate([[np.nan], values, [np.nan]])
    three: Floats = np.sort([padded[:-2], padded[1:-1], padded[2:]], axis=0)      # NaN last
    known = np.isfinite(three).sum(axis=0)
    middle: Floats = np.where(known == 2, (three[0] + three[1]) / 2, np.where(known == 3, three[1], three[0]))
    return middle


def _slopes(curve: Curve, counts: int) -> Floats:
    """[size] least-squares slope of log time over log ranks, of the last `counts` rank counts."""
    x, y = np.log(curve.counts[-counts:].astype(float)), curve.log_time_s[:, -counts:]
    known = np.isfinite(y)
    n = known.sum(axis=1)
    filled = np.where(known, y, 0.0)
    with np.errstate(all="ignore"):
        mean_x = (known * x).sum(axis=1) / n
        mean_y = filled.sum(axis=1) / n
        dx = np.where(known, x - mean_x[:, None], 0.0)
        slope = (dx * np.where(known, y - mean_y[:, None], 0.0)).sum(axis=1) / (dx**2).sum(axis=1)
    return np.where(n >= 2, slope, np.nan)


def last_slope(damping: float) -> Callable[[Curve, Ints, Floats], Floats]:
    """Continues the slope between the last two rank counts; each doubling multiplies it by `damping`."""
    def change(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
        if len(curve.counts) < 2:
            return np.full((len(curve.sizes), len(ranks)), np.nan)
        slope: Floats = np.clip(_smooth(_slopes(curve, 2)), -1.0, _STEEPEST)[:, None]
        away = _doublings(curve, ranks)
        if damping == 1.0:
            return slope * away
        lost = float(-np.log(damping) / np.log(2))
        moved: Floats = slope * (1 - np.exp(-lost * away)) / lost
        return moved
    return change


def power_law(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] log change of time by a power law fitted to all rank counts of each size."""
    if len(curve.counts) < 2:
        return np.full((len(curve.sizes), len(ranks)), np.nan)
    return np.clip(_slopes(curve, len(curve.counts)), -1.0, _STEEPEST)[:, None] * _doublings(curve, ranks)
