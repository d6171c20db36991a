"""The digest of a timing: the statistics that most readers need, so that they can skip the samples.

The time of a call is what a user waits for: from the first rank's start to the last rank's end (makespan) if ranks
start together and their clocks compare, otherwise the longest of the ranks' own durations.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cases.case import Case
from ..statistics.stability import flags, spread
from .figures import figures
from .record import DIGEST, Digest, LastArrivals, Timing

__all__ = ["digest"]

Ints = NDArray[np.int64]


def digest(case: Case, timing: Timing, precision: float) -> Digest:
    """The digest of `timing` of `case`, with `precision` as the target. ValueError if it has no counted samples."""
    elapsed = _counted(case, timing, timing.elapsed_ns)
    if timing.span == "makespan" and timing.begin_ns is not None:
        begin = _counted(case, timing, timing.begin_ns)
        ends = begin + elapsed
        times = ends.max(axis=0) - begin.min(axis=0)
    else:
        times, ends = elapsed.max(axis=0), elapsed
    found, own = spread(times), _row_medians(elapsed)
    last_rank, last_share = _most_often_last(ends, case.operation.timed(case))
    late = _lateness(case, timing)
    return Digest(
        version=DIGEST, mode=timing.mode, calls=timing.calls, samples=len(times), kind=timing.span,
        median_ns=found.median, lo_ns=_known(found.lo), hi_ns=_known(found.hi), p5_ns=found.p5, p95_ns=found.p95,
        p99_ns=found.p99, rank_min_ns=float(own.min()), rank_mean_ns=float(own.sum() / len(own)),
        rank_max_ns=float(own.max()), last_rank=last_rank, last_share=last_share,
        flags=flags(times, found, precision), begun=late.begun, slowest_ns=late.slowest_ns, begin=late.begin,
        end=late.end, as_called_ns=_as_called(case, timing), cache=timing.cache,
        figures=figures(case, timing))


def _counted(case: Case, timing: Timing, rows: list[list[int]]) -> Ints:
    """[rank][sample] of the timed ranks, without warm-up, late samples and those in other states."""
    timed = _timed(case, rows)
    lengths = {len(row) for row in timed}
    counted = (timing.counted() if timing.late else timing.begun()) if len(lengths) == 1 else ()
    if not counted or counted[-1] >= max(lengths):
        raise ValueError(f"{case.label()}, {timing.mode}: no counted samples, or not equally many from each rank")
    return np.array(timed, dtype=np.int64)[:, counted if timing.late else _slice(timing)]


def _slice(timing: Timing) -> slice:
    """The samples of `timing.begun()`."""
    begun = timing.begun()
    return slice(begun.start, None, begun.step)


def _timed(case: Case, rows: list[list[int]]) -> list[list[int]]:
    """The rows of the timed ranks, as far as there are such."""
    return [rows[rank] for rank in case.operation.timed(case) if rank < len(rows)]


def _as_called(case: Case, timing: Timing) -> float | None:
    rows = _timed(case, timing.as_called_ns or [])
    if not rows or not rows[0] or len({len(row) for row in rows}) > 1:
        return None
    return float(_middle(np.sort(np.array(rows, dtype=np.int64).max(axis=0))))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _middle(ordered: Ints) -> NDArray[np.float64]:
    """Median along the last axis, which is sorted."""
    n = ordered.shape[-1]
    middle: NDArray[np.float64] = (ordered[..., n // 2] + ordered[..., (n - 1) // 2]) / 2
    return middle


def _row_medians(rows: Ints) -> NDArray[np.float64]:
    return _middle(np.sort(rows, axis=1))


def _most_often_last(ends: Ints, timed: Sequence[int]) -> tuple[int | None, float | None]:
    """The rank that ended last in the most samples, and its share of them; row i of `ends` is of rank timed[i]."""
    if len(ends) < 2:
        return None, None
    times_last = np.bincount(ends.argmax(axis=0), minlength=len(ends))
    row = int(times_last.argmax())
    return timed[row], float(times_last[row] / ends.shape[1])


class _Lateness(NamedTuple):
    begun: int = 0
    slowest_ns: float | None = None
    begin: LastArrivals | None = None
    end: LastArrivals | None = None


def _lateness(case: Case, timing: Timing) -> _Lateness:
    """Which ranks began and ended last; empty for one rank, clocks that do not compare, streamed calls, and where some
    ranks only answer or load the machine.

    Late samples are included: missing the agreed start is the effect of interest here.
    """
    if (timing.mode != "isolated" or timing.begin_ns is None or case.members < 2 or case.op == "noop"
            or case.operation.background(case) or len(case.operation.timed(case)) < case.members):
        return _Lateness()
    begin, elapsed = (np.array(rows, dtype=np.int64)[:, _slice(timing)]
                      for rows in (timing.begin_ns, timing.elapsed_ns))
    if begin.shape != elapsed.shape or len(begin) != case.members or not begin.size:
        return _Lateness()
    first, lead_ns = _last(begin)
    end = None
    if not case.operation.rooted and not case.operation.pairs:      # in those, some rank ends last by design
        last, behind_ns = _last(begin + elapsed)
        # A rank that both began and ended last is charged only for the delay beyond its late begin.
        end = _summed(last, np.maximum(behind_ns - np.where(last == first, lead_ns, 0), 0), case.members)
    return _Lateness(begin.shape[1], float(_middle(np.sort(elapsed.max(axis=0)))),
                     _summed(first, lead_ns, case.members), end)


def _last(times_ns: Ints) -> tuple[Ints, Ints]:
    """For each sample (column), the rank with the latest time, and its distance to the second latest in ns."""
    ranks = len(times_ns)
    two = np.partition(times_ns, ranks - 2, axis=0)[ranks - 2:]
    return times_ns.argmax(axis=0), two.max(axis=0) - two.min(axis=0)


def _summed(last: Ints, by_ns: Ints, ranks: int) -> LastArrivals:
    late_ns = np.zeros(ranks, dtype=np.int64)
    np.add.at(late_ns, last, by_ns)
    return LastArrivals(times=np.bincount(last, minlength=ranks).tolist(), late_ns=late_ns.tolist())
