"""The rank program: walk through the cases of a sweep, measure each, and journal it before the next."""

import signal
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone

import msgspec

from . import catalog
from .cases import Case, Sweep, format_size, rank_counts
from .display import Display
from .errors import UsageError
from .measure import Outcome, measure
from .plan import Plan, Probe, make_plan
from .provenance import RankFacts, clock_of, describe, rank_facts
from .records import SCHEMA, Clock, Journal, Policy, Record, Run, Timing, Verification
from .rendezvous import Place
from .request import Request
from .stopping import median
from .transports.base import Communicator, Transport
from .verify import Inspector

__all__ = ["run_sweep"]

_SKIP = 0       # rank 0's word at the start of a case; any other is the time for each of its modes in us
_ENCODE, _DECODE = msgspec.json.encode, msgspec.json.decode


def run_sweep(request: Request, transport: Transport, place: Place) -> int:
    """Measure every case of the request. Collective over the job; returns the exit status of this rank.

    Status 1 when a case was wrong or failed, else 0. Each record is on disk before the next case begins.
    """
    ranks = request.sweep.ranks or rank_counts(transport.size)
    if max(ranks) > transport.size:
        raise UsageError(f"groups of {max(ranks)} ranks were asked for, but the job has {transport.size}")
    communicators = {n: transport.communicator(n) for n in sorted({*ranks, transport.size})}
    world = communicators[transport.size]
    seed = request.sweep.seed if request.sweep.seed is None else world.agree(request.sweep.seed)
    sweep = msgspec.structs.replace(request.sweep, ranks=tuple(ranks), seed=seed)
    facts = _all_facts(world, place)
    probe = _probe(world, max(sweep.sizes))
    plan = make_plan(sweep, request.policy, probe, transport.why_not, request.budget_s)
    if transport.rank != 0:
        return _follow(plan, communicators, request.policy, _local_ranks(facts))
    return _Lead(request, sweep, transport, facts, plan, communicators).run()


def _all_facts(world: Communicator, place: Place) -> list[RankFacts]:
    """Facts of every rank; on ranks other than 0 only as many as the host count needs."""
    own = rank_facts(place.local_rank)
    gathered = world.gather(_ENCODE(own))
    return [_DECODE(raw, type=RankFacts) for raw in gathered] if gathered else [own] * (place.local_size or world.size)


def _local_ranks(facts: list[RankFacts]) -> int:
    return sum(fact.boot == facts[0].boot for fact in facts)


def _probe(world: Communicator, largest: int) -> Probe:
    """Time a few all_reduces of the whole world, untold and unrecorded, to forecast how long the sweep will take."""
    sizes = [catalog.round_up("all_reduce", size, world.size, "float32") for size in (8, largest)]
    times = []
    for size in sizes:
        case = Case(op="all_reduce", ranks=world.size, bytes=size, dtype="float32", redop="sum", in_place=True)
        prepared = world.prepare(case, 1)
        inspector = Inspector(case, world.rank, prepared)
        laps = []
        for lap in range(4):
            inspector.reset(lap)
            world.barrier()
            begin = world.now_ns()
            prepared.calls[0]()
            world.drain()
            laps.append((world.now_ns() - begin) / 1e9)
        times.append(median(world.all_max(laps)))
    begin = world.now_ns()
    for _ in range(8):
        world.barrier()
    control_s, = world.all_max([(world.now_ns() - begin) / 8e9])
    return Probe(sizes[0], times[0], sizes[1], times[1], control_s, world.size)


def _follow(plan: Plan, communicators: dict[int, Communicator | None], policy: Policy, local_ranks: int) -> int:
    """Every rank but 0: take part in the cases of one's groups, or leave them out when rank 0 says so.

    Told to stop, a rank waits for rank 0, which was told too, to end the sweep for all of them together.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for case in plan.cases:
        communicator = communicators[case.ranks]
        if communicator is None or case in plan.refused:
            continue
        word = communicator.agree(_SKIP)
        if word != _SKIP:
            outcome = measure(case, communicator, policy, word / 1e6, local_ranks)
            communicator.gather(_ENCODE(outcome))
    return 0


class _Lead:
    """Rank 0: decides for all, keeps the time, writes the journal and shows what was measured."""

    def __init__(self, request: Request, sweep: Sweep, transport: Transport, facts: list[RankFacts], plan: Plan,
                 communicators: dict[int, Communicator | None]) -> None:
        self.request, self.transport, self.plan, self.communicators = request, transport, plan, communicators
        self.local_ranks = _local_ranks(facts)
        self.clock: Clock = clock_of(facts)
        self.started = time.monotonic()
        self.todo = [case for case in plan.cases if case not in plan.refused]
        self.stopping = False
        self.bad = 0
        self.run_line = Run(
            schema=SCHEMA, id=uuid.uuid4().hex[:12], started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            transport=transport.name, library=transport.library, device=transport.device, world=transport.size,
            clock=self.clock, policy=request.policy, sweep=sweep, command=request.command,
            provenance=describe(facts, transport.versions()))

    def run(self) -> int:
        """Walk the plan; returns the exit status."""
        signal.signal(signal.SIGTERM, self._stop_at_next_case)
        shown = Display(self.request.display, self.run_line, self.plan)
        with Journal(self.request.journal) as journal, shown as display:
            journal.append(self.run_line)
            for case, reason in self.plan.refused.items():
                self._keep(Record(run=self.run_line.id, case=case, status="unsupported", reason=reason,
                                  asked_bytes=self.plan.cases[case]), journal, display)
            for case, word in self._words():
                communicator = self.communicators[case.ranks]
                communicator.agree(word)
                if word == _SKIP:
                    display.skip()
                    continue
                outcome = measure(case, communicator, self.request.policy, word / 1e6, self.local_ranks)
                gathered = communicator.gather(_ENCODE(outcome))
                self._keep(self._record(case, [_DECODE(raw, type=Outcome) for raw in gathered]), journal, display)
            display.finish(stopped=self.stopping)
        return 1 if self.bad else 128 + signal.SIGTERM if self.stopping else 0

    def _keep(self, record: Record, journal: Journal, display: Display) -> None:
        journal.append(record)
        display.show(record)
        self.bad += record.status in ("wrong", "failed", "timeout")

    def _stop_at_next_case(self, number: int, frame: object) -> None:
        self.stopping = True

    def _words(self) -> Iterator[tuple[Case, int]]:
        """Each case with the time for one of its modes in us, from the time and the cases that are left."""
        allotted_s = 0.0
        for done, case in enumerate(self.todo):
            word = self._word(len(self.todo) - done, self._elapsed_s() - allotted_s, done)
            yield case, word
            allotted_s += len(self.request.policy.modes) * word / 1e6

    def _word(self, left: int, beside_s: float, done: int) -> int:
        """`beside_s` is what the cases done so far took beside the time that they were given; less than 0 if less."""
        if self.stopping:
            return _SKIP
        if self.request.budget_s is None:
            return int(self.plan.mode_s * 1e6)
        remaining_s = self.request.budget_s - self._elapsed_s()
        if remaining_s <= 0:
            return _SKIP
        modes = len(self.request.policy.modes)
        beside_each_s = beside_s / done if done else self.plan.expected_s / len(self.todo) - modes * self.plan.mode_s
        mode_s = (remaining_s / left - beside_each_s) / modes
        return max(1, int(1e6 * min(self.request.policy.case_s, max(mode_s, self.plan.mode_s / 4))))

    def _elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def _record(self, case: Case, outcomes: list[Outcome]) -> Record:
        asked = self.plan.cases[case]
        notes = list(self.transport.notes) if case.op in ("bandwidth", "bi_bandwidth") else []
        if case.bytes != asked:
            notes.append(f"{format_size(asked)} asked for; {format_size(case.bytes)} is the next size that divides")
        first = outcomes[0]
        faults = [outcome.fault for outcome in outcomes if outcome.fault]
        checks = sum(outcome.checks for outcome in outcomes)
        reason = first.reason
        if faults:
            fault = faults[0]
            reason = (f"wrong result {fault.when}: rank {fault.rank}, element {fault.index}: "
                      f"expected {fault.expected}, found {fault.found}")
        return Record(
            run=self.run_line.id, case=case, status=first.status, reason=reason, notes=tuple(notes), asked_bytes=asked,
            verification=Verification(checks=checks, wrong=sum(outcome.wrong for outcome in outcomes),
                                      fault=faults[0] if faults else None) if checks else None,
            timings=tuple(self._timing(modes) for modes in zip(*(outcome.modes for outcome in outcomes), strict=True)),
            at_s=round(self._elapsed_s(), 3),
            reproduce=" ".join(["collbench run --transport", self.transport.name, "--ranks", str(self.transport.size),
                                *case.options()]))

    def _timing(self, modes: tuple) -> Timing:
        """Rank 0's view of all ranks' samples of one mode."""
        begin_ns = None
        if self.clock.kind == "shared":
            firsts = [min(begins) for begins in zip(*(mode.begin_ns for mode in modes), strict=True)]
            begin_ns = [[begin - first for begin, first in zip(mode.begin_ns, firsts, strict=True)] for mode in modes]
        first = modes[0]
        return Timing(mode=first.mode, calls=first.calls, warmup=first.warmup, begin_ns=begin_ns,
                      elapsed_ns=[mode.elapsed_ns for mode in modes], precision=first.precision,
                      stopped_by=first.stopped_by)
