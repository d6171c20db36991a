"""Clocks whose truth is known: skewed, drifting, queried with unequal and random delays."""

import itertools
import random
import threading
import time
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases.case import Sweep
from collbench.collectives.loop.alignment import ALIGNMENTS, choose
from collbench.collectives.loop.clock import SAME, ClockReading, Clocks, estimate
from collbench.collectives.loop.measure import ModeSamples, Outcome
from collbench.collectives.options import RunConfig
from collbench.collectives.program.record_builder import RecordBuilder
from collbench.collectives.program.session import open_session
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks


class Skewed:
    """A clock with an `offset` in ns and a relative `drift`, next to a true one, both on simulated time."""

    def __init__(self, chance, drift, offset):
        self.chance, self.drift, self.offset, self.true_ns = chance, drift, offset, 10**15

    def local(self):
        return round(self.true_ns * (1 + self.drift)) + self.offset

    def ask(self, there_ns, back_ns):
        sent = self.local()
        self.true_ns += round(there_ns + self.chance.expovariate(1 / there_ns))
        reference = self.true_ns
        self.true_ns += round(back_ns + self.chance.expovariate(1 / back_ns))
        return ClockReading(sent, reference, self.local())


@pytest.mark.parametrize("stretch_s", [0.0, 1.0, 60.0])
def test_the_true_offset_is_within_the_bound(stretch_s):
    """In at least 95 % of trials, with delays that differ tenfold and clocks that drift by up to 100 ppm."""
    chance = random.Random(7)
    inside, trials = 0, 400
    for _ in range(trials):
        clock = Skewed(chance, chance.uniform(-1e-4, 1e-4), chance.randrange(-10**12, 10**12))
        there, back = (10 ** chance.uniform(3.5, 4.5) for _ in range(2))
        readings = []
        for _ in range(4):
            readings += [clock.ask(there, back) for _ in range(24)]
            clock.true_ns += round(stretch_s * 1e9 / 4)
        line = estimate(readings)
        clock.true_ns += chance.randrange(10**9)
        now = clock.local()
        inside += abs(line.to_reference(now) - clock.true_ns) <= line.error(now) + 1
    assert inside >= 0.95 * trials


def test_the_drift_is_more_precise_over_a_longer_time():
    clock = Skewed(random.Random(3), 5e-5, 123456789)
    errors = []
    readings = []
    for _ in range(4):
        readings += [clock.ask(5_000, 20_000) for _ in range(24)]
        errors.append(estimate(readings).drift_error)
        clock.true_ns += 10 * 10**9
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-4
    assert errors[-1] < 2e-6
    assert estimate(readings).drift == pytest.approx(-5e-5, abs=errors[-1])


@settings(max_examples=200)
@given(local=st.integers(0, 10**17), offset=st.integers(-10**13, 10**13), drift=st.floats(-1e-4, 1e-4))
def test_converting_to_rank_0s_clock_and_back_is_exact(local, offset, drift):
    line = SAME._replace(epoch=float(local // 2), offset=float(offset), drift=drift)
    assert abs(line.to_local(line.to_reference(local)) - local) <= 32


def in_threads(size, hosts, skew_ns, program):
    """Ranks of the loopback transport, each with the clock of its host."""
    def one(transport, place):
        true_ns, offset = transport.now_ns, skew_ns[hosts[transport.rank]]
        transport.now_ns = lambda: true_ns() + offset
        return program(transport, true_ns, offset)
    return run_ranks(size, one)


def test_one_leader_per_host_queries_rank_0_and_all_ranks_use_its_model():
    hosts, skew = [0, 0, 2, 2, 4, 4], {0: 0, 2: 5 * 10**9, 4: -3 * 10**12}
    talked = deque()

    def program(transport, true_ns, offset):
        communicator = transport.communicator(6)
        asked = communicator.ask
        communicator.ask = lambda peer: (talked.append(transport.rank), asked(peer))[1]
        line, error_ns = Clocks(hosts).refresh(communicator)
        off_ns = line.to_reference(communicator.now_ns()) - true_ns()
        return communicator.gather((off_ns, error_ns))
    outcomes = in_threads(6, hosts, skew, program)
    assert set(talked) == {2, 4}
    for off_ns, error_ns in outcomes:
        assert abs(off_ns) <= error_ns + 50_000_000      # a thread may be preempted between the two readings
        assert error_ns > 0


def test_the_error_of_the_worst_clock_is_reported_on_every_rank():
    """Each host's clock advances by a fixed step per reading, so a query takes one step; the error is half of it."""
    steps_ns = [10, 1_000, 1_000_000]

    def program(transport, place):
        transport.now_ns = itertools.count(0, steps_ns[transport.rank]).__next__
        communicator = transport.communicator(3)
        _, error_ns = Clocks([0, 1, 2]).refresh(communicator)
        return communicator.gather(error_ns)
    assert run_ranks(3, program) == [500_000] * 3


@pytest.mark.parametrize(("error_ns", "span"), [(0, "makespan"), (11_999, "makespan"), (12_000, "slowest rank"),
                                                (50_000, "slowest rank")])
def test_a_makespan_is_reported_only_if_it_exceeds_the_error_of_the_clocks(tmp_path, error_ns, span):
    """Rank 1 begins 2 us after rank 0 and both take 10 us: 12 us from the first begin to the last end."""
    recipe = Sweep(ops=("all_reduce",), sizes=(64,), ranks=(2,), places=(True,))
    request = RunConfig(transport="loopback", sweep=recipe, policy=Policy(alignment="agreed"),
                        journal=tmp_path / "journal.jsonl", display="quiet")

    def outcome(begin_ns):
        samples = ModeSamples("isolated", "python", "host", False, 1, 0, [], [begin_ns] * 7, [10_000] * 7, 0.01, "time")
        return Outcome(checks=7, modes=[samples])

    def program(transport, place):
        session = open_session(request, transport, place)
        case = next(iter(session.plan.cases))
        if transport.rank > 0:
            return None
        return RecordBuilder(session, transport, lambda: 0.0).measured(case, [outcome(0), outcome(2_000)], error_ns)
    record = run_ranks(2, program)
    (timing,) = record.timings
    assert timing.span == span
    assert timing.clock_error_s == pytest.approx(error_ns / 1e9)
    assert timing.message_s(record.case)[0] == pytest.approx(12e-6 if span == "makespan" else 10e-6)
    assert any("no makespan" in note for note in record.notes) == (span == "slowest rank")


@pytest.mark.slow
def test_a_makespan_across_hosts_is_reported_only_if_the_clocks_allow_it(tmp_path, monkeypatch):
    """Clocks three hours apart: begins are on rank 0's clock, or the slowest rank is reported with a note."""
    from collbench.collectives.program import session
    local = threading.local()
    facts = session.rank_facts

    def two_hosts(*words):
        return msgspec.structs.replace(facts(*words), boot=f"host {local.rank // 2}")
    monkeypatch.setattr(session, "rank_facts", two_hosts)
    recipe = Sweep(ops=("noop", "all_reduce"), sizes=(64,), ranks=(4,))
    request = RunConfig(transport="loopback", sweep=recipe,
                      policy=Policy(alignment="agreed", case_s=0.2, min_samples=3), journal=tmp_path / "journal.jsonl",
                      display="quiet")

    def program(transport, place):
        local.rank = transport.rank
        true_ns = transport.now_ns
        transport.now_ns = lambda: true_ns() + (transport.rank // 2) * 10**13
        return run_sweep(request, transport, place)
    run_ranks(4, program)
    runs, records, _ = read_journal(request.journal)
    assert next(iter(runs.values())).clock.kind == "synchronised"
    measured = [record for record in records if record.case.op == "all_reduce" and record.status == "ok"]
    for record in measured:
        for timing in record.timings:
            assert max(max(row) for row in timing.begin_ns) < 10**10
            if timing.span == "slowest rank":
                assert any("clocks agree only within" in note or "so they began after a barrier" in note
                           for note in record.notes)
    assert measured or all(record.status == "failed" for record in records if record.case.op != "noop")


def test_occasional_preemption_does_not_increase_the_lead():
    """A rank runs for 4 ms and is preempted for 4 ms: a longer lead would only make it late more often."""
    agreed, now, counted = ALIGNMENTS["agreed"](None, SAME), 0, 0
    for _ in range(100):
        late = []
        for _ in range(20):
            start = now + agreed.lead_ns
            begin = start if start % 8_000_000 < 4_000_000 else (start // 8_000_000 + 1) * 8_000_000
            late.append(begin - start)
            now = begin + 5000
        counted += sum(agreed.accept(late, [5000] * 20))
    assert counted > 0.9 * 2000
    assert agreed.lead_ns < 1_000_000


def test_the_lead_grows_until_the_announcement_arrives_in_time():
    agreed = ALIGNMENTS["agreed"](None, SAME)
    while agreed.lead_ns < 3_000_000:
        assert not any(agreed.accept([3_000_000 - agreed.lead_ns] * 5, [5000] * 5))
    assert all(agreed.accept([0] * 5, [5000] * 5))


def test_a_sample_that_begins_late_by_more_than_a_microsecond_and_half_a_percent_does_not_count():
    agreed = ALIGNMENTS["agreed"](None, SAME)
    assert agreed.accept([0, 999, 1000, 1001, 1500, 100_000], [9e3] * 6) == [True, True, True, False, False, False]
    assert agreed.accept([2_900_000, 3_100_000], [6e8] * 2) == [True, False]
    for name in ("none", "barrier"):
        assert all(ALIGNMENTS[name](None, SAME).accept([1e9], [5000]))


def test_starts_are_agreed_unless_a_host_is_crowded():
    assert choose("auto", crowded=False) == "agreed"
    assert choose("auto", crowded=True) == "barrier"
    assert choose("none", crowded=True) == "none"


def test_ranks_that_fill_large_buffers_meet_before_the_start_is_announced():
    """Rank 1 takes 30 ms longer to fill them than rank 0, which no lead makes good; small ones need no meeting."""
    def program(transport, place):
        communicator = transport.communicator(2)
        agreed, late = ALIGNMENTS["agreed"](communicator, SAME), []
        for _ in range(3):
            time.sleep(0.03 * communicator.rank)
            start_ns = agreed.start()
            late.append(communicator.all_max([communicator.now_ns() - start_ns])[0])
            agreed.accept(late[-1:], [5000])
        return communicator.gather((late, agreed.spec().rule))
    for late, rule in run_ranks(2, program):
        assert rule == "met"
        assert late[0] > 20e6
        assert min(late[1:]) < 10e6
    small = ALIGNMENTS["agreed"](None, SAME)
    assert small.accept([200_000] * 5, [5000] * 5) == [False] * 5
    assert small.spec().rule == "agreed"


@pytest.mark.slow
def test_a_case_whose_samples_are_all_late_starts_them_after_a_barrier(tmp_path, monkeypatch):
    """As on a machine that preempts ranks all the time; the record says how its samples started."""
    def never(agreed, late_ns, sample_ns):
        return [False] * len(late_ns)
    monkeypatch.setattr(ALIGNMENTS["agreed"], "accept", never)
    request = RunConfig(transport="loopback", sweep=Sweep(ops=("all_reduce",), sizes=(64,), ranks=(2,)),
                        policy=Policy(alignment="agreed", case_s=0.05, min_samples=3, modes=("isolated",)),
                        journal=tmp_path / "journal.jsonl", display="quiet")
    assert run_ranks(2, lambda transport, place: run_sweep(request, transport, place)) == 0
    _, records, _ = read_journal(request.journal)
    assert {record.status for record in records} == {"ok"}
    assert {timing.alignment for record in records for timing in record.timings} == {"barrier"}
    assert all("no sample began at its agreed start" in record.notes[0] for record in records)
