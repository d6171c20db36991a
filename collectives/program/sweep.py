"""The rank program: measure each case of a sweep, and journal it before the next."""

from collections.abc import Sequence

import msgspec

from ..cases.case import Case
from ..errors import CollbenchError
from ..interfaces import Communicator, Transport
from ..loop.measure import Outcome, measure
from ..options import RunConfig
from ..ranks.host_facts import ask_hosts
from ..ranks.rendezvous import Place
from ..records.echo import echoed
from ..records.journal import Journal, Line
from ..records.record import Record
from ..records.resume import completed_cases
from ..topology.health import HostHealth, read_health
from ..watchdog.ending import describe_error
from ..watchdog.watchdog import NullWatchdog
from .lifecycle import lifecycle_cases, measure_lifecycle
from .live_table import Display
from .record_builder import RecordBuilder
from .session import Session, open_session
from .stop_signals import StopRequest, ignore_stop_signals
from .time_budget import SKIP, TimeKeeper, share_decision

__all__ = ["run_sweep"]

_NOT_WATCHED = NullWatchdog()


def run_sweep(request: RunConfig, transport: Transport, place: Place, watch: NullWatchdog = _NOT_WATCHED) -> int:
    """Measure every case of the request. Collective over the job; returns the exit status of this rank.

    On rank 0 it is 1 if a case was wrong or failed, or records were lost, 143 if the run was stopped by a signal, else
    0; on the others 0.
    Each record is on disk before the next case begins.
    """
    watch.enter_phase("start-up")
    session = open_session(request, transport, place, watch.enter_phase)
    if request.case_limit_s is None:
        watch.expect(session.plan.longest_s)
    watch.join(session.world, session.loopback, place.address and place.address[0])
    return _Coordinator(session, transport, watch).run() if transport.rank == 0 else _run_follower(
        session, transport, watch)


def _run_follower(session: Session, transport: Transport, watch: NullWatchdog) -> int:
    """Every rank but 0: take part in the cases of this rank's groups unless rank 0 skips them.

    Making and ending communicators comes last: it takes the longest, and is not what most users wait for.
    """
    ignore_stop_signals()
    numbers = {case: number for number, case in enumerate(session.plan.cases, 1)}
    for case, number in numbers.items():
        communicator = session.communicators[case.members]
        if communicator is None or case in session.plan.refused or case.operation.lifecycle:
            continue
        watch.enter_phase("waiting for its next case")
        mode_s = share_decision(communicator).mode_s
        if mode_s is not None:
            watch.enter_case(case, number)
            _measure(case, communicator, session, mode_s, watch)
            watch.enter_case(None)
    for ranks, cases in lifecycle_cases(session.plan.todo).items():
        watch.enter_phase("waiting for its next case")
        mode_s = share_decision(session.world).mode_s
        if mode_s is not None:
            watch.enter_case(cases[0], numbers[cases[0]])
            measure_lifecycle(ranks, session, transport, len(cases) * mode_s, watch.enter_phase)
            watch.enter_case(None)
    _ask_health(session, watch)
    return 0


def _ask_health(session: Session, watch: NullWatchdog) -> dict[int, HostHealth]:
    """The state of the GPUs of every host, by its first rank, on rank 0. Collective."""
    watch.enter_phase("device health")
    return ask_hosts(session.world, session.hosts, read_health, HostHealth)


def _measure(case: Case, communicator: Communicator, session: Session, mode_s: float,
             watch: NullWatchdog) -> tuple[Sequence[Outcome], float]:
    """One case on all its ranks: on rank 0 all outcomes (empty elsewhere), and the clocks' error in ns. Collective."""
    watch.enter_phase("clocks")
    clock, error_ns = session.clocks.refresh(communicator)
    outcome = measure(case, communicator, clock, session.policy, mode_s, session.local_ranks, watch.enter_phase)
    watch.enter_phase("gather")
    gathered = communicator.gather(msgspec.json.encode(outcome)) or ()
    return [msgspec.json.decode(raw, type=Outcome) for raw in gathered], error_ns


def _print_echo(line: Line) -> None:
    print("\n".join(echoed(line)), flush=True)


class _Coordinator:
    """Rank 0: decides for all ranks, writes the journal and shows the results."""

    def __init__(self, session: Session, transport: Transport, watch: NullWatchdog) -> None:
        self.session, self.transport, self.watch = session, transport, watch
        self.plan = session.plan
        self.todo = self.plan.todo
        self.stop = StopRequest(self._abort)
        self.failures = self.skipped = 0

    def run(self) -> int:
        """Measure all cases of the plan; returns the exit status."""
        self.stop.listen()
        request, policy = self.session.request, self.session.policy
        keeper = TimeKeeper(self.plan, len(policy.modes), policy.case_s, request.budget_s, len(self.todo))
        build = RecordBuilder(self.session, self.transport, keeper.elapsed_s)
        shown = Display(request.display, build.run, self.plan)
        echo = _print_echo if request.echo_journal else None
        with Journal(request.journal, echo=echo) as journal, shown as display:
            completed = self._completed(build, display)
            journal.append(build.run)
            display.warn(build.warnings)
            self.watch.attach(journal, build.run.id, build.ended)
            try:
                self._measure_all(completed, keeper, build, journal, display)
            except Exception as error:
                if not isinstance(error, CollbenchError):
                    self.watch.report_failure(describe_error(error))     # while the journal is open
                raise
            self._conclude(build, journal, display)
            display.finish(stopped=self.stop.received)
        return 1 if self.failures or journal.damaged else self.stop.exit_status

    def _measure_all(self, completed: frozenset[Case], keeper: TimeKeeper, build: RecordBuilder, journal: Journal,
                     display: Display) -> None:
        """Measure every case not yet in the journal."""
        for case, reason in self.plan.refused.items():
            if case not in completed:
                self._keep(build.refused(case, reason), journal, display)
        keeper.begin(sum(case not in completed for case in self.todo))
        numbers = {case: number for number, case in enumerate(self.plan.cases, 1)}
        for case in self.todo:
            if case.operation.lifecycle:
                continue
            self.watch.enter_phase("between cases")
            communicator = self.session.communicator(case.members)
            decision = SKIP if case in completed else keeper.decide(self.stop.received)
            mode_s = share_decision(communicator, decision).mode_s
            if mode_s is None:
                if case not in completed:
                    self._skip([case], display)
                continue
            self.watch.enter_case(case, numbers[case])
            outcomes, error_ns = _measure(case, communicator, self.session, mode_s, self.watch)
            self._keep(build.measured(case, outcomes, error_ns), journal, display)
            self.watch.enter_case(None)
        for ranks, cases in lifecycle_cases(self.todo).items():
            self._measure_lifecycle(ranks, cases, completed, keeper, build, journal, display, numbers[cases[0]])
        self.watch.enter_phase("between cases")

    def _conclude(self, build: RecordBuilder, journal: Journal, display: Display) -> None:
        """Ask every host for the state of its GPUs, and write the run line again with it and with what was skipped."""
        concluded = build.concluded(_ask_health(self.session, self.watch), self.skipped, self.stop.received)
        if concluded is not None:
            run, warnings = concluded
            journal.append(run)
            display.warn(warnings)

    def _measure_lifecycle(self, ranks: int, cases: list[Case], completed: frozenset[Case], keeper: TimeKeeper,
                           build: RecordBuilder, journal: Journal, display: Display, number: int) -> None:
        """Measure the life of a communicator over `ranks` ranks, with every rank of the job."""
        self.watch.enter_phase("between cases")
        missing = [case for case in cases if case not in completed]
        decision = SKIP
        for _ in missing:       # measured together, but the time of each counts
            decision = keeper.decide(self.stop.received)
        mode_s = share_decision(self.session.world, decision).mode_s
        if mode_s is None:
            self._skip(missing, display)
            return
        self.watch.enter_case(cases[0], number)
        outcomes, error_ns = measure_lifecycle(ranks, self.session, self.transport, len(cases) * mode_s,
                                               self.watch.enter_phase)
        for case in missing:
            self._keep(build.measured(case, outcomes[case.op], error_ns), journal, display)
        self.watch.enter_case(None)

    def _completed(self, build: RecordBuilder, display: Display) -> frozenset[Case]:
        """Cases that the journal already has, if the run resumes one."""
        request = self.session.request
        if request.resume == "never" and not request.settled:
            return frozenset()
        found = completed_cases(request.journal, build.run, self.plan.cases.keys(), request.resume != "same",
                                request.settled, only_settled=request.resume == "never")
        display.resume(found.cases, found.warnings)
        return found.cases

    def _keep(self, record: Record, journal: Journal, display: Display) -> None:
        self.watch.enter_phase("writing the journal")
        journal.append(record)
        display.show(record)
        self.failures += record.status in ("wrong", "failed", "timeout")

    def _skip(self, cases: Sequence[Case], display: Display) -> None:
        self.skipped += len(cases)
        for case in cases:
            display.skip(case)

    def _abort(self, status: int) -> None:
        self.watch.end_job(status)
        self.transport.abort(status)
