"""The rank program: walk through the cases of a sweep, measure each, and journal it before the next."""

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone

import msgspec

from ..cases.case import Case, format_size
from ..cases.catalog import ONE_CALL
from ..errors import CollbenchError
from ..interfaces import Transport
from ..loop.measure import ModeSamples, Outcome, measure
from ..options import RunConfig
from ..ranks.provenance import describe
from ..ranks.rendezvous import Place
from ..records.digest import digest
from ..records.journal import Journal
from ..records.record import FAULT_NOTE, SCHEMA, Clock, Record, Run, Timing, Verification, makespans_ns
from ..records.resume import completed_cases
from ..statistics.stopping import median
from ..watchdog.watchdog import UNWATCHED, Unwatched, describe_error
from .live_table import Display
from .session import Setting, settle

__all__ = ["run_sweep"]

_SKIP = 0       # rank 0's word at the start of a case; any other is the time for each of its modes in us
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_ENCODE, _DECODE = msgspec.json.encode, msgspec.json.decode


def run_sweep(request: RunConfig, transport: Transport, place: Place, watch: Unwatched = UNWATCHED) -> int:
    """Measure every case of the request. Collective over the job; returns the exit status of this rank.

    Status 1 when a case was wrong or failed, else 0. Each record is on disk before the next case begins.
    """
    setting = settle(request, transport, place)
    watch.join(setting.communicators[transport.size], setting.loopback,
               place.address and place.address[0])
    return _Lead(setting, transport, watch).run() if transport.rank == 0 else _follow(setting, watch)


def _follow(setting: Setting, watch: Unwatched) -> int:
    """Every rank but 0: take part in the cases of one's groups, or leave them out when rank 0 says so.

    Told to stop, a rank waits for rank 0, which was told too, to end the sweep for all of them together.
    """
    if threading.current_thread() is threading.main_thread():
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    for number, case in enumerate(setting.plan.cases, 1):
        communicator = setting.communicators[case.ranks]
        if communicator is None or case in setting.plan.refused:
            continue
        word = communicator.agree(_SKIP)
        if word != _SKIP:
            watch.enter(case, number)
            clock, _ = setting.clocks.refresh(communicator)
            outcome = measure(case, communicator, clock, setting.policy, word / 1e6, setting.local_ranks)
            communicator.gather(_ENCODE(outcome))
            watch.enter(None)
    return 0


class _Lead:
    """Rank 0: decides for all, keeps the time, writes the journal and shows what was measured."""

    def __init__(self, setting: Setting, transport: Transport, watch: Unwatched) -> None:
        self.setting, self.transport, self.watch = setting, transport, watch
        self.plan, self.policy = setting.plan, setting.policy
        self.started = time.monotonic()
        self.stopping = False
        self.bad = 0
        self.run_line = self._run_line()
        self.todo = [case for case in self.plan.cases if case not in self.plan.refused]

    def run(self) -> int:
        """Walk the plan; returns the exit status."""
        for number in _STOP_SIGNALS:
            signal.signal(number, self._stop_at_next_case)
        shown = Display(self.setting.request.display, self.run_line, self.plan)
        with Journal(self.setting.request.journal) as journal, shown as display:
            there = self._there(display)
            journal.append(self.run_line)
            self.watch.attach(journal, self.run_line.id, self._faulted)
            try:
                self._walk(there, journal, display)
            except Exception as error:
                if not isinstance(error, CollbenchError):
                    self.watch.judge(describe_error(error))     # while the journal is open
                raise
            display.finish(stopped=self.stopping)
        return 1 if self.bad else 128 + signal.SIGTERM if self.stopping else 0

    def _walk(self, there: frozenset[Case], journal: Journal, display: Display) -> None:
        """Every case that is not there."""
        for case, reason in self.plan.refused.items():
            if case not in there:
                self._keep(Record(run=self.run_line.id, case=case, status="unsupported", reason=reason,
                                  asked_bytes=self.plan.cases[case]), journal, display)
        numbers = {case: number for number, case in enumerate(self.plan.cases, 1)}
        for case, word in self._words(there):
            communicator = self.setting.communicators[case.ranks]
            communicator.agree(word)
            if word == _SKIP:
                if case not in there:
                    display.skip()
                continue
            self.watch.enter(case, numbers[case])
            clock, error_ns = self.setting.clocks.refresh(communicator)
            outcome = measure(case, communicator, clock, self.policy, word / 1e6, self.setting.local_ranks)
            outcomes = [_DECODE(raw, type=Outcome) for raw in communicator.gather(_ENCODE(outcome))]
            self._keep(self._record(case, outcomes, error_ns), journal, display)
            self.watch.enter(None)

    def _there(self, display: Display) -> frozenset[Case]:
        """Cases that the journal has already, where going on with it was asked for."""
        request = self.setting.request
        if request.resume == "never" and not request.settled:
            return frozenset()
        found = completed_cases(request.journal, self.run_line, self.plan.cases.keys(), request.resume != "same",
                                request.settled, only_settled=request.resume == "never")
        display.resume(len(found.cases), found.warnings)
        return found.cases

    def _keep(self, record: Record, journal: Journal, display: Display) -> None:
        journal.append(record)
        display.show(record)
        self.bad += record.status in ("wrong", "failed", "timeout")

    def _stop_at_next_case(self, number: int, frame: object) -> None:
        """Told once, stop in order; told again, at once."""
        if self.stopping:
            self.watch.dismiss(128 + number)
            self.transport.abort(128 + number)
        self.stopping = True

    def _words(self, there: frozenset[Case]) -> Iterator[tuple[Case, int]]:
        """Each case with the time for one of its modes in us, from the time and the cases that are left."""
        allotted_s, done, left = 0.0, 0, sum(case not in there for case in self.todo)
        for case in self.todo:
            if case in there:
                yield case, _SKIP
                continue
            word = self._word(left - done, self._elapsed_s() - allotted_s, done)
            yield case, word
            done += 1
            allotted_s += len(self.policy.modes) * word / 1e6

    def _word(self, left: int, beside_s: float, done: int) -> int:
        """`beside_s` is what the cases done so far took beside the time that they were given; less than 0 if less."""
        if self.stopping:
            return _SKIP
        if self.setting.request.budget_s is None:
            return int(self.plan.mode_s * 1e6)
        remaining_s = self.setting.request.budget_s - self._elapsed_s()
        if remaining_s <= 0:
            return _SKIP
        modes = len(self.policy.modes)
        beside_each_s = beside_s / done if done else self.plan.expected_s / len(self.todo) - modes * self.plan.mode_s
        mode_s = (remaining_s / left - beside_each_s) / modes
        return max(1, int(1e6 * min(self.policy.case_s, max(mode_s, self.plan.mode_s / 4))))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def _run_line(self) -> Run:
        request, transport = self.setting.request, self.transport
        provenance = describe(self.setting.facts, transport.versions())
        provenance["buffers"] = transport.buffers
        if self.setting.loop_reason:
            provenance["no native loop"] = self.setting.loop_reason
        return Run(
            schema=SCHEMA, id=uuid.uuid4().hex[:12], started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            transport=transport.name, library=transport.library, device=transport.device, world=transport.size,
            clock=Clock(kind="shared" if self.setting.clocks.shared else "synchronised"), policy=self.policy,
            sweep=request.sweep, command=request.command, provenance=provenance)

    def _record(self, case: Case, outcomes: list[Outcome], error_ns: float) -> Record:
        asked, first = self.plan.cases[case], outcomes[0]
        checks = sum(outcome.checks for outcome in outcomes)
        fault = next((outcome.fault for outcome in outcomes if outcome.fault), None)
        reason = first.reason if fault is None else (
            f"wrong result {fault.when}: rank {fault.rank}, element {fault.index}: "
            f"expected {fault.expected}, found {fault.found}")
        timings = tuple(self._timing(case, modes, error_ns)
                        for modes in zip(*(outcome.modes for outcome in outcomes), strict=True))
        return Record(
            run=self.run_line.id, case=case, status=first.status, reason=reason, asked_bytes=asked,
            notes=tuple(self._notes(case, asked, timings)), timings=timings,
            digests=tuple(digest(case, timing, self.policy.precision) for timing in timings),
            at_s=round(self._elapsed_s(), 3),
            verification=Verification(checks=checks, wrong=sum(outcome.wrong for outcome in outcomes), fault=fault)
            if checks else None,
            reproduce=self._reproduce(case))

    def _faulted(self, case: Case, status: str, reason: str) -> Record:
        """A case that the watchdog ended."""
        return Record(run=self.run_line.id, case=case, status=status, reason=reason, notes=(FAULT_NOTE,),
                      asked_bytes=self.plan.cases[case], at_s=round(self._elapsed_s(), 3),
                      reproduce=self._reproduce(case))

    def _reproduce(self, case: Case) -> str:
        return " ".join(["collbench run --transport", self.transport.name, "--ranks", str(self.transport.size),
                         *case.options()])

    def _notes(self, case: Case, asked: int, timings: tuple[Timing, ...]) -> Iterator[str]:
        if case.bytes != asked:
            yield f"{format_size(asked)} asked for; {format_size(case.bytes)} is the next size that divides"
        if case.operation.measures != ONE_CALL:
            yield f"time is {case.operation.measures}"
        if case.op in ("bandwidth", "bi_bandwidth"):
            yield from self.transport.notes
        if self.policy.persistent and not case.operation.pairs and case.op not in ("send_recv", "noop"):
            yield "persistent collective: set up once, started and waited for in each call"
        for timing in timings:
            if timing.alignment == "agreed" and timing.span == "slowest rank" and case.op != "noop":
                yield (f"{timing.mode}: no makespan: the clocks agree within {timing.clock_error_s * 1e6:.1f} us only, "
                       "which is longer")

    def _timing(self, case: Case, modes: tuple[ModeSamples, ...], error_ns: float) -> Timing:
        """Rank 0's view of all ranks' samples of one mode."""
        first = modes[0]
        firsts = [min(begins) for begins in zip(*(mode.begin_ns for mode in modes), strict=True)]
        begin_ns = [[begin - first for begin, first in zip(mode.begin_ns, firsts, strict=True)] for mode in modes]
        timing = Timing(mode=first.mode, calls=first.calls, warmup=first.warmup, late=first.late,
                        alignment=self.policy.alignment, loop=first.loop, stopwatch=first.stopwatch,
                        graph=first.graph, clock_error_s=error_ns / 1e9,
                        begin_ns=begin_ns, elapsed_ns=[mode.elapsed_ns for mode in modes], precision=first.precision,
                        stopped_by=first.stopped_by)
        return msgspec.structs.replace(timing, span=_span(case, timing, error_ns))


def _span(case: Case, timing: Timing, error_ns: float) -> str:
    """Whether the makespan can be told: only where ranks agreed on a start, by clocks that are good enough.

    A barrier lets ranks go one by one, and the makespan would hold that too; an empty call waits for nobody.
    """
    if timing.alignment != "agreed" or case.op == "noop":
        return "slowest rank"
    timed = case.operation.timed_ranks(case.ranks)
    makespan_ns = median(makespans_ns(timing.begin_ns[:timed], timing.elapsed_ns[:timed], timing.counted()))
    return "makespan" if makespan_ns > error_ns else "slowest rank"
