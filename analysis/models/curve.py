"""Times of one operation on one fabric, as a grid of message sizes and rank counts; models are fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..cost.expert_parallel import Routing
from ..cost.levels import Assumed

__all__ = ["Curve", "Floats", "Ints", "curve_of", "gridded"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Measured times of one operation, library and fabric; it holds only points that may be pooled.

    Curves compare by identity, so that fits to a curve can be cached (`fit`).

    Args:
        op: name of the operation, which may be unknown to the catalog.
        algorithm: the algorithm that the data name; None if the library chose.
        sizes: [size] key of a size over rank counts: the size as the measuring tool states it, ascending.
        counts: [count] rank counts, ascending.
        log_time_s: [size][count]; NaN if not measured.
        payload_bytes: [size][count] message size as the catalog counts it, also where no time was measured.
        levels: ranks that each inner level of the machine (for example a node) connects, ascending; empty if unknown.
        noise_log: standard deviation of the log of a time over repeats; 0 if unknown.
        offered: names of the algorithms that the library is known to offer; empty if unknown.
        sliced: the library is known to slice rings, so that only hops between groups pay the latency of a level.
        beyond: assumptions about the outermost levels that were not crossed; empty means the same as inside.
        growth: [band] log growth of time per doubling that is typical of the library (see `growth`); empty if unknown.
        switched: all ranks, those of the target too, are in one domain in which every pair is one switch apart.
        routing: of an expert-parallel exchange: `payload_bytes` is then what its busiest rank sends or receives.
    """

    op: str
    algorithm: str | None
    sizes: Floats
    counts: Ints
    log_time_s: Floats
    payload_bytes: Floats
    levels: tuple[int, ...] = ()
    noise_log: float = 0.0
    offered: tuple[str, ...] = ()
    sliced: bool = False
    beyond: tuple[Assumed, ...] = ()
    growth: tuple[float, ...] = ()
    switched: bool = False
    routing: Routing | None = None

    def until(self, ranks: int) -> "Curve":
        """The part with at most this many ranks; all sizes stay, even those without a time."""
        return self.only(self.counts <= ranks)

    def since(self, ranks: int) -> "Curve":
        """The part with at least this many ranks."""
        return self.only(self.counts >= ranks)

    def only(self, keep: NDArray[np.bool_]) -> "Curve":
        """The part with the rank counts selected by `keep`; the curve itself if that is all of them."""
        if keep.all():
            return self
        return replace(self, counts=self.counts[keep], log_time_s=self.log_time_s[:, keep],
                       payload_bytes=self.payload_bytes[:, keep])

    @cached_property
    def measured(self) -> "Curve":
        """The part with the sizes that have a time; the curve itself if that is all of them."""
        known = self.last >= 0
        if known.all():
            return self
        return replace(self, sizes=self.sizes[known], log_time_s=self.log_time_s[known],
                       payload_bytes=self.payload_bytes[known])

    @cached_property
    def last(self) -> Ints:
        """[size] index of the largest rank count at which the size was measured; -1 if none."""
        known = np.isfinite(self.log_time_s)
        return np.where(known.any(axis=1), known.shape[1] - 1 - known[:, ::-1].argmax(axis=1), -1)

    @cached_property
    def level(self) -> Floats:
        """[size] log of the time at `last`; NaN if there is none."""
        return self.log_time_s[np.arange(len(self.sizes)), self.last]


def curve_of(rows: pd.DataFrame, op: str, algorithm: str | None = None, levels: Sequence[int] = (),
             noise_log: float = 0.0) -> Curve:
    """The curve of rows with columns size, ranks, payload_bytes, time_s; the median of repeats."""
    size, ranks, payload, time_s = (rows[name].to_numpy(float) for name in ("size", "ranks", "payload_bytes", "time_s"))
    return gridded(op, algorithm, size, ranks, payload, time_s, tuple(levels), noise_log)


def gridded(op: str, algorithm: str | None, size: Floats, ranks: Floats, payload: Floats, time_s: Floats,
            levels: tuple[int, ...] = (), noise_log: float = 0.0) -> Curve:
    """The curve of points, all [point]; the median of repeats."""
    sizes, row = np.unique(size, return_inverse=True)
    counts, column = np.unique(ranks, return_inverse=True)
    place, shape = row * len(counts) + column, (len(sizes), len(counts))
    with np.errstate(divide="ignore"):
        return Curve(op, algorithm, sizes, counts.astype(np.int64), np.log(_medians(place, time_s, shape)),
                     _filled(_medians(place, payload, shape), counts), levels, noise_log)


def _medians(place: Ints, values: Floats, shape: tuple[int, int]) -> Floats:
    """Grid of `shape` with the median of the known values at each flat index `place`; NaN if there are none."""
    known = ~np.isnan(values)
    place, values = place[known], values[known]
    order = np.lexsort((values, place))
    there, first, many = np.unique(place[order], return_index=True, return_counts=True)
    ordered = values[order]
    grid = np.full(shape, np.nan)
    grid.flat[there] = (ordered[first + (many - 1) // 2] + ordered[first + many // 2]) / 2
    return grid


def _filled(payload: Floats, counts: Floats) -> Floats:
    """[size][count] message sizes; missing ones are filled in as constant, or as growing with the rank count."""
    per_rank = payload / counts
    most = np.fmax.reduce(payload, axis=1, keepdims=True)
    constant = most - np.fmin.reduce(payload, axis=1, keepdims=True) <= 0.01 * most
    return np.where(constant, _with_median(payload), _with_median(per_rank) * counts)


def _with_median(values: Floats) -> Floats:
    """Replace NaN by the median of its row, if the row has one."""
    missing = np.isnan(values)
    some = missing.any(axis=1) & ~missing.all(axis=1)
    if not some.any():
        return values
    out = values.copy()
    out[some] = np.where(missing[some], np.nanmedian(values[some], axis=1, keepdims=True), values[some])
    return out
