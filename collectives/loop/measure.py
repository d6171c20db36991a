"""One case on one communicator: prepare, verify, time, verify. Collective; all ranks take the same decisions."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeVar

import msgspec

from ..cases import catalog
from ..cases.case import Case
from ..interfaces import Communicator, EnterPhase, LoopKind, ignore_phase, layout
from ..records.record import Cache, Mismatch, Mode, Policy, Status
from ..statistics.stopping import calls_per_block, median
from .alignment import ALIGNMENTS, Alignment
from .caches import CACHES, state_of
from .clock import ClockModel
from .contention import Contention
from .timing import Samples, take_samples, time_samples
from .verify import Inspector, barrier_fault

__all__ = ["ModeSamples", "Outcome", "measure"]

_MAX_SLOTS = 64
_MAX_MEMORY_SHARE = 0.8     # of the free memory of a rank, for buffers and patterns
_MAX_SLOTS_SHARE = 0.4      # of the same, for more buffers than are needed at least
_SALT_TRIAL, _SALT_TIMED = 0, 7

_T = TypeVar("_T")


class ModeSamples(msgspec.Struct, frozen=True):
    """One rank's samples of one mode, from which rank 0 makes a `Timing`; begins are on rank 0's clock.

    `host_bound`, `as_called_ns`, `marks_ns` and `cache` are as in `Timing`; `alignment` is None for that of the policy.
    """

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
    host_bound: list[int] = []
    as_called_ns: list[int] | None = None
    alignment: str | None = None
    marks_ns: dict[str, list[int]] = {}
    cache: Cache | None = None


class Outcome(msgspec.Struct):
    """One rank's result of one case; rank 0 combines those of all ranks into a record. Counts as in `Verification`."""

    status: Status = "ok"
    reason: str | None = None
    checks: int = 0
    wrong: int = 0
    fault: Mismatch | None = None
    modes: list[ModeSamples] = []
    calls: int = 0
    compared: int = 0
    probed: int = 0

    def count(self, inspector: Inspector) -> None:
        """Add the counts of an inspector."""
        self.checks += inspector.checks
        self.wrong += inspector.wrong
        self.calls += inspector.calls
        self.compared += inspector.compared
        self.probed += inspector.probed
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
        slots_bytes = _check_memory(case, communicator, local_ranks)
        enter("verify")
        spoils = _trial(case, communicator, outcome)
        call_s = None
        for mode in policy.modes:
            enter("set-up")
            how = _How(mode, state_of(policy.cache, case, mode, spoils), spoils)
            if mode == "streamed":
                most = _MAX_SLOTS if how.cache == "warm" else _slots(case, slots_bytes)
                how = how._replace(calls=calls_per_block(call_s, policy.block_s, most) if call_s else most)
            call_s = _time_mode(how, case, communicator, clock, policy, mode_s, outcome, enter)
        if case.op == "barrier":
            enter("verify")
            _verify_barrier(case, communicator, outcome, "after timing")
    except _CaseEnded as end:
        outcome.status, outcome.reason, outcome.modes = end.status, end.reason, []
    return outcome


class _How(NamedTuple):
    """How one mode of a case is timed; `spoils` as in `Inspector`."""

    mode: Mode
    cache: Cache
    spoils: bool
    calls: int = 1


def _trial(case: Case, communicator: Communicator, outcome: Outcome) -> bool:
    """One verified call of the case in each of its states before anything is timed.

    Returns whether the call overwrites its input on some rank.
    """
    inspector = _open(case, communicator, 1, _SALT_TRIAL)
    for sample in range(len(case.operation.states(case)) or 1):
        inspector.reset(sample)
        communicator.drain()
        communicator.barrier()

        _all_or_none(communicator, lambda: inspector.prepared.block(0))
        inspector.prepared.settle()
        inspector.check(sample, "before timing")
    spoils, = communicator.all_max([not inspector.intact(sample)])
    _finish(inspector, communicator, outcome)
    if case.op == "barrier":
        _verify_barrier(case, communicator, outcome, "before timing")
    return bool(spoils)


def _open(case: Case, communicator: Communicator, slots: int, salt: int, repeats: int = 1) -> Inspector:
    """The case with its buffers and patterns, filled and compared once, so that all memory for that is allocated."""
    def step() -> Inspector:
        inspector = Inspector(case, communicator.rank, communicator.prepare(case, slots, repeats), salt)
        inspector.rehearse()
        communicator.drain()
        return inspector
    return _all_or_none(communicator, step)


def _check_memory(case: Case, communicator: Communicator, local_ranks: int) -> int:
    """Bytes that the slots of a block may take; the same on every rank. A size that does not fit ends the case.

    Needed are two slots of what a rank sends and receives; where patterns are whole, as in blocks of uneven size, one
    for each step; and what the operation itself needs.
    """
    composition = case.composition
    patterns = len(composition.all_steps(case)) if composition else 2 if case.operation.uneven else 0
    places = [layout(case, rank) for rank in {0, communicator.rank}]
    needed = (2 + patterns) * max(place.send_bytes + place.recv_bytes for place in places)
    needed += composition.scratch(case) if composition else 0
    room = communicator.room_bytes(local_ranks)
    share, least = communicator.all_max([0.0 if room is None else needed / max(room, 1),
                                         -math.inf if room is None else -room])
    if share > _MAX_MEMORY_SHARE:
        raise _CaseEnded("skipped-memory", f"needs {share:.1f} times the memory that is free for a rank")
    return communicator.slots_bytes if least == -math.inf else min(communicator.slots_bytes,
                                                                   int(-least * _MAX_SLOTS_SHARE))


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


def _time_mode(how: _How, case: Case, communicator: Communicator, clock: ClockModel, policy: Policy, mode_s: float,
               outcome: Outcome, enter: EnterPhase) -> float:
    """Take the samples of one mode; returns the median time of one call in seconds."""
    slots, repeats = (1, how.calls) if how.cache == "warm" else (how.calls, 1)
    inspector = _open(case, communicator, slots, _SALT_TIMED, repeats)
    inspector.spoils = how.spoils
    state = CACHES[how.cache](inspector, communicator)
    name, first = policy.alignment, 0
    contention = Contention(inspector, communicator) if case.operation.background(case) else None
    prepared = inspector.prepared

    def align() -> Alignment:
        if contention is None:
            return ALIGNMENTS[name](communicator, clock)
        return contention.alignment(ALIGNMENTS[name](contention.own, clock))
    alignment = align()

    def take() -> Samples:
        return take_samples(inspector, communicator, alignment, state, policy, mode_s, enter)
    samples = take()
    if not samples.worst_s:     # no sample began on time: the ranks are being preempted
        name, first = "barrier", len(samples.begin_ns)
        alignment = align()
        samples = take()
    marks_ns = {mark: list(taken[first:]) for mark, taken in prepared.marks.items()}
    host_bound = [sample for sample, bound in enumerate(prepared.host_bound[first:])
                  if bound and sample >= samples.warmup]
    as_called_ns = None
    if prepared.as_called is not None:      # the same calls on the host's clock
        inspector.prepared = prepared._replace(block=prepared.as_called)
        _, as_called_ns, _ = time_samples(inspector, communicator, alignment, state, 0, policy.min_samples)
    _finish(inspector, communicator, outcome)
    taken = ModeSamples(how.mode, prepared.loop, prepared.stopwatch, prepared.graph, prepared.calls, samples.warmup,
                        samples.late, [clock.to_reference(begin) for begin in samples.begin_ns], samples.elapsed_ns,
                        samples.precision, samples.stopped_by, host_bound, as_called_ns,
                        None if name == policy.alignment else name, marks_ns, how.cache)
    outcome.modes = [*outcome.modes, taken]
    return median(samples.worst_s)


def _slots(case: Case, slots_bytes: int) -> int:
    """The largest number of calls of a block, limited by the memory allowed; the same on every rank."""
    if case.composition:
        slot_bytes = max(layout(case, rank).slot_bytes for rank in range(case.members))
    else:
        slot_bytes = case.bytes * (2 * catalog.window_depth(case) if case.operation.windowed else 2)
    return max(2, min(_MAX_SLOTS, slots_bytes // max(slot_bytes, 1)))


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
