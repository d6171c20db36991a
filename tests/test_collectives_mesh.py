"""Collectives in the groups of a mesh's axes: identity of cases, exact results, and what counts as wrong."""

import numpy as np
import pytest

from collbench.collectives.cases import axis_traffic, values
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.cases.catalog import GROUPS, OPERATIONS, canonical_traffic, why_not
from collbench.collectives.errors import UsageError
from collbench.collectives.interfaces import layout
from collbench.collectives.loop.verify import Inspector, expected_pattern
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.watchdog import NullWatchdog

MESH = "mesh:pp=2/tp=3"
TOGETHER = f"{MESH}:axis=tp:with=pp"
ON_AXES = tuple(name for name, row in OPERATIONS.items() if row.on_axes)


def sweep(ops, ranks=6, **more):
    return Sweep(**{"ops": ops, "sizes": (96,), "ranks": (2, ranks), "dtypes": ("int32",),
                    "traffics": ("linear", MESH), **more})


def run(path, request_sweep, fault=None):
    request = RunConfig(transport="loopback", journal=path / "journal.jsonl", display="quiet", sweep=request_sweep,
                        policy=Policy(min_samples=4, case_s=0.001, precision=0.9))
    status = run_ranks(6, lambda transport, place: run_sweep(request, transport, place, NullWatchdog()), fault)
    return status, read_journal(request.journal)[1]


def test_a_mesh_makes_a_case_of_each_axis_and_leaves_other_operations_as_they_are():
    cases = list(sweep(("all_reduce", "ping_pong", "all_to_all_v"), places=(False,)).cases())
    assert {(case.op, case.ranks, case.traffic) for case in cases if case.op != "ping_pong"} == {
        ("all_reduce", 3, TOGETHER), ("all_reduce", 2, f"{MESH}:axis=pp:with=tp"),
        ("all_to_all_v", 3, f"{TOGETHER}:traffic=linear"),
        ("all_to_all_v", 2, f"{MESH}:axis=pp:with=tp:traffic=linear")}
    assert {case.ranks for case in cases if case.op == "ping_pong"} == {2, 6}
    assert {case.members for case in cases if case.traffic} == {6}
    # All axes have messages of one size, which each of them can divide: linear has 6 parts for 3 ranks, 3 for 2.
    assert {case.bytes for case in cases if case.op == "all_to_all_v"} == {96}
    assert set(ON_AXES) == {*GROUPS["all"]} - {"barrier", "noop", "copy", "ping_pong", "bandwidth", "bi_bandwidth"}


def test_the_command_of_a_case_measures_it_alone():
    for case in sweep(ON_AXES, places=(False, True)).cases():
        words = case.options()
        texts = tuple(canonical_traffic(text) for text in words[words.index("--traffic") + 1].split(","))
        again = sweep((case.op,), traffics=texts, places=(case.in_place,))
        assert list(again.cases()) == [case]


@pytest.mark.parametrize("text", [f"{MESH}:axis=dp", f"{TOGETHER}+pp", f"{MESH}:axis=tp:with=tp", "mesh:",
                                  f"{MESH}:with=tp", f"{MESH}:axis=", f"{MESH}:axis=tp:traffic=none"])
def test_a_wrong_text_is_refused_where_it_is_given(text):
    with pytest.raises(UsageError):
        canonical_traffic(text)


@pytest.mark.parametrize("wrong", [{"ranks": 2}, {"op": "ping_pong"}, {"traffic": MESH}, {"bytes": 100},
                                   {"traffic": "mesh:pp=2/tp=-1:axis=tp"}, {"dtype": "uint8"}])
def test_a_case_that_does_not_suit_its_mesh_is_refused(wrong):
    good = {"op": "reduce_scatter", "ranks": 3, "bytes": 96, "dtype": "int32", "redop": "sum", "traffic": TOGETHER}
    assert Case(**good).members == 6
    with pytest.raises(UsageError):
        Case(**{**good, **wrong})


def test_every_collective_is_right_on_every_axis_alone_and_together():
    cases = [case for case in sweep(ON_AXES, dtypes=("int32", "bfloat16"), redops=("sum", "avg")).cases()
             if not why_not(case)]

    def program(transport, _):
        communicator, found = transport.communicator(6), {}
        for case in cases:
            if transport.why_not(case):
                continue
            inspector = Inspector(case, transport.rank, communicator.prepare(case, 2))
            for sample in range(4):
                inspector.reset(sample)
                inspector.prepared.block(0)
                inspector.prepared.settle()
                inspector.check(sample, "timed")
            found[case] = (inspector.wrong, inspector.checks > 0)
        return found
    found = run_ranks(6, program)
    assert {case.op for case in found} == set(ON_AXES)
    assert set(found.values()) <= {(0, True), (0, False)}
    assert {case.op for case, (_, checked) in found.items() if checked} == set(ON_AXES)


def test_a_record_has_the_samples_of_all_ranks_in_both_states(tmp_path):
    status, records = run(tmp_path, sweep(("all_reduce",), places=(True,)))
    measured = [record for record in records if record.case.axis]
    assert status == 0
    assert [(record.status, record.case.members) for record in measured] == 2 * [("ok", 6)]
    for timing in (timing for record in measured for timing in record.timings):
        assert timing.states == ("alone", "together")
        assert len(timing.elapsed_ns) == 6
        assert min(len(timing.counted(state)) for state in timing.states) >= 4


def test_no_group_has_the_data_of_another_and_idle_axes_must_leave_their_buffers_alone():
    case = Case(op="all_gather", ranks=3, bytes=96, dtype="int32", traffic=TOGETHER)
    alone, together = ([expected_pattern(case, rank, 5, step).image() for rank in range(6)] for step in (0, 1))
    own = slice(0, 96)          # of the axis; then comes what the other one receives
    assert all(np.array_equal(alone[0][own], alone[rank][own]) for rank in (1, 2))
    assert not any(np.array_equal(alone[0][own], alone[rank][own]) for rank in (3, 4, 5))
    assert not any(np.array_equal(together[0][own], together[rank][128:224]) for rank in range(6))
    assert all((image[96:] == values.POISON).all() for image in alone)
    assert not any((image[128:224] == values.POISON).all() for image in together)


@pytest.mark.parametrize("op", ["all_reduce", "all_to_all"])
def test_a_wrong_byte_of_any_axis_is_seen(op):
    """In the part of either axis, in the state in which both communicate."""
    in_place = op == "all_reduce"
    case = Case(op=op, ranks=3, bytes=96, dtype="int32", redop="sum" if in_place else None, in_place=in_place,
                traffic=TOGETHER)
    place = layout(case, 0)

    def program(transport, _):
        communicator = transport.communicator(6)
        inspector = Inspector(case, transport.rank, communicator.prepare(case, 3))
        found = []
        for byte in (None, 0, 95, 128, 223):
            inspector.reset(1)
            inspector.prepared.block(0)
            inspector.prepared.settle()
            if byte is not None:
                inspector.prepared.memory.rows[1, place.recv_at + byte] ^= 1
            before = inspector.wrong
            inspector.check(1, "timed")
            found.append(inspector.wrong - before)
        return found
    assert run_ranks(6, program) == [0, 1, 1, 1, 1]


def test_a_result_of_another_group_is_wrong(tmp_path):
    def swap(case, rank, received):
        if case.axis and rank == 2:
            received[:96] = expected_pattern(case, 5, 1).image()[:96]
    status, records = run(tmp_path, sweep(("all_gather",)), swap)
    assert status == 1
    assert {record.status for record in records if record.case.ranks == 3} == {"wrong"}


def test_one_axis_may_take_what_the_others_leave_and_axes_of_one_rank_are_left_out():
    asked = axis_traffic.parse_axis_traffic("mesh:pp=-1/tp=3/ep=1")
    assert [found.text for found in axis_traffic.expand(asked, 6)] == [
        "mesh:pp=2/tp=3/ep=1:axis=pp:with=tp", "mesh:pp=2/tp=3/ep=1:axis=tp:with=pp"]
    with pytest.raises(UsageError, match="a multiple of 3 ranks, but the largest group that is measured has 8"):
        list(axis_traffic.expand(asked, 8))
