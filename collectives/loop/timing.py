"""The only timing loop. Between the two clock readings there are only the calls being measured."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from ..interfaces import Communicator, EnterPhase, LoopSpec, empty_call, ignore_phase
from ..records.record import Policy
from ..statistics import stopping
from .alignment import Alignment
from .caches import CacheState
from .verify import Inspector

__all__ = ["MarkedBlock", "QueuedBlock", "Samples", "Stopwatch", "maker", "python_block", "take_samples",
           "time_samples"]

_HOLD_FACTOR = 2        # how much longer than queueing the calls the device is kept busy
_WARMUP_BLOCK = 3
_WARMUP_BLOCKS = 6
_WARMUP_SHARE = 0.3     # of the time for a case, at most
_LONG_S = 0.5           # what only the first call on new buffers does is small against a sample of this length


class Samples(NamedTuple):
    """One rank's clock readings for one mode of one case, and what all ranks share about them.

    `worst_s` is the time of one call on the slowest rank, per counted sample of the state that is the case's; `late`
    are the samples that some rank began too late. Both are the same on every rank.
    """

    begin_ns: list[int]
    elapsed_ns: list[int]
    warmup: int
    late: list[int]
    worst_s: list[float]
    precision: float | None
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
    if len(calls) == 1 and drain is empty_call:
        return _single(calls[0], now_ns)

    def block(start_ns: int) -> tuple[int, int]:
        while (begin := now_ns()) < start_ns:
            pass
        for call in calls:
            call()
        drain()
        return begin, now_ns()
    return block


def _single(call: Callable[[], object], now_ns: Callable[[], int]) -> Callable[[int], tuple[int, int]]:
    """One call that is complete on return: the loop alone would take a tenth of a small one."""
    def block(start_ns: int) -> tuple[int, int]:
        while (begin := now_ns()) < start_ns:
            pass
        call()
        return begin, now_ns()
    return block


def maker(calls: Sequence[Callable[[], object]], drain: Callable[[], object]) -> Callable[[int], None]:
    """Calls that are not timed; see `Prepared.make`."""
    def make(count: int) -> None:
        for call in calls[:count]:
            call()
        drain()
    return make


class MarkedBlock:
    """Like `python_block`, for calls that return readings of the clock, one for each of `names`.

    Attributes:
        marks: for each block so far, by name: the readings since the begin of their call, summed over the calls.
    """

    def __init__(self, calls: Sequence[Callable[[], Sequence[int]]], names: Sequence[str], now_ns: Callable[[], int],
                 drain: Callable[[], object]) -> None:
        self._calls, self._now_ns, self._drain = calls, now_ns, drain
        self.marks: dict[str, list[int]] = {name: [] for name in names}

    def __call__(self, start_ns: int) -> tuple[int, int]:
        now_ns, begins, readings = self._now_ns, [], []
        while (begin := now_ns()) < start_ns:
            pass
        for call in self._calls:
            begins.append(now_ns())
            readings.append(call())
        self._drain()
        end = now_ns()
        for row, column in zip(self.marks.values(), zip(*readings, strict=True), strict=True):
            row.append(sum(column) - sum(begins))
        return begin, end


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
        while (begin := now_ns()) < start_ns:
            pass
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


def time_samples(inspector: Inspector, communicator: Communicator, alignment: Alignment, state: CacheState, first: int,
                 count: int) -> tuple[list[int], list[int], list[int]]:
    """Begin, elapsed time and lateness in ns of `count` samples, each one block.

    In isolated mode a block is one call, in streamed mode many. What `state` does before and after each sample is
    outside the timed region. Lateness is the delay of this rank's begin after an agreed start; 0 without one. A rank
    that only answers begins before it, to be ready. A compiled loop is used if there is one and it can bring about the
    state.
    """
    state.open(first, count)
    inspector.count_timed(count)
    if inspector.prepared.sampler and state.compiled:
        spec = LoopSpec(*inspector.patterns(), alignment.spec(), state.spec(), inspector.answers)
        return _compiled_samples(inspector, state, spec, first, count)
    begin_ns, elapsed_ns, late_ns = [0] * count, [0] * count, [0] * count
    drain, block, settle = communicator.drain, inspector.prepared.block, inspector.prepared.settle
    for sample in range(count):
        state.before(first + sample)
        drain()
        start_ns = alignment.start() * (not inspector.answers)
        begin, end = block(start_ns)
        settle()
        begin_ns[sample], elapsed_ns[sample] = begin, end - begin
        late_ns[sample] = begin - start_ns if start_ns else 0
        state.after(first + sample)
    return begin_ns, elapsed_ns, late_ns


def _compiled_samples(inspector: Inspector, state: CacheState, spec: LoopSpec, first: int,
                      count: int) -> tuple[list[int], list[int], list[int]]:
    """The compiled loop compares the results itself; it returns early so that the inspector can examine a wrong one."""
    sampler = inspector.prepared.sampler
    assert sampler is not None
    begin_ns: list[int] = []
    elapsed_ns: list[int] = []
    late_ns: list[int] = []
    while (done := len(begin_ns)) < count:
        batch = sampler(spec, first + done, count - done)
        begin_ns += batch.begin_ns
        elapsed_ns += batch.elapsed_ns
        late_ns += batch.late_ns
        inspector.count_right(len(batch.begin_ns) - batch.wrong)
        if batch.wrong:
            state.examine(first + len(begin_ns) - 1)
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


def take_samples(inspector: Inspector, communicator: Communicator, alignment: Alignment, state: CacheState,
                 policy: Policy, budget_s: float, enter: EnterPhase = ignore_phase) -> Samples:
    """Warm up, then sample until the median is precise enough or the time is spent. Collective.

    Every decision uses values that `all_max` made equal on all ranks, so all ranks decide alike. The durations of ranks
    that are not timed are ignored. Where samples take turns between states, bounds on their number are those of each
    state, and the median of each must be precise enough.
    """
    sampler = _Sampler(inspector, communicator, alignment, state)
    stopped_by: Literal["precision", "time", "samples"] = "time"
    with _collector_off():
        enter("warm-up")
        _warm_up(sampler, budget_s, policy.warmup)
        enter("timed")
        warmup, warmup_s = len(sampler.begin_ns), sampler.spent_s
        if policy.warmup is None and sampler.shortest_s > max(budget_s, _LONG_S):
            warmup, warmup_s = 0, 0.0       # that sample counts
        else:
            sampler.forget_times()
        while count := stopping.next_round(sampler.counted, sampler.spent_s - warmup_s, budget_s - warmup_s,
                                           policy.min_samples, policy.max_samples):
            sampler.take(count)
            if (reached := sampler.precision()) is not None and reached <= policy.precision:
                stopped_by = "precision"
                break
        else:
            stopped_by = "samples" if sampler.counted >= policy.max_samples else "time"
    late = [sample for sample in sampler.late if sample >= warmup]
    return Samples(sampler.begin_ns, sampler.elapsed_ns, warmup, late, sampler.worst_s[-1], sampler.precision(),
                   stopped_by)


class _Sampler:
    """Collects the samples of one mode of one case; `worst_s` are the slowest rank's times by state."""

    def __init__(self, inspector: Inspector, communicator: Communicator, alignment: Alignment,
                 state: CacheState) -> None:
        self.inspector, self.communicator, self.alignment, self.state = inspector, communicator, alignment, state
        case = inspector.case
        self.timed = communicator.rank in case.operation.timed(case)
        self.states = len(case.operation.states(case)) or 1
        self.calls = inspector.prepared.calls
        self.started_ns = communicator.now_ns()
        self.begin_ns: list[int] = []
        self.elapsed_ns: list[int] = []
        self.late: list[int] = []
        self.spent_s = 0.0
        self.forget_times()

    def forget_times(self) -> None:
        """Begin to count samples."""
        self.worst_s: list[list[float]] = [[] for _ in range(self.states)]

    @property
    def counted(self) -> int:
        """Counted samples of the state that has the fewest."""
        return min(map(len, self.worst_s))

    @property
    def shortest_s(self) -> float:
        """Seconds of the shortest counted sample; 0 if a state has none."""
        return min((self.calls * min(times, default=0.0) for times in self.worst_s), default=0.0)

    def precision(self) -> float | None:
        """Relative half-width of the confidence interval of the median, of the least precise state."""
        found = [stopping.median_precision(times) for times in self.worst_s]
        known = [one for one in found if one is not None]
        return max(known) if len(known) == len(found) else None

    def take(self, rounds: int) -> list[float]:
        """Take so many samples of each state in turn and share them with all ranks.

        Returns the slowest rank's time of each on-time sample of the last state; if none was on time, of all.
        """
        first, count = len(self.begin_ns), rounds * self.states
        begin, elapsed, late = time_samples(self.inspector, self.communicator, self.alignment, self.state, first,
                                            count)
        self.begin_ns += begin
        self.elapsed_ns += elapsed
        own_s = [ns / self.calls / 1e9 if self.timed else 0.0 for ns in elapsed]
        own_spent_s = (self.communicator.now_ns() - self.started_ns) / 1e9
        shared = self.communicator.all_max([*own_s, *late, own_spent_s])
        times, late_ns, self.spent_s = shared[:count], shared[count:-1], shared[-1]
        on_time = self.alignment.accept(late_ns, [1e9 * self.calls * time_s for time_s in times])
        self.late += [first + sample for sample in range(count) if not on_time[sample]]
        states = range(self.states)
        good = [[time_s for time_s, counts in zip(times[state::self.states], on_time[state::self.states], strict=True)
                 if counts] for state in states]
        for state in states:
            self.worst_s[state] += good[state]
        return good[-1] or times[self.states - 1::self.states]


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
