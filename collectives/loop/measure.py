"""One case on one communicator: prepare, verify, time, verify. Collective; all ranks take the same decisions."""

from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

from ..cases import catalog
from ..cases.case import Case
from ..interfaces import Communicator, EnterPhase, LoopKind, Prepared, ignore_phase
from ..records.record import Mismatch, Mode, Policy, Status
from ..statistics.stopping import calls_per_block, median, median_precision
from .alignment import ALIGNMENTS
from .clock import ClockModel
from .timing import Samples, take_samples
from .verify import Inspector, barrier_fault

__all__ = ["ModeSamples", "Outcome", "measure"]

_MAX_SLOTS = 64
_MAX_MEMORY_SHARE = 0.8     # of the free memory of a rank
_SALT_TRIAL, _SALT_TIMED = 0, 7

_T = TypeVar("_T")


class ModeSamples(msgspec.Struct, frozen=True):
    """One rank's samples of one mode, from which rank 0 makes a `Timing`; begins are on rank 0's clock."""

    mode: Mode
    loop: LoopKind
    stopwatch: Literal["host", "device"]
    graph: bool
    calls: int
    warmup: int
    late: list[int]
    begin_ns: list[int]
    elapsed_ns: list[int]
    precision: float | None
    stopped_by: Literal["precision", "time", "samples"]


class Outcome(msgspec.Struct):
    """One rank's result of one case; rank 0 combines those of all ranks into a record."""

    status: Status = "ok"
    reason: str | None = None
    checks: int = 0
    wrong: int = 0
    fault: Mismatch | None = None
    modes: list[ModeSamples] = []

    def count(self, inspector: Inspector) -> None:
        """Add the counts of an inspector."""
        self.checks += inspector.checks
        self.wrong += inspector.wrong
        self.fault = self.fault or inspector.fault


class _CaseEnded(Exception):
    """The case ends without times, on every rank alike."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def measure(case: Case, communicator: Communicator, clock: ClockModel, policy: Policy, mode_s: float,
            local_ranks: int, enter: EnterPhase = ignore_phase) -> Outcome:
    """Measure `case` in every mode of `policy`, for about `mode_s` seconds each. Collective over the communicator.

    A case that does not fit in memory, is refused by the library or gives a wrong result is an outcome, not an
    exception. `enter` is called with each phase that begins.
    """
    outcome = Outcome()
    try:
        enter("set-up")
        _check_memory(case, communicator, local_ranks)
        enter("verify")
        _trial(case, communicator, outcome)
        call_s = None
        for mode in policy.modes:
            enter("set-up")
            call_s = _time_mode(mode, case, communicator, clock, policy, mode_s, call_s, outcome, enter)
        if case.op == "barrier":
            enter("verify")
            _verify_barrier(case, communicator, outcome, "after timing")
    except _CaseEnded as end:
        outcome.status, outcome.reason, outcome.modes = end.status, end.reason, []
    return outcome


def _trial(case: Case, communicator: Communicator, outcome: Outcome) -> None:
    """One verified call of the case before anything is timed."""
    prepared = _all_or_none(communicator, lambda: communicator.prepare(case, 1))
    inspector = Inspector(case, communicator.rank, prepared, _SALT_TRIAL)
    inspector.reset(0)
    communicator.drain()
    communicator.barrier()

    _all_or_none(communicator, lambda: prepared.block(0))
    inspector.check(0, "before timing")
    _finish(inspector, communicator, outcome)
    if case.op == "barrier":
        _verify_barrier(case, communicator, outcome, "before timing")


def _check_memory(case: Case, communicator: Communicator, local_ranks: int) -> None:
    """A size that does not fit is a record, not a crash. Needed are two copies of what a rank sends and receives."""
    needed = 2 * case.itemsize * max(
        sum(piece.count for piece in catalog.sent(case, rank) + catalog.received(case, rank))
        for rank in {0, communicator.rank})
    room = communicator.room_bytes(local_ranks)
    share, = communicator.all_max([0.0 if room is None else needed / max(room, 1)])
    if share > _MAX_MEMORY_SHARE:
        raise _CaseEnded("skipped-memory", f"needs {share:.1f} times the memory that is free for a rank")


def _all_or_none(communicator: Communicator, step: Callable[[], _T]) -> _T:
    """Run a step that a library may refuse. If all ranks refuse, the case is unsupported; if only some do, it fails."""
    results: list[_T] = []
    refusal, full = None, False
    try:
        results.append(step())
    except Exception as error:      # each library has its own exceptions; their text is the reason
        refusal = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        full = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    some_refuse, some_run, some_full = communicator.all_max([refusal is not None, refusal is None, full])
    if some_full:
        raise _CaseEnded("skipped-memory", refusal or "out of memory on another rank")
    if some_refuse and some_run:
        raise RuntimeError(refusal or "another rank could not run this case")
    if some_refuse:
        raise _CaseEnded("unsupported", f"the library refused it: {refusal}")
    return results[0]


def _time_mode(mode: Mode, case: Case, communicator: Communicator, clock: ClockModel, policy: Policy, mode_s: float,
               call_s: float | None, outcome: Outcome, enter: EnterPhase) -> float:
    """Take the samples of one mode; returns the median time of one call in seconds."""
    slots = 1 if mode == "isolated" else _slots(case, communicator.slots_bytes)
    if mode == "streamed" and call_s is not None:
        slots = calls_per_block(call_s, policy.block_s, slots)
    prepared = _all_or_none(communicator, lambda: communicator.prepare(case, slots))
    inspector = Inspector(case, communicator.rank, prepared, _SALT_TIMED)
    alignment = ALIGNMENTS[policy.alignment](communicator, clock)
    samples = take_samples(inspector, communicator, alignment, policy, mode_s, case.operation.timed_ranks(case.ranks),
                           enter)
    _finish(inspector, communicator, outcome)
    if not samples.worst_s:
        raise _CaseEnded("failed", f"no {mode} sample began on time; --alignment barrier needs no agreed start")
    outcome.modes = [*outcome.modes, _mode_samples(mode, prepared, clock, samples)]
    return median(samples.worst_s)


def _mode_samples(mode: Mode, prepared: Prepared, clock: ClockModel, samples: Samples) -> ModeSamples:
    return ModeSamples(mode, prepared.loop, prepared.stopwatch, prepared.graph, prepared.slots, samples.warmup,
                       samples.late, [clock.to_reference(begin) for begin in samples.begin_ns], samples.elapsed_ns,
                       median_precision(samples.worst_s), samples.stopped_by)


def _slots(case: Case, slots_bytes: int) -> int:
    """The largest number of calls of a block, limited by the memory allowed; the same on every rank."""
    copies = 2 * catalog.window_depth(case) if case.operation.windowed else 2
    return max(2, min(_MAX_SLOTS, slots_bytes // max(copies * case.bytes, 1)))


def _finish(inspector: Inspector, communicator: Communicator, outcome: Outcome) -> None:
    """Release the buffers; a wrong result on any rank ends the case on all of them."""
    inspector.prepared.release()
    outcome.count(inspector)
    _stop_if_wrong(communicator, outcome)


def _stop_if_wrong(communicator: Communicator, outcome: Outcome) -> None:
    if communicator.all_max([outcome.wrong])[0]:
        raise _CaseEnded("wrong", "wrong result")


def _verify_barrier(case: Case, communicator: Communicator, outcome: Outcome, when: str) -> None:
    """A barrier leaves no data to compare; it is tested with ranks that enter late."""
    prepared = communicator.prepare(case, 1)
    outcome.fault = outcome.fault or barrier_fault(communicator, lambda: prepared.block(0), when)
    prepared.release()
    outcome.checks += communicator.size
    outcome.wrong += outcome.fault is not None
    _stop_if_wrong(communicator, outcome)
