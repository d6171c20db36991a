"""Times of one operation on one fabric as a grid of sizes and rank counts: what models are fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Assumed", "Curve", "Floats", "Ints", "curve_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Assumed(NamedTuple):
    """What is assumed of a level that was never crossed, against the level inside it.

    Args:
        rate: its rate per rank as a share of the rate inside.
        latency_s: what a step through it takes longer.
    """

    rate: float
    latency_s: float


@dataclass(frozen=True)
class Curve:
    """Measured times of one operation, library and fabric; nothing in it may mix what must not be pooled.

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
        keep = self.counts <= ranks
        return replace(self, counts=self.counts[keep], log_time_s=self.log_time_s[:, keep],
                       payload_bytes=self.payload_bytes[:, keep])

    def since(self, ranks: int) -> "Curve":
        """The part with at least so many ranks."""
        keep = self.counts >= ranks
        return replace(self, counts=self.counts[keep], log_time_s=self.log_time_s[:, keep],
                       payload_bytes=self.payload_bytes[:, keep])

    def last(self) -> Ints:
        """[size] the position of the largest rank count that each size was measured at; -1 where none."""
        known = np.isfinite(self.log_time_s)
        return np.where(known.any(axis=1), known.shape[1] - 1 - known[:, ::-1].argmax(axis=1), -1)


def curve_of(frame: pd.DataFrame, op: str, algorithm: str | None = None, levels: Sequence[int] = (),
             noise_log: float = 0.0) -> Curve:
    """The curve of rows with columns size, ranks, payload_bytes, time_s; the median of repeats."""
    grid = frame.pivot_table(index="size", columns="ranks", values=["time_s", "payload_bytes"], aggfunc="median",
                             dropna=False)
    time_s, payload = grid["time_s"], grid["payload_bytes"]
    # A payload either stays or grows with the ranks; where a time is missing it is filled in by that rule.
    per_rank = payload.div(payload.columns.to_numpy(), axis=1)
    constant = (payload.max(axis=1) - payload.min(axis=1)) <= 0.01 * payload.max(axis=1)
    filled = payload.T.fillna(payload.median(axis=1)).T.where(
        constant, per_rank.T.fillna(per_rank.median(axis=1)).T.mul(payload.columns.to_numpy(), axis=1))
    with np.errstate(divide="ignore"):
        return Curve(op, algorithm, time_s.index.to_numpy(float), time_s.columns.to_numpy(np.int64),
                     np.log(time_s.to_numpy(float)), filled.to_numpy(float), tuple(levels), noise_log)
