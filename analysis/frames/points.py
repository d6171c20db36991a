"""Measured points: the numbers of a digest, in seconds per message."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.records.record import Digest

__all__ = ["Point", "points_of", "shared"]

_TIMES = {"time_s": "median_ns", "time_lo_s": "lo_ns", "time_hi_s": "hi_ns", "p5_s": "p5_ns", "p95_s": "p95_ns",
          "p99_s": "p99_ns", "rank_min_s": "rank_min_ns", "rank_mean_s": "rank_mean_ns", "rank_max_s": "rank_max_ns",
          "as_called_s": "as_called_ns"}
_LEAST_NS = 0.5      # smallest mean of two samples in whole ns; less is 0
_TIMES_NS = attrgetter(*_TIMES.values())


class Point(NamedTuple):
    """One timing; times in seconds per message, `last_rank` None if there was only one stopwatch.

    `p5_s`, `p95_s`, `p99_s` are quantiles over samples; `rank_*_s` are over the ranks' medians; `precision` is the
    relative half-width of the 95 % confidence interval; `as_called_s` is the median on the host's clock of calls whose
    other times are on the device's; `cache` is the state of the caches before a sample, None if unknown.
    """

    mode: str
    calls: int
    samples: int
    time_s: float
    time_lo_s: float
    time_hi_s: float
    p5_s: float
    p95_s: float
    p99_s: float
    rank_min_s: float
    rank_mean_s: float
    rank_max_s: float
    as_called_s: float
    time_kind: str
    precision: float
    last_rank: int | None
    last_share: float | None
    flags: str
    cache: str | None = None


def shared(values: Iterable[str | None]) -> list[str | None]:
    """The values, with equal ones as one object: grouping and sorting then take half the time."""
    known: dict[str | None, str | None] = {}
    return [known.setdefault(value, value) for value in values]


def points_of(digests: Sequence[Digest], messages: NDArray[np.float64]) -> pd.DataFrame:
    """One row of `Point` per digest; `messages`: [digest] messages per call."""
    calls = np.array([one.calls for one in digests], dtype=np.int64)
    columns: dict[str, Any] = {
        "mode": [one.mode for one in digests], "calls": calls, "samples": [one.samples for one in digests],
        "time_kind": [one.kind for one in digests], "flags": shared([", ".join(one.flags) for one in digests]),
        "cache": shared([one.cache for one in digests]),
        "last_rank": [one.last_rank for one in digests],
        "last_share": np.array([one.last_share for one in digests], dtype=float)}
    ns = np.array([*map(_TIMES_NS, digests)], dtype=float).reshape(len(digests), len(_TIMES))
    ns[ns < _LEAST_NS] = 0
    columns |= zip(_TIMES, (ns * (1e-9 / (calls * messages))[:, None]).T, strict=True)
    middle, half = columns["time_s"], (columns["time_hi_s"] - columns["time_lo_s"]) / 2
    columns["precision"] = np.divide(half, middle, out=np.full(len(digests), np.nan), where=middle > 0)
    return pd.DataFrame(columns, columns=Point._fields)
