"""One measured point: what the raw samples of one case in one mode say, as plain numbers.

The time of a call is what its user waits for: from the first rank's start to the last rank's end (makespan) where
ranks start together and read one clock, otherwise the longest of the ranks' own durations.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectives.cases import Case
from collectives.records import Policy, Timing

from . import stats

__all__ = ["MAKESPAN", "SLOWEST", "Point", "summarise"]

MAKESPAN = "makespan"
SLOWEST = "slowest rank"


class Point(NamedTuple):
    """What one timing says; times in seconds per message, `last_rank` None where there was only one stopwatch.

    `p5_s`, `p95_s`, `p99_s` are quantiles over samples; `rank_*_s` are over ranks, of each rank's own median.
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
    time_kind: str
    precision: float
    last_rank: int | None
    last_share: float | None
    flags: str


def summarise(case: Case, timing: Timing, policy: Policy) -> Point:
    """The point that `timing` of `case` amounts to; only samples that count. ValueError when there are none."""
    elapsed = _counted(case, timing, timing.elapsed_ns)
    per_message_s = 1e-9 / (timing.calls * case.operation.messages)
    if timing.span == "makespan":
        begin = _counted(case, timing, timing.begin_ns)
        ends = begin + elapsed
        times, kind = (ends.max(axis=0) - begin.min(axis=0)) * per_message_s, MAKESPAN
    else:
        times, ends, kind = elapsed.max(axis=0) * per_message_s, elapsed, SLOWEST
    found = stats.spread(times)
    own = _row_medians(elapsed) * per_message_s
    last_rank, last_share = _last(ends)
    return Point(timing.mode, timing.calls, len(times), found.median, found.lo, found.hi, found.p5, found.p95,
                 found.p99, float(own.min()), float(own.sum() / len(own)), float(own.max()), kind, found.precision,
                 last_rank, last_share, ", ".join(stats.flags(times, found, policy.precision)))


def _counted(case: Case, timing: Timing, rows: list[list[int]]) -> NDArray[np.int64]:
    """[rank][sample] of the ranks that hold a stopwatch, without warm-up and late samples."""
    holders = rows[:case.operation.timed_ranks(case.ranks)]
    lengths = {len(row) for row in holders}
    counted = timing.counted() if timing.late and len(lengths) == 1 else range(timing.warmup, max(lengths, default=0))
    if len(lengths) != 1 or not counted:
        raise ValueError(f"{case.label()}, {timing.mode}: no samples that count, or not equally many from each rank")
    return np.array(holders, dtype=np.int64)[:, counted if timing.late else slice(timing.warmup, None)]


def _row_medians(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    ordered = np.sort(rows, axis=1)
    n = rows.shape[1]
    return (ordered[:, n // 2] + ordered[:, (n - 1) // 2]) / 2


def _last(ends: NDArray[np.int64]) -> tuple[int | None, float | None]:
    """Which rank ended last in the most samples, and in what share of them."""
    if len(ends) < 2:
        return None, None
    times_last = np.bincount(ends.argmax(axis=0), minlength=len(ends))
    rank = int(times_last.argmax())
    return rank, float(times_last[rank] / ends.shape[1])
