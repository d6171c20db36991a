"""Records of a sweep, built on rank 0 from the outcomes of all ranks."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Literal, cast

import msgspec

from ..cases.case import Case, format_size
from ..cases.catalog import ONE_CALL
from ..cases.sequence_traffic import list_name
from ..interfaces import Transport
from ..library_log import read as read_library_log
from ..loop.measure import ModeSamples, Outcome
from ..loop.verify import left_early
from ..ranks.handshake import claims_of, doubt
from ..ranks.host_facts import differences, health_rows, host_notes, warnings
from ..ranks.provenance import describe, host_cores
from ..records.digest import digest
from ..records.record import (
    CALL_LISTS,
    FAULT_NOTE,
    SCHEMA,
    Clock,
    Mismatch,
    Record,
    Run,
    Status,
    Timing,
    Verification,
    makespans_ns,
)
from ..statistics.stopping import median
from ..topology.health import HostHealth
from .session import Session

__all__ = ["RecordBuilder"]

# A barrier leaves no data to compare.
_BARRIER_METHOD = ("each rank late in turn, before and after the timed calls; in these, that no rank left before the "
                   "last one entered, as far as their clock readings are apart")


class RecordBuilder:
    """Builds the run line and the record of each case. `elapsed_s` is the time since the start of the run."""

    def __init__(self, session: Session, transport: Transport, elapsed_s: Callable[[], float]) -> None:
        self.session, self.transport, self._elapsed_s = session, transport, elapsed_s
        self.plan, self.policy = session.plan, session.policy
        self.run = self._run()

    def _run(self) -> Run:
        session, transport = self.session, self.transport
        request = session.request
        own_host = session.host_facts[0]
        provenance = describe(session.facts, transport.versions(), own_host.topology, own_host.drivers)
        if note := doubt(claims_of(session.facts)):
            provenance["devices in doubt"] = note
        if unlike := differences(session.host_facts):
            provenance["hosts differ"] = unlike
        if (notes := host_notes(session.host_facts)) and any(fact.own.device for fact in session.facts):
            provenance["host notes"] = notes
        if health := health_rows(session.host_facts, {}):
            provenance["health"] = {"start": health}
        provenance["buffers"] = transport.buffers
        if in_force := transport.settings_in_force():
            provenance["settings in force"] = in_force
        provenance["communicator set-up s"] = {str(ranks): round(time_s, 6)
                                               for ranks, time_s in session.set_up_s.items()}
        if self.plan.left_out:
            provenance["left out"] = dict(self.plan.left_out)
        if request.lists:
            provenance[CALL_LISTS] = {list_name(one): msgspec.to_builtins(one) for one in request.lists}
        if session.loop_reason:
            provenance["no native loop"] = session.loop_reason
        facts = read_library_log(request.library_log_from) \
            if request.library_log_from and transport.name == "torch" else None
        if facts is not None and facts.ranks == transport.size:
            provenance["library_log"] = {"words": facts.words(), **msgspec.to_builtins(facts)}
        return Run(
            schema=SCHEMA, id=uuid.uuid4().hex[:12], started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            transport=transport.name, library=transport.library, device=transport.device, world=transport.size,
            clock=Clock(kind="shared" if session.clocks.shared else "synchronised"), policy=self.policy,
            sweep=request.sweep, command=request.command, provenance=provenance)

    @property
    def warnings(self) -> list[str]:
        """What a user should know before the first case: hosts that are not alike, GPUs that do not answer."""
        known = self.run.provenance
        return [str(words) for key in ("hosts differ", "host notes") for words in cast(list[str], known.get(key, []))]

    def concluded(self, after: Mapping[int, HostHealth], skipped: int, stopped: bool) -> tuple[Run, list[str]] | None:
        """The run line again, with how many cases were skipped at its end, and the state of the GPUs now; and what went
        wrong. None if there is nothing to add.
        """
        session, known = self.session, dict(self.run.provenance)
        now, health = health_rows(session.host_facts, after), known.get("health")
        found: list[str] = []
        if skipped:
            known |= {"stopped before": skipped} if stopped else \
                {"left out": {**self.plan.left_out, "when the time was up": skipped}}
        if now and isinstance(health, dict):
            found = warnings(session.facts, session.hosts, session.host_facts, after)
            known["health"] = {**health, "end": now, "warnings": found}
        return (msgspec.structs.replace(self.run, provenance=known), found) if known != self.run.provenance else None

    def refused(self, case: Case, reason: str) -> Record:
        """A case that the library is known not to support."""
        return Record(run=self.run.id, case=case, status="unsupported", reason=reason,
                      asked_bytes=self.plan.cases[case])

    def ended(self, case: Case, status: Status, reason: str) -> Record:
        """A case that the watchdog ended."""
        return Record(run=self.run.id, case=case, status=status, reason=reason, notes=(FAULT_NOTE,),
                      asked_bytes=self.plan.cases[case], at_s=round(self._elapsed_s(), 3),
                      reproduce=self._reproduce(case))

    def measured(self, case: Case, outcomes: Sequence[Outcome], error_ns: float) -> Record:
        """A case from the outcomes of its ranks; their clocks agree within `error_ns`."""
        asked, first = self.plan.cases[case], outcomes[0]
        status, checks = first.status, sum(outcome.checks for outcome in outcomes)
        wrong = sum(outcome.wrong for outcome in outcomes)
        fault = next((outcome.fault for outcome in outcomes if outcome.fault), None)
        gathered = list(zip(*(outcome.modes for outcome in outcomes), strict=True))
        if case.op == "barrier" and status == "ok":
            stamped = [modes for modes in gathered if modes[0].stopwatch == "host"]
            checks += sum(len(one.begin_ns) for modes in stamped for one in modes)
            fault = next(filter(None, (_left_early(modes, error_ns) for modes in stamped)), None)
            if fault is not None:
                status, wrong, gathered = "wrong", wrong + 1, []
        reason = first.reason if fault is None else (
            f"wrong result {fault.when}: rank {fault.rank}, element {fault.index}: "
            f"expected {fault.expected}, found {fault.found}")
        timings = tuple(self._timing(case, modes, error_ns) for modes in gathered)
        calls, compared, probed = (sum(column) for column in zip(
            *((outcome.calls, outcome.compared, outcome.probed) for outcome in outcomes), strict=True))
        verification = Verification(checks=checks, wrong=wrong, fault=fault,
                                    method=_BARRIER_METHOD if case.op == "barrier" else "exact",
                                    calls=calls or None, compared=compared if calls else None,
                                    probed=probed if calls else None)
        return Record(
            run=self.run.id, case=case, status=status, reason=reason, asked_bytes=asked,
            notes=tuple(self._notes(case, asked, timings)), timings=timings,
            digests=tuple(digest(case, timing, self.policy.precision) for timing in timings),
            at_s=round(self._elapsed_s(), 3), verification=verification if checks else None,
            reproduce=self._reproduce(case))

    def _reproduce(self, case: Case) -> str:
        return " ".join(["collbench run --transport", self.transport.name, "--ranks", str(self.transport.size),
                         *case.options()])

    def _notes(self, case: Case, asked: int, timings: tuple[Timing, ...]) -> Iterator[str]:
        if case.bytes != asked:
            yield f"{format_size(asked)} requested; {format_size(case.bytes)} is the next size that divides evenly"
        if case.operation.measures != ONE_CALL:
            yield f"time is {case.operation.measures}"
        if case.operation.windowed and not case.operation.linked:
            yield from self.transport.notes
        if case.op == "overlap" and self.transport.device == "cpu":
            yield self._compute_note(case)
        if self.policy.persistent and not case.operation.pairs and case.op not in ("send_recv", "noop"):
            yield "persistent collective: initialised once, started and waited for in each call"
        for timing in timings:
            if timing.host_bound:
                yield (f"{timing.mode}: in {len(timing.host_bound)} samples the device waited for the host to queue "
                       "calls")
            if timing.alignment != self.policy.alignment and not case.operation.lifecycle:
                yield (f"{timing.mode}: no sample began at its agreed start, so they began after a barrier: the time "
                       "is that of the slowest rank")
            if timing.alignment == "agreed" and timing.span == "slowest rank" and case.op != "noop":
                yield (f"{timing.mode}: no makespan: the clocks agree only within "
                       f"{(timing.clock_error_s or 0.0) * 1e6:.1f} us, which is longer")

    def _compute_note(self, case: Case) -> str:
        """Where compute runs on CPUs, and whether it has a core."""
        facts, threads = self.session.facts[:case.ranks], self.transport.threads
        cores = {fact.boot: len(found) for fact, found in zip(facts, host_cores(facts), strict=True)}
        busy = {boot: threads * sum(fact.boot == boot for fact in facts) for boot in cores}
        boot = max(cores, key=lambda one: busy[one] / max(1, cores[one]))
        shares = "share them" if busy[boot] > cores[boot] else "each have one"
        return (f"compute is one thread of each rank; on the fullest host, {busy[boot]} busy threads (compute and "
                f"communication of {busy[boot] // threads} ranks) on {cores[boot]} cores {shares}")

    def _timing(self, case: Case, modes: Sequence[ModeSamples], error_ns: float) -> Timing:
        """The samples of all ranks in one mode."""
        first = modes[0]
        earliest_ns = [min(begins) for begins in zip(*(mode.begin_ns for mode in modes), strict=True)]
        begin_ns = [[begin - earliest for begin, earliest in zip(mode.begin_ns, earliest_ns, strict=True)]
                    for mode in modes]
        timing = Timing(mode=first.mode, calls=first.calls, warmup=first.warmup, late=first.late,
                        alignment=first.alignment or self.policy.alignment, loop=first.loop, stopwatch=first.stopwatch,
                        graph=first.graph, cache=first.cache, clock_error_s=error_ns / 1e9,
                        begin_ns=begin_ns, elapsed_ns=[mode.elapsed_ns for mode in modes],
                        host_bound=sorted(set().union(*(mode.host_bound for mode in modes))),
                        as_called_ns=_if_all([mode.as_called_ns for mode in modes]),
                        states=case.operation.states(case),
                        marks_ns={mark: [mode.marks_ns[mark] for mode in modes] for mark in first.marks_ns},
                        precision=first.precision, stopped_by=first.stopped_by)
        return msgspec.structs.replace(timing, span=_span(case, timing, begin_ns, error_ns))


def _left_early(modes: Sequence[ModeSamples], error_ns: float) -> Mismatch | None:
    return left_early([mode.begin_ns for mode in modes], [mode.elapsed_ns for mode in modes], error_ns, modes[0].mode)


def _if_all(rows: list[list[int] | None]) -> list[list[int]] | None:
    given = [row for row in rows if row is not None]
    return given if len(given) == len(rows) else None


def _span(case: Case, timing: Timing, begin_ns: list[list[int]],
          error_ns: float) -> Literal["makespan", "slowest rank"]:
    """A makespan is reported only if ranks agreed on a start and it exceeds the error of the clocks.

    Ranks leave a barrier one by one, so the makespan would include that; an empty call waits for nobody.
    """
    if timing.alignment != "agreed" or case.op == "noop":
        return "slowest rank"
    timed = case.operation.timed(case)
    makespan_ns = median(makespans_ns([begin_ns[rank] for rank in timed], [timing.elapsed_ns[rank] for rank in timed],
                                      timing.counted()))
    return "makespan" if makespan_ns > error_ns else "slowest rank"
