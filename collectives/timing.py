"""The only timing loop. Nothing stands between the two clock readings but the calls that are being measured."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

from . import stopping
from .records import Policy
from .verify import Inspector

if TYPE_CHECKING:
    from .transports.base import Communicator

__all__ = ["Samples", "take_samples", "time_calls"]

_WARMUP_BLOCK = 3
_WARMUP_BLOCKS = 6
_WARMUP_SHARE = 0.3     # of the time for a case, at most


class Samples(NamedTuple):
    """One rank's own clock readings for one mode of one case, and what all ranks made of them together.

    `worst_s` is, per counted sample, the time of one call on the slowest rank: the same list on every rank.
    """

    begin_ns: list[int]
    elapsed_ns: list[int]
    warmup: int
    worst_s: list[float]
    stopped_by: Literal["precision", "time", "samples"]


def time_calls(calls: Sequence[Callable[[], object]], inspector: Inspector, communicator: "Communicator",
               start_together: Callable[[], object], first: int, count: int) -> tuple[list[int], list[int]]:
    """Begin and elapsed time in ns of `count` samples, each of all `calls` back to back.

    Isolated mode is one call a sample, streamed mode many. Buffers are refilled before and checked after each
    sample, outside the timed region.
    """
    begin_ns, elapsed_ns = [0] * count, [0] * count
    now_ns, drain = communicator.now_ns, communicator.drain
    for sample in range(count):
        inspector.reset(first + sample)
        drain()
        start_together()
        begin = now_ns()
        for call in calls:
            call()
        drain()
        end = now_ns()
        begin_ns[sample], elapsed_ns[sample] = begin, end - begin
        inspector.check(first + sample, "timed")
    return begin_ns, elapsed_ns


@contextmanager
def _collector_off() -> Iterator[None]:
    """Garbage is collected between cases, never within a sample."""
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def take_samples(inspector: Inspector, communicator: "Communicator", start_together: Callable[[], object],
                 policy: Policy, budget_s: float, timed_ranks: int) -> Samples:
    """Warm up, then sample until the median is precise enough or the time is spent. Collective.

    Every decision is taken from figures that `all_max` made equal on all ranks, so all ranks take the same one.
    Only the first `timed_ranks` ranks hold a stopwatch; the others' durations decide nothing.
    """
    begin_ns: list[int] = []
    elapsed_ns: list[int] = []
    calls = inspector.prepared.calls
    started_ns = communicator.now_ns()
    timed = communicator.rank < timed_ranks

    def take(count: int) -> tuple[list[float], float]:
        begins, elapsed = time_calls(calls, inspector, communicator, start_together, len(begin_ns), count)
        begin_ns.extend(begins)
        elapsed_ns.extend(elapsed)
        own_s = [ns / len(calls) / 1e9 if timed else 0.0 for ns in elapsed]
        *worst_s, spent_s = communicator.all_max([*own_s, (communicator.now_ns() - started_ns) / 1e9])
        return worst_s, spent_s

    with _collector_off():
        warmup_s = _warm_up(take, budget_s)
        warmup = len(begin_ns)
        worst_s: list[float] = []
        spent_s = warmup_s
        stopped_by: Literal["precision", "time", "samples"] = "time"
        while count := stopping.next_round(len(worst_s), spent_s - warmup_s, budget_s - warmup_s,
                                           policy.min_samples, policy.max_samples):
            more_s, spent_s = take(count)
            worst_s += more_s
            reached = stopping.median_precision(worst_s)
            if reached is not None and reached <= policy.precision:
                stopped_by = "precision"
                break
        else:
            stopped_by = "samples" if len(worst_s) >= policy.max_samples else "time"
    return Samples(begin_ns, elapsed_ns, warmup, worst_s, stopped_by)


def _warm_up(take: Callable[[int], tuple[list[float], float]], budget_s: float) -> float:
    """One cold call, then blocks until one is no longer faster than the last; returns the seconds spent."""
    _, spent_s = take(1)
    blocks: list[list[float]] = []
    while len(blocks) < _WARMUP_BLOCKS and spent_s < _WARMUP_SHARE * budget_s and not stopping.settled(blocks):
        block, spent_s = take(_WARMUP_BLOCK)
        blocks.append(block)
    return spent_s
