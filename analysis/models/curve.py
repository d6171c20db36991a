"""Times of one operation on one fabric as a grid of sizes and rank counts: what models are fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..cost.levels import Assumed

__all__ = ["Curve", "Floats", "Ints", "curve_of", "gridded"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Curve:
    """Measured times of one operation, library and fabric; nothing in it may mix what must not be pooled.

    A curve equals itself only, so that what is fitted to it can be kept (`fit`).

    Args:
        op: name in the catalog, or one that the catalog does not know.
        algorithm: the algorithm that the data name; None where the library chose.
        sizes: [size] what identifies a size over rank counts: the tool's own size, ascending.
        counts: [count] rank counts, ascending.
        log_time_s: [size][count]; NaN where not measured.
        payload_bytes: [size][count] payload as the catalog counts it, also where no time was measured.
        levels: ranks that the inner levels of the machine join (a node, say), ascending; empty where unknown.
        noise_log: standard deviation of the log of a time, over repeats; 0 where unknown.
        offered: names of the algorithms that the library is known to have for it; empty where that is unknown.
        sliced: the library is known to cut rings into slices, so that only hops out of a level cost what that costs.
        beyond: of the outermost levels, what is assumed where they were not crossed; empty: the same as inside.
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

    def until(self, ranks: int) -> "Curve":
        """The part with at most so many ranks; sizes stay, even where nothing is left of one."""
        return self.only(self.counts <= ranks)

    def since(self, ranks: int) -> "Curve":
        """The part with at least so many ranks."""
        return self.only(self.counts >= ranks)

    def only(self, keep: NDArray[np.bool_]) -> "Curve":
        """The part with some of the rank counts; the curve itself where that is all of them."""
        if keep.all():
            return self
        return replace(self, counts=self.counts[keep], log_time_s=self.log_time_s[:, keep],
                       payload_bytes=self.payload_bytes[:, keep])

    @cached_property
    def measured(self) -> "Curve":
        """The part with the sizes that were measured at all; the curve itself where that is all of them."""
        known = self.last >= 0
        if known.all():
            return self
        return replace(self, sizes=self.sizes[known], log_time_s=self.log_time_s[known],
                       payload_bytes=self.payload_bytes[known])

    @cached_property
    def last(self) -> Ints:
        """[size] the position of the largest rank count that each size was measured at; -1 where none."""
        known = np.isfinite(self.log_time_s)
        return np.where(known.any(axis=1), known.shape[1] - 1 - known[:, ::-1].argmax(axis=1), -1)

    @cached_property
    def level(self) -> Floats:
        """[size] log of the time at `last`; NaN where there is none."""
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
    """The grid of `shape` with the median of the known values at each place; NaN where there is none."""
    known = ~np.isnan(values)
    place, values = place[known], values[known]
    order = np.lexsort((values, place))
    there, first, many = np.unique(place[order], return_index=True, return_counts=True)
    ordered = values[order]
    grid = np.full(shape, np.nan)
    grid.flat[there] = (ordered[first + (many - 1) // 2] + ordered[first + many // 2]) / 2
    return grid


def _filled(payload: Floats, counts: Floats) -> Floats:
    """[size][count] payloads, those that are missing by the rule that one either stays or grows with the ranks."""
    per_rank = payload / counts
    most = np.fmax.reduce(payload, axis=1, keepdims=True)
    constant = most - np.fmin.reduce(payload, axis=1, keepdims=True) <= 0.01 * most
    return np.where(constant, _with_median(payload), _with_median(per_rank) * counts)


def _with_median(values: Floats) -> Floats:
    """NaN in a row becomes the row's median, where it has one."""
    missing = np.isnan(values)
    some = missing.any(axis=1) & ~missing.all(axis=1)
    if not some.any():
        return values
    out = values.copy()
    out[some] = np.where(missing[some], np.nanmedian(values[some], axis=1, keepdims=True), values[some])
    return out
