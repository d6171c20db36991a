"""The digest of a timing: the statistics that every reader wants, so that few of them need its samples.

The time of a call is what its user waits for: from the first rank's start to the last rank's end (makespan) where
ranks start together and read one clock, otherwise the longest of the ranks' own durations.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ..cases.case import Case
from ..statistics.stability import flags, spread
from .record import DIGEST, Digest, Last, Timing

__all__ = ["digest"]

Ints = NDArray[np.int64]


def digest(case: Case, timing: Timing, precision: float) -> Digest:
    """What `timing` of `case` amounts to, where `precision` was asked for. ValueError: it has no samples that count."""
    elapsed = _counted(case, timing, timing.elapsed_ns)
    if timing.span == "makespan":
        begin = _counted(case, timing, timing.begin_ns)
        ends = begin + elapsed
        times = ends.max(axis=0) - begin.min(axis=0)
    else:
        times, ends = elapsed.max(axis=0), elapsed
    found, own = spread(times), _row_medians(elapsed)
    last_rank, last_share = _most_often_last(ends)
    return Digest(
        version=DIGEST, mode=timing.mode, calls=timing.calls, samples=len(times), kind=timing.span,
        median_ns=found.median, lo_ns=_known(found.lo), hi_ns=_known(found.hi), p5_ns=found.p5, p95_ns=found.p95,
        p99_ns=found.p99, rank_min_ns=float(own.min()), rank_mean_ns=float(own.sum() / len(own)),
        rank_max_ns=float(own.max()), last_rank=last_rank, last_share=last_share,
        flags=flags(times, found, precision), **_lateness(case, timing))


def _counted(case: Case, timing: Timing, rows: list[list[int]]) -> Ints:
    """[rank][sample] of the ranks that hold a stopwatch, without warm-up and late samples."""
    holders = rows[:case.operation.timed_ranks(case.ranks)]
    lengths = {len(row) for row in holders}
    counted = timing.counted() if timing.late and len(lengths) == 1 else range(timing.warmup, max(lengths, default=0))
    if len(lengths) != 1 or not counted:
        raise ValueError(f"{case.label()}, {timing.mode}: no samples that count, or not equally many from each rank")
    return np.array(holders, dtype=np.int64)[:, counted if timing.late else slice(timing.warmup, None)]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _middle(ordered: Ints) -> NDArray[np.float64]:
    """Median along the last axis, which is sorted."""
    n = ordered.shape[-1]
    return (ordered[..., n // 2] + ordered[..., (n - 1) // 2]) / 2


def _row_medians(rows: Ints) -> NDArray[np.float64]:
    return _middle(np.sort(rows, axis=1))


def _most_often_last(ends: Ints) -> tuple[int | None, float | None]:
    """Which rank ended last in the most samples, and in what share of them."""
    if len(ends) < 2:
        return None, None
    times_last = np.bincount(ends.argmax(axis=0), minlength=len(ends))
    rank = int(times_last.argmax())
    return rank, float(times_last[rank] / ends.shape[1])


def _lateness(case: Case, timing: Timing) -> dict[str, object]:
    """Who began and who ended last; nothing of timings that cannot tell: one rank, no common clock, streamed calls.

    Late samples count here: that a rank missed the agreed start is what is looked for.
    """
    if timing.mode != "isolated" or timing.begin_ns is None or case.ranks < 2 or case.op == "noop":
        return {}
    begin, elapsed = (np.array(rows, dtype=np.int64)[:, timing.warmup:]
                      for rows in (timing.begin_ns, timing.elapsed_ns))
    if begin.shape != elapsed.shape or len(begin) != case.ranks or not begin.size:
        return {}
    first, lead_ns = _last(begin)
    told = {"begun": begin.shape[1], "slowest_ns": float(_middle(np.sort(elapsed.max(axis=0)))),
            "begin": _added_up(first, lead_ns, case.ranks)}
    if not case.operation.rooted and not case.operation.pairs:      # there some rank ends last by design
        last, behind_ns = _last(begin + elapsed)
        told["end"] = _added_up(last, np.maximum(behind_ns - np.where(last == first, lead_ns, 0), 0), case.ranks)
    return told


def _last(moments: Ints) -> tuple[Ints, Ints]:
    """In each sample (column) the rank whose moment is the last, and how long after the next one it is, in ns."""
    ranks = len(moments)
    two = np.partition(moments, ranks - 2, axis=0)[ranks - 2:]
    return moments.argmax(axis=0), two.max(axis=0) - two.min(axis=0)


def _added_up(last: Ints, by_ns: Ints, ranks: int) -> Last:
    late_ns = np.zeros(ranks, dtype=np.int64)
    np.add.at(late_ns, last, by_ns)
    return Last(times=np.bincount(last, minlength=ranks).tolist(), late_ns=late_ns.tolist())
