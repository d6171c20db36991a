"""Clocks whose truth is known: skewed, drifting, asked over ways of unequal and random length."""

import random
import threading
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases.case import Sweep
from collbench.collectives.loop.alignment import ALIGNMENTS, choose
from collbench.collectives.loop.clock import SAME, Clocks, Reading, estimate
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks


class Skewed:
    """A clock that is `offset` ns off and gains `drift` a second, beside a true one, both on simulated time."""

    def __init__(self, chance, drift, offset):
        self.chance, self.drift, self.offset, self.true_ns = chance, drift, offset, 10**15

    def local(self):
        return round(self.true_ns * (1 + self.drift)) + self.offset

    def ask(self, there_ns, back_ns):
        sent = self.local()
        self.true_ns += round(there_ns + self.chance.expovariate(1 / there_ns))
        reference = self.true_ns
        self.true_ns += round(back_ns + self.chance.expovariate(1 / back_ns))
        return Reading(sent, reference, self.local())


@pytest.mark.parametrize("stretch_s", [0.0, 1.0, 60.0])
def test_the_true_offset_is_within_the_bound(stretch_s):
    """In at least 95 % of trials, with ways that differ tenfold and clocks that drift by up to 100 ppm."""
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


def test_a_longer_stretch_of_time_tells_the_drift_better():
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
def test_there_and_back_is_the_same_moment(local, offset, drift):
    line = SAME._replace(epoch=float(local // 2), offset=float(offset), drift=drift)
    assert abs(line.to_local(line.to_reference(local)) - local) <= 32


def in_threads(size, hosts, skew_ns, program):
    """Ranks of the loopback library, each with the clock of its host."""
    def one(transport, place):
        true_ns, offset = transport.now_ns, skew_ns[hosts[transport.rank]]
        transport.now_ns = lambda: true_ns() + offset
        return program(transport, true_ns, offset)
    return run_ranks(size, one)


def test_every_rank_learns_its_hosts_line_from_one_that_asked():
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
        assert abs(off_ns) <= error_ns + 50_000_000      # between the two readings a thread may have to wait
        assert error_ns > 0


def test_a_makespan_across_hosts_is_told_only_where_the_clocks_allow_it(tmp_path, monkeypatch):
    """Hosts three hours apart: begins compare on rank 0's clock, or the slowest rank is shown and it is said why."""
    from collbench.collectives.program import session
    local = threading.local()
    facts = session.rank_facts

    def two_hosts(local_rank):
        return msgspec.structs.replace(facts(local_rank), boot=f"host {local.rank // 2}")
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
                assert any("clocks agree only within" in note for note in record.notes)
    assert measured or all(record.status == "failed" for record in records if record.case.op != "noop")


def test_a_rank_that_loses_its_core_now_and_then_does_not_drive_the_agreed_start_away():
    """It runs for 4 ms, is away for 4 ms: the further ahead it were told, the more often it would be away by then."""
    agreed, now, counted = ALIGNMENTS["agreed"](None, SAME), 0, 0
    for _ in range(100):
        late = []
        for _ in range(20):
            start = now + agreed.lead_ns
            begin = start if start % 8_000_000 < 4_000_000 else (start // 8_000_000 + 1) * 8_000_000
            late.append(begin - start)
            now = begin + 5000
        counted += sum(agreed.accept(late))
    assert counted > 0.9 * 2000
    assert agreed.lead_ns < 1_000_000


def test_an_agreed_start_moves_away_until_word_of_it_comes_in_time():
    agreed = ALIGNMENTS["agreed"](None, SAME)
    while agreed.lead_ns < 3_000_000:
        assert not any(agreed.accept([3_000_000 - agreed.lead_ns] * 5))
    assert all(agreed.accept([0] * 5))


def test_starts_are_agreed_unless_a_host_is_crowded():
    assert choose("auto", crowded=False) == "agreed"
    assert choose("auto", crowded=True) == "barrier"
    assert choose("none", crowded=True) == "none"
