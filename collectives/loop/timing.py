"""The only timing loop. Between the two clock readings there are only the calls being measured."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from ..interfaces import Communicator, EnterPhase, LoopSpec, ignore_phase
from ..records.record import Policy
from ..statistics import stopping
from .alignment import Alignment
from .verify import Inspector

__all__ = ["QueuedBlock", "Samples", "Stopwatch", "loop_spec", "python_block", "take_samples", "time_samples"]

_HOLD_FACTOR = 2        # how much longer than queueing the calls the device is kept busy
_WARMUP_BLOCK = 3
_WARMUP_BLOCKS = 6
_WARMUP_SHARE = 0.3     # of the time for a case, at most


class Samples(NamedTuple):
    """One rank's clock readings for one mode of one case, and what all ranks share about them.

    `worst_s` is the time of one call on the slowest rank, per counted sample; `late` are the samples that some rank
    began too late. Both are the same on every rank.
    """

    begin_ns: list[int]
    elapsed_ns: list[int]
    warmup: int
    late: list[int]
    worst_s: list[float]
    stopped_by: Literal["precision", "time", "samples"]


class Stopwatch(NamedTuple):
    """A device's own clock: two marks in its queue, and the time between them once it has passed both."""

    start: Callable[[], object]
    stop: Callable[[], object]
    elapsed_ns: Callable[[], int]
    started: Callable[[], bool]     # whether the device has passed the first mark


def python_block(calls: Sequence[Callable[[], object]], now_ns: Callable[[], int],
                 drain: Callable[[], object]) -> Callable[[int], tuple[int, int]]:
    """The timed region in the interpreter; see `Prepared.block`."""
    def block(start_ns: int) -> tuple[int, int]:
        while now_ns() < start_ns:
            pass
        begin = now_ns()
        for call in calls:
            call()
        drain()
        return begin, now_ns()
    return block


class QueuedBlock:
    """Like `python_block`, for calls that only queue work: the end is the begin plus the time on the device's clock.

    The device is kept busy until all calls are queued. Otherwise it would wait for the host between calls that are
    shorter than the time to queue them, and its clock would tell the speed of the interpreter.

    Args:
        hold: queues at least so many ns of other work.
        meet: queues a rendezvous of the ranks, so that none waits in its first call for one that was held longer.

    Attributes:
        host_bound: for each block so far, whether the device reached the first mark before all calls were queued.
    """

    def __init__(self, calls: Sequence[Callable[[], object]], now_ns: Callable[[], int], drain: Callable[[], object],
                 stopwatch: Stopwatch, hold: Callable[[int], object], meet: Callable[[], object]) -> None:
        self._calls, self._now_ns, self._drain, self._stopwatch = calls, now_ns, drain, stopwatch
        self._hold, self._meet = hold, meet
        self._hold_ns = 0
        self.host_bound: list[bool] = []

    def __call__(self, start_ns: int) -> tuple[int, int]:
        calls, now_ns = self._calls, self._now_ns
        start, stop, elapsed_ns, started = self._stopwatch
        while now_ns() < start_ns:
            pass
        begin = now_ns()
        self._hold(self._hold_ns)
        self._meet()
        queueing = now_ns()
        start()
        for call in calls:
            call()
        stop()
        late = started()
        queued_ns = now_ns() - queueing
        self._drain()
        self.host_bound.append(late)
        # The time to queue the same calls varies; what was enough for the last block may be too short for the next.
        self._hold_ns = max(_HOLD_FACTOR * queued_ns, self._hold_ns * (2 if late else 1))
        return begin, begin + elapsed_ns()


def loop_spec(inspector: Inspector, alignment: Alignment) -> LoopSpec:
    """What the inspector and the alignment do, as values for a compiled loop."""
    sent, expected, poison = inspector.patterns()
    return LoopSpec(sent, expected, poison, alignment.spec())


def time_samples(inspector: Inspector, communicator: Communicator, alignment: Alignment, first: int,
                 count: int, cold: bool = False) -> tuple[list[int], list[int], list[int]]:
    """Begin, elapsed time and lateness in ns of `count` samples, each one block.

    In isolated mode a block is one call, in streamed mode many. Buffers are refilled before and checked after each
    sample, outside the timed region. Lateness is the delay of this rank's begin after an agreed start; 0 without one.
    A compiled loop is used if there is one. `cold`: evict the buffers from the caches before each sample; otherwise
    they are as warm as filling them leaves them.
    """
    if inspector.prepared.sampler and not cold:
        return _compiled_samples(inspector, alignment, first, count)
    begin_ns, elapsed_ns, late_ns = [0] * count, [0] * count, [0] * count
    drain, block = communicator.drain, inspector.prepared.block
    for sample in range(count):
        inspector.reset(first + sample)
        if cold:
            communicator.evict()
        drain()
        start_ns = alignment.start()
        begin, end = block(start_ns)
        begin_ns[sample], elapsed_ns[sample] = begin, end - begin
        late_ns[sample] = begin - start_ns if start_ns else 0
        inspector.check(first + sample, "timed")
    return begin_ns, elapsed_ns, late_ns


def _compiled_samples(inspector: Inspector, alignment: Alignment, first: int,
                      count: int) -> tuple[list[int], list[int], list[int]]:
    """The compiled loop compares the results itself; it returns early so that the inspector can examine a wrong one."""
    sampler = inspector.prepared.sampler
    assert sampler is not None
    begin_ns: list[int] = []
    elapsed_ns: list[int] = []
    late_ns: list[int] = []
    spec = loop_spec(inspector, alignment)
    while (done := len(begin_ns)) < count:
        batch = sampler(spec, first + done, count - done)
        begin_ns += batch.begin_ns
        elapsed_ns += batch.elapsed_ns
        late_ns += batch.late_ns
        inspector.count_right(len(batch.begin_ns) - batch.wrong)
        if batch.wrong:
            inspector.check(first + len(begin_ns) - 1, "timed")
    return begin_ns, elapsed_ns, late_ns


@contextmanager
def _collector_off() -> Iterator[None]:
    """Collect garbage between cases, never within a sample."""
    gc.collect(0)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def take_samples(inspector: Inspector, communicator: Communicator, alignment: Alignment, policy: Policy,
                 budget_s: float, timed_ranks: int, enter: EnterPhase = ignore_phase) -> Samples:
    """Warm up, then sample until the median is precise enough or the time is spent. Collective.

    Every decision uses values that `all_max` made equal on all ranks, so all ranks decide alike. Only the first
    `timed_ranks` ranks are timed; the durations of the others are ignored.
    """
    sampler = _Sampler(inspector, communicator, alignment, timed_ranks, policy.cache == "cold")
    stopped_by: Literal["precision", "time", "samples"] = "time"
    with _collector_off():
        enter("warm-up")
        _warm_up(sampler, budget_s, policy.warmup)
        enter("timed")
        warmup, warmup_s, sampler.worst_s = len(sampler.begin_ns), sampler.spent_s, []
        while count := stopping.next_round(len(sampler.worst_s), sampler.spent_s - warmup_s, budget_s - warmup_s,
                                           policy.min_samples, policy.max_samples):
            sampler.take(count)
            reached = stopping.median_precision(sampler.worst_s)
            if reached is not None and reached <= policy.precision:
                stopped_by = "precision"
                break
        else:
            stopped_by = "samples" if len(sampler.worst_s) >= policy.max_samples else "time"
    late = [sample for sample in sampler.late if sample >= warmup]
    return Samples(sampler.begin_ns, sampler.elapsed_ns, warmup, late, sampler.worst_s, stopped_by)


class _Sampler:
    """Collects the samples of one mode of one case."""

    def __init__(self, inspector: Inspector, communicator: Communicator, alignment: Alignment, timed_ranks: int,
                 cold: bool) -> None:
        self.cold = cold
        self.inspector, self.communicator, self.alignment = inspector, communicator, alignment
        self.timed = communicator.rank < timed_ranks
        self.calls = inspector.prepared.slots
        self.started_ns = communicator.now_ns()
        self.begin_ns: list[int] = []
        self.elapsed_ns: list[int] = []
        self.late: list[int] = []
        self.worst_s: list[float] = []
        self.spent_s = 0.0

    def take(self, count: int) -> list[float]:
        """Take `count` samples and share them with all ranks; returns the slowest rank's time of each on-time one.

        If none was on time, returns the times of all.
        """
        first = len(self.begin_ns)
        begin, elapsed, late = time_samples(self.inspector, self.communicator, self.alignment, first, count,
                                            self.cold)
        self.begin_ns += begin
        self.elapsed_ns += elapsed
        own_s = [ns / self.calls / 1e9 if self.timed else 0.0 for ns in elapsed]
        own_spent_s = (self.communicator.now_ns() - self.started_ns) / 1e9
        shared = self.communicator.all_max([*own_s, *late, own_spent_s])
        times, late_ns, self.spent_s = shared[:count], shared[count:-1], shared[-1]
        on_time = self.alignment.accept(late_ns, [1e9 * self.calls * time_s for time_s in times])
        self.late += [first + sample for sample in range(count) if not on_time[sample]]
        good = [time_s for time_s, counts in zip(times, on_time, strict=True) if counts]
        self.worst_s += good
        return good or times


def _warm_up(sampler: _Sampler, budget_s: float, count: int | None) -> None:
    """`count` samples; if None, one cold call, then blocks of calls until one is no faster than the one before."""
    if count is not None:
        if count:
            sampler.take(count)
        return
    sampler.take(1)
    blocks: list[list[float]] = []
    while len(blocks) < _WARMUP_BLOCKS and sampler.spent_s < _WARMUP_SHARE * budget_s and not stopping.settled(blocks):
        blocks.append(sampler.take(_WARMUP_BLOCK))
