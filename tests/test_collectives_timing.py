"""The timing loop on a simulated clock, and the stopping rules."""

import collections
import itertools
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.cases.case import Case
from collbench.collectives.loop.caches import CACHES, mixed
from collbench.collectives.loop.timing import MarkedBlock, maker, python_block, take_samples, time_samples
from collbench.collectives.records.digest import digest
from collbench.collectives.records.record import Policy, Timing
from collbench.collectives.statistics import stopping

NOOP = Case(op="noop", ranks=1, bytes=0)


class Simulated:
    """A communicator of one rank whose clock advances only with each operation, by known amounts in ns."""

    rank, size = 0, 1

    def __init__(self, call_ns=1000, drain_ns=7, align_ns=500_000, noise=lambda: 0):
        self.clock_ns, self.call_ns, self.drain_ns, self.align_ns, self.noise = 0, call_ns, drain_ns, align_ns, noise

    def now_ns(self):
        return self.clock_ns

    def drain(self):
        self.clock_ns += self.drain_ns

    def call(self):
        self.clock_ns += self.call_ns + self.noise()

    def all_max(self, values):
        return list(values)


class Barrier:
    """An alignment that takes time, which must not be measured."""

    def __init__(self, world):
        self.world = world

    def start(self):
        self.world.clock_ns += self.world.align_ns
        return 0

    def accept(self, late_ns, sample_ns):
        return [True] * len(late_ns)


class Inspected:
    """Stands for the inspector; resetting, settling and checking take time too, which must not be measured."""

    spoils = answers = False

    def __init__(self, world, calls, states=(), by_core=True):
        self.case = SimpleNamespace(operation=SimpleNamespace(states=lambda case: states, timed=lambda case: (0,)))
        bound = [self.call] * calls
        self.world, self.log = world, []
        self.prepared = SimpleNamespace(block=python_block(bound, world.now_ns, world.drain), calls=calls, sampler=None,
                                        settle=self.settle, make=maker(bound, world.drain),
                                        memory=SimpleNamespace(by_core=by_core))

    def call(self):
        self.log.append(("call", None))
        self.world.call()

    def reset(self, sample):
        self.log.append(("reset", sample))
        self.world.clock_ns += 33_333

    restore = reset

    def aim(self, sample, chance):
        self.world.clock_ns += 11_111

    def poke(self):
        self.log.append(("poke", None))
        self.world.clock_ns += 22_222

    def count_timed(self, samples):
        pass

    def probe(self, sample):
        self.log.append(("probe", sample))
        self.world.clock_ns += 44_444

    def settle(self):
        self.world.clock_ns += 55_555

    def check(self, sample, when):
        self.log.append(("check", sample))
        self.world.clock_ns += 77_777


@pytest.mark.parametrize("calls", [1, 2, 64])
def test_only_the_calls_and_the_last_drain_are_timed(calls):
    world = Simulated()
    inspected = Inspected(world, calls)
    state = CACHES["rotated"](inspected, world)
    begin_ns, elapsed_ns, late_ns = time_samples(inspected, world, Barrier(world), state, 5, 10)
    assert late_ns == [0] * 10
    assert elapsed_ns == [calls * world.call_ns + world.drain_ns] * 10
    assert begin_ns == sorted(begin_ns)
    assert [line for line in inspected.log if line[0] != "call"] == [
        (what, sample) for sample in range(5, 15) for what in ("reset", "check")]


@pytest.mark.parametrize("by_core", [True, False])
@pytest.mark.parametrize("calls", [1, 5])
def test_a_warm_sample_follows_the_same_call_and_nothing_but_a_word_is_touched_after_it(calls, by_core):
    world = Simulated()
    inspected = Inspected(world, calls, by_core=by_core)
    state = CACHES["warm"](inspected, world)
    for first in (0, 200):
        _, elapsed_ns, _ = time_samples(inspected, world, Barrier(world), state, first, 200)
        assert elapsed_ns == [calls * world.call_ns + world.drain_ns] * 200
    timed = ["poke", *["call"] * calls]
    text = " ".join(what for what, _ in inspected.log)
    checked, probed = (text.count(" ".join([*timed, what])) for what in ("check", "probe"))
    assert checked + probed == 400
    assert (text.count("call poke"), text.count("reset call")) == (398, 2)      # that of a new round is compared first
    assert 20 < checked < 90 if by_core and calls == 1 else probed == 0, (checked, probed)
    assert {which for what, which in inspected.log if what == "check"} == {1, 2}
    assert text.count("reset") == 2


@pytest.mark.parametrize("answers", [True, False])
def test_a_rank_that_only_answers_does_not_wait_for_the_start(answers):
    world = Simulated()
    inspected = Inspected(world, 1)
    inspected.answers = answers

    class Past(Barrier):
        def start(self):
            return world.clock_ns - 50_000
    _, _, late_ns = time_samples(inspected, world, Past(world), CACHES["rotated"](inspected, world), 5, 3)
    assert late_ns == [0 if answers else 50_000] * 3


def test_no_period_of_a_fault_escapes_the_checks_of_warm_samples():
    """Every 10,000th call is wrong, and of 8 calls in a sample only the last is looked at: it is seen all the same."""
    for period in (10_000, 9_999, 64, 8 * 9):
        world = Simulated(align_ns=0)
        inspected, made, seen = Inspected(world, 8), itertools.count(1), []
        fault = {"now": False}

        def call(made=made, fault=fault, period=period):
            fault["now"] = next(made) % period == 0
        inspected.prepared.make = maker([call] * 8, world.drain)
        inspected.prepared.block = python_block([call] * 8, world.now_ns, world.drain)
        inspected.check = lambda sample, when, fault=fault, seen=seen: seen.append(fault["now"])
        state = CACHES["warm"](inspected, world)
        for first in range(0, 100 * period, 50):
            time_samples(inspected, world, Barrier(world), state, first, 50)
            if any(seen):
                break
        assert any(seen), period


def test_numbers_that_look_random_are_spread_evenly():
    drawn = [mixed(sample) for sample in range(40_000)]
    for shift, modulus in ((1, 4), (16, 8), (256, 63)):
        counts = collections.Counter(number // shift % modulus for number in drawn)
        assert max(counts.values()) < 1.2 * min(counts.values())


def take(inspected, world, alignment, policy, budget_s):
    return take_samples(inspected, world, alignment, CACHES["rotated"](inspected, world), policy, budget_s)


def test_a_steady_case_stops_as_soon_as_its_median_is_known():
    world = Simulated()
    samples = take(Inspected(world, 1), world, Barrier(world), Policy(), 10.0)
    assert samples.stopped_by == "precision"
    assert len(samples.worst_s) == len(samples.elapsed_ns) - samples.warmup
    assert 6 <= len(samples.worst_s) <= 20


def test_a_noisy_case_stops_when_its_time_is_up_but_not_below_the_minimum_of_samples():
    noise = random.Random(1)
    world = Simulated(noise=lambda: noise.randrange(100_000))
    samples = take(Inspected(world, 1), world, Barrier(world), Policy(precision=1e-6), 0.2)
    assert samples.stopped_by == "time"
    assert 0.15 <= world.clock_ns / 1e9 <= 0.25
    slow = Simulated(call_ns=10**9)
    assert len(take(Inspected(slow, 1), slow, Barrier(slow), Policy(min_samples=7, precision=0.0), 0.2)
               .worst_s) == 7


def test_the_maximum_of_samples_is_never_exceeded():
    noise = random.Random(2)
    world = Simulated(align_ns=10, noise=lambda: noise.randrange(100_000))
    samples = take(Inspected(world, 1), world, Barrier(world), Policy(precision=0.0, max_samples=40), 100.0)
    assert samples.stopped_by == "samples"
    assert len(samples.worst_s) == 40


def test_samples_that_begin_late_are_kept_and_not_counted():
    world = Simulated()

    class Agreed(Barrier):
        """Every third start lies in the past."""

        seen = 0

        def start(self):
            Agreed.seen += 1
            return world.clock_ns - 50_000 if Agreed.seen % 3 == 0 else world.clock_ns

        def accept(self, late_ns, sample_ns):
            return [late <= 1000 for late in late_ns]
    samples = take(Inspected(world, 1), world, Agreed(world), Policy(precision=0.0, max_samples=60), 1.0)
    total = len(samples.elapsed_ns)
    assert samples.late == [sample for sample in range(samples.warmup, total) if (sample + 1) % 3 == 0]
    assert len(samples.worst_s) == total - samples.warmup - len(samples.late)


def test_a_case_that_is_always_late_ends():
    world = Simulated()

    class Late(Barrier):
        def start(self):
            return world.clock_ns - 50_000 if world.clock_ns > 50_000 else 0

        def accept(self, late_ns, sample_ns):
            return [False] * len(late_ns)
    samples = take(Inspected(world, 1), world, Late(world), Policy(), 0.01)
    assert samples.worst_s == []
    assert samples.stopped_by == "time"


def test_warm_up_goes_on_while_calls_get_faster():
    world = Simulated(call_ns=1_000_000)
    prices = iter([5_000_000, *[3_000_000] * 3, *[2_000_000] * 3, *[1_000_000] * 3])
    world.noise = lambda: next(prices, 0)
    samples = take(Inspected(world, 1), world, Barrier(world), Policy(), 10.0)
    assert samples.warmup == 16      # the cold call, three blocks that got faster, and two that did not
    assert max(samples.worst_s) == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize(("call_s", "warmup", "unused"), [(0.7, None, 0), (0.3, None, 1), (0.7, 2, 2)])
def test_a_call_longer_than_the_time_of_the_case_is_not_made_once_more_for_warm_up(call_s, warmup, unused):
    world = Simulated(call_ns=int(call_s * 1e9))
    samples = take(Inspected(world, 1), world, Barrier(world), Policy(min_samples=1, warmup=warmup), 0.2)
    assert (samples.warmup, len(samples.elapsed_ns), len(samples.worst_s)) == (unused, unused + 1, 1)


def test_samples_that_take_turns_between_states_are_counted_by_state():
    """The first state takes 1 us and the second 3 us; each of the counts and the time is that of the second."""
    world = Simulated()
    world.noise = lambda: 2000 * (len(inspected.log) % 6 == 5)      # after reset, call, check, reset, call
    inspected = Inspected(world, 1, states=("alone", "loaded"))
    taken = take(inspected, world, Barrier(world), Policy(precision=0.0, min_samples=9, max_samples=9), 10.0)
    timing = Timing(mode="isolated", calls=1, warmup=taken.warmup, states=("alone", "loaded"), begin_ns=None,
                    elapsed_ns=[taken.elapsed_ns], precision=taken.precision, stopped_by=taken.stopped_by)
    assert len(taken.elapsed_ns) == taken.warmup + 2 * 9
    assert taken.worst_s == pytest.approx([3.007e-6] * 9)
    assert timing.message_s(NOOP) == pytest.approx(taken.worst_s)
    assert timing.message_s(NOOP, "alone") == pytest.approx([1.007e-6] * 9)
    assert digest(NOOP, timing, 0.02).median_ns == 3007


def test_marks_are_the_time_since_the_begin_of_their_call():
    world = Simulated()

    def call():
        world.clock_ns += 100
        first = world.clock_ns
        world.clock_ns += 30
        return first, world.clock_ns
    block = MarkedBlock([call] * 3, ("first", "second"), world.now_ns, world.drain)
    assert block(0) == (0, 3 * 130 + world.drain_ns)
    block(0)
    assert block.marks == {"first": [300, 300], "second": [390, 390]}


@pytest.mark.parametrize("draw", [lambda r: r.gauss(100, 5), lambda r: r.expovariate(1),
                                  lambda r: r.paretovariate(1.5)])
@pytest.mark.parametrize("n", [6, 11, 40, 200])
def test_the_confidence_interval_of_the_median_has_its_nominal_coverage(draw, n):
    chance = random.Random(n)
    truth = stopping.median([draw(random.Random(k)) for k in range(40_000)])
    low, high = stopping.median_ranks(n)
    hits = 0
    for _ in range(1500):
        ordered = sorted(draw(chance) for _ in range(n))
        hits += ordered[low] <= truth <= ordered[high]
    assert 0.94 <= hits / 1500 <= 0.99


def test_there_is_no_confidence_interval_from_fewer_than_six_samples():
    assert stopping.median_ranks(5) is None
    assert stopping.median_precision([1.0] * 5) is None
    assert stopping.median_ranks(6) == (0, 5)


@given(st.integers(6, 3000))
def test_the_confidence_interval_is_symmetric_and_inside_the_samples(n):
    low, high = stopping.median_ranks(n)
    assert 0 <= low < high <= n - 1
    assert low + high == n - 1


@given(call_s=st.floats(0, 10), block_s=st.floats(1e-6, 1), slots=st.integers(2, 64))
def test_a_streamed_sample_has_at_least_two_calls_and_at_most_one_per_slot(call_s, block_s, slots):
    assert 2 <= stopping.calls_per_block(call_s, block_s, slots) <= slots
