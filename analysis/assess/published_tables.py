"""The published tables that ship with the tool, as ranges of bus bandwidth, and how much two of them differ."""

from functools import cache
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..frames.bandwidth import busbw_Bps
from ..projection.references import measured

__all__ = ["PublishedTable", "apart", "tables_of"]

_LARGE = 4 << 20        # from here on bandwidth dominates, and tables agree better
_DISAGREE = 0.95


class PublishedTable(NamedTuple):
    """Published busbw of one operation and rank count: [size] lowest, middle and highest over tables."""

    sizes: NDArray[np.float64]
    low: NDArray[np.float64]
    middle: NDArray[np.float64]
    high: NDArray[np.float64]


@cache
def apart() -> tuple[float, float]:
    """The factor by which tables for one accelerator and case differ, for small and for large messages."""
    frame = measured()
    spread = frame.groupby(["domain", "op", "ranks", "payload_bytes"])["time_s"].agg(["min", "max", "size"])
    spread = spread[spread["size"] > 1].reset_index()
    ratio = spread["max"] / spread["min"]
    large = spread["payload_bytes"] >= _LARGE
    return float(ratio[~large].quantile(_DISAGREE)), float(ratio[large].quantile(_DISAGREE))


@cache
def tables_of(domain: str) -> dict[tuple[str, int], PublishedTable]:
    """Published curves of a domain by operation and rank count."""
    frame = measured()
    frame = frame[frame["domain"] == domain]
    if frame.empty:
        return {}
    frame = frame.assign(bus=busbw_Bps(frame["op"], frame["ranks"], frame["payload_bytes"], frame["time_s"]))
    small, large = apart()
    found = {}
    for key, rows in frame.groupby(["op", "ranks"]):
        op, ranks = cast(tuple[str, int], key)
        spread = rows.groupby("payload_bytes")["bus"].agg(["min", "median", "max"])
        sizes = spread.index.to_numpy(float)
        width = np.where(sizes >= _LARGE, large, small)
        found[op, int(ranks)] = PublishedTable(
            sizes, spread["min"].to_numpy() / width, spread["median"].to_numpy(), spread["max"].to_numpy() * width)
    return found
