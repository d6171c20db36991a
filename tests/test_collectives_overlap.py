"""Overlap of a collective and compute: known shares are found in virtual time, and what runs is verified.

The virtual library takes a known time for the collective, a known share of which needs the program to wait, and the
virtual compute a known time, during which the rest of the collective goes on.
"""

import msgspec
import numpy as np
import pytest

from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import why_not
from collbench.collectives.errors import UsageError
from collbench.collectives.interfaces import layout
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.loop.timing import MarkedBlock
from collbench.collectives.records.digest import digest
from collbench.collectives.records.record import Policy, Timing
from collbench.collectives.transports import composed
from collbench.collectives.transports.loopback import run_ranks

CASE = Case(op="overlap", ranks=2, bytes=4096, dtype="float32", traffic="collective=all_reduce")
UNIT_NS, CALL_NS, START_NS = 1000, 200_000, 500
QUICK = Policy(alignment="barrier", case_s=0.001, min_samples=3, precision=0.5)


class Virtual:
    """What the operation may use of a library, on a clock that only its calls advance.

    `alone`: the share of the collective that makes progress only while the program waits for it. `slower`: by how much
    the compute takes longer, and the collective too, for as long as both run.
    """

    rank, size = 0, 2

    def __init__(self, alone, slower=1.0):
        self.clock_ns, self.alone, self.slower, self.kept = 0, alone, slower, {}
        self.left_ns = None     # of the collective, without what needs the program

    def now_ns(self):
        return self.clock_ns

    def drain(self):
        pass

    def share(self, word):
        return word

    def slot(self, at, length):
        return np.zeros(length, np.uint8)

    def start_timed(self, case, send, recv, ranks=None):
        def start():
            self.clock_ns += START_NS
            self.left_ns = CALL_NS * (1 - self.alone)
            self.ended_ns = self.clock_ns

            def wait():
                self.clock_ns += int(self.left_ns + CALL_NS * self.alone)
                over = self.left_ns or self.alone
                self.left_ns = None
                return self.clock_ns if over else int(self.ended_ns)
            wait.poll = lambda: None
            return wait
        return start

    def compute(self, units, poll):
        beside = self.left_ns is not None
        for _ in range(units):
            if beside and self.left_ns > 0:
                passed = UNIT_NS * self.slower
                self.left_ns = max(0.0, self.left_ns - passed / self.slower)
                self.ended_ns = self.clock_ns + passed
                self.clock_ns += int(passed)
            else:
                self.clock_ns += UNIT_NS
            poll()
        end_ns = self.clock_ns
        return lambda: end_ns


def figures(library, case=CASE, rounds=20):
    """The figures of a timing of one rank on the virtual library."""
    bound = composed.bind(library, case, layout(case, 0))
    block = MarkedBlock([bound.call], ("started", "compute", "collective"), library.now_ns, library.drain)
    elapsed = []
    for step in [*range(3)] * rounds:
        bound.select(step)
        begin, end = block(0)
        elapsed.append(end - begin)
    timing = Timing(mode="isolated", calls=1, warmup=0, states=("collective", "compute", "together"), begin_ns=None,
                    elapsed_ns=[elapsed] * 2, marks_ns={name: [row] * 2 for name, row in block.marks.items()},
                    precision=None, stopped_by="samples")
    return digest(case, timing, 0.02).figures


@pytest.mark.parametrize(("alone", "percent"), [(1.0, 0), (0.5, 50), (0.0, 100)])
def test_a_known_overlap_is_found(alone, percent):
    found = figures(Virtual(alone))
    assert found["imb_overlap_percent"].value == pytest.approx(percent, abs=1)
    assert found["exposed_s"].value == pytest.approx(CALL_NS * alone / 1e9, abs=1e-6)
    assert found["compute_slowdown"].value == pytest.approx(1.0)
    assert found["collective_s"].value == pytest.approx((CALL_NS + START_NS) / 1e9)
    assert found["compute_s"].value == pytest.approx(CALL_NS / 1e9, rel=0.01)      # as calibrated
    # Where the program has to wait, the collective ends only after the compute.
    assert found["collective_slowdown"].value == pytest.approx(1 + alone, abs=0.01)
    assert found["imb_overlap_percent"].n == 20
    assert found["imb_overlap_percent"].lo == pytest.approx(percent, abs=1)


def test_what_each_costs_the_other_is_found_both_ways():
    """Both advance at two thirds of their speed while both run: all is hidden, but neither is free."""
    found = figures(Virtual(0.0, slower=1.5))
    assert found["compute_slowdown"].value == pytest.approx(1.5, rel=0.01)
    assert found["collective_slowdown"].value == pytest.approx(1.5, rel=0.01)
    assert found["exposed_s"].value == pytest.approx(0.5 * CALL_NS / 1e9, rel=0.01)
    assert found["imb_overlap_percent"].value == pytest.approx(50, abs=1)


def test_the_compute_is_sized_to_the_time_that_is_asked_for():
    for times in ("0.5", "3"):
        case = msgspec.structs.replace(CASE, traffic=f"collective=all_reduce:compute={times}")
        found = figures(Virtual(0.0), case)
        assert found["compute_s"].value == pytest.approx(float(times) * CALL_NS / 1e9, rel=0.01)
        # All of the shorter one is hidden; the benchmark's percentage is of the longer one.
        assert found["imb_overlap_percent"].value == pytest.approx({"0.5": 50, "3": 100 / 3}[times], abs=1)


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"])
def test_results_are_verified_in_every_state(name):
    case = Case(op="overlap", ranks=3, bytes=1200, dtype="float32", traffic=f"collective={name}")

    def measured(fault=None):
        def program(transport, place):
            communicator = transport.communicator(case.ranks)
            return communicator.gather(measure(case, communicator, SAME, QUICK, 0.001, 1))
        return run_ranks(case.ranks, program, fault)
    outcomes = measured()
    assert {outcome.status for outcome in outcomes} == {"ok"}, outcomes[0]
    assert all(len(mode.begin_ns) % 3 == 0 and set(mode.marks_ns) == {"started", "compute", "collective"}
               for outcome in outcomes for mode in outcome.modes)

    def flip(case, rank, recv):
        if rank == 1 and recv.size:
            recv[recv.size // 2] ^= 0x10
    assert {outcome.status for outcome in measured(flip)} == {"wrong"}


@pytest.mark.parametrize(("text", "words"), [
    ("collective=barrier", "unknown collective 'barrier'"), ("compute=2", "no collective"),
    ("collective=all_reduce:compute=0", "from 0.1 to 10"), ("collective=all_reduce:progress=2", "unknown progress"),
    ("collective=all_reduce:collective=all_reduce", "given twice")])
def test_texts_that_name_nothing_are_refused(text, words):
    with pytest.raises(UsageError, match=words):
        Case(op="overlap", ranks=2, bytes=64, dtype="float32", traffic=text)


def test_element_types_that_are_only_moved_are_refused_for_reductions():
    case = msgspec.structs.replace(CASE, dtype="uint8")
    assert "uint8 for all_reduce" in why_not(case)
    assert why_not(msgspec.structs.replace(case, traffic="collective=broadcast")) is None
