"""Bandwidth factors against those that nccl-tests documents, at the rank counts that matter."""

from types import SimpleNamespace

import pytest

from collbench.collectives.cases import catalog
from collbench.collectives.cases.case import Case
from collbench.collectives.cases.traffic import PATTERNS
from collbench.collectives.errors import UsageError

# From nccl-tests: doc/PERFORMANCE.md and the GetBw functions of src/*.cu; the pairwise ones are ours.
FACTORS = {
    "all_reduce": {2: 1.0, 4: 1.5, 8: 1.75, 72: 142 / 72, 384: 766 / 384},
    "reduce_scatter": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    "all_gather": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    "all_to_all": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    "all_to_all_v": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    **{op: {2: 0.5, 8: 0.875, 72: 71 / 72, 384: 383 / 384} for op in ("moe_dispatch", "moe_combine", "moe_pair")},
    "gather": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    "scatter": {2: 0.5, 4: 0.75, 8: 0.875, 72: 71 / 72, 384: 383 / 384},
    "broadcast": {2: 1.0, 8: 1.0, 72: 1.0, 384: 1.0},
    "reduce": {2: 1.0, 8: 1.0, 72: 1.0, 384: 1.0},
    "send_recv": {2: 1.0, 8: 1.0, 72: 1.0, 384: 1.0},
    "ping_pong": {2: 1.0, 8: 1.0},
    "bandwidth": {2: 1.0, 8: 1.0},
    "bi_bandwidth": {2: 2.0, 8: 2.0},
    "link_latency": {2: 1.0, 8: 1.0},
    "link_bandwidth": {2: 1.0, 8: 1.0},
    "link_bi_bandwidth": {2: 2.0, 8: 2.0},
    # The sum over pairs of osu_mbw_mr; both directions of nvloom's bisection; what the single rank moves in a fan.
    "message_rate": {2: 1.0, 8: 4.0, 384: 192.0},
    "bisection": {2: 2.0, 8: 8.0, 384: 384.0},
    "incast": {2: 1.0, 8: 1.0},
    "outcast": {2: 1.0, 8: 1.0},
    "permutation": {2: 1.0, 8: 1.0},
    "halo_exchange": {2: 1.0, 8: 1.0},
    "all_reduce_one_shot": {2: 1.0, 4: 1.5, 8: 1.75, 72: 142 / 72, 384: 766 / 384},
    "copy": {1: 1.0, 8: 1.0},
    "interference": {4: 1.0, 8: 1.0},
    "overlap": {2: 1.0, 8: 1.0},
    "sequence": {2: 1.0, 8: 1.0},
    "all_reduce_hierarchical": {4: 1.5, 8: 1.75},
    "copy_h2d": {1: 1.0, 8: 1.0},
    "copy_d2h": {1: 1.0, 8: 1.0},
    "copy_both": {1: 2.0, 8: 2.0},
    "copy_h2d_pageable": {1: 1.0, 8: 1.0},
    "copy_d2h_pageable": {1: 1.0, 8: 1.0},
}


@pytest.mark.parametrize("op", FACTORS)
def test_bus_factor(op):
    for ranks, factor in FACTORS[op].items():
        assert catalog.OPERATIONS[op].bus_factor(ranks) == pytest.approx(factor, rel=1e-12)


def test_every_operation_with_a_bandwidth_has_a_known_factor():
    assert set(FACTORS) == {name for name, row in catalog.OPERATIONS.items() if row.has_payload}


def test_the_size_of_an_uneven_all_to_all_is_what_its_busiest_rank_moves():
    for traffic in (*PATTERNS, "zipf:1.2:seed=3", "zipf:4"):
        size = catalog.round_up("all_to_all_v", 1000, 5, "int8", traffic)
        case = Case(op="all_to_all_v", ranks=5, bytes=size, dtype="int8", traffic=traffic)
        counts = catalog.traffic_counts(case)
        assert max(*map(sum, counts), *map(sum, zip(*counts, strict=True))) == size


@pytest.mark.parametrize("wrong", [
    dict(op="all_redcue", ranks=2, bytes=8, dtype="float32", redop="sum"),
    dict(op="all_reduce", ranks=0, bytes=8, dtype="float32", redop="sum"),
    dict(op="all_reduce", ranks=2, bytes=8, dtype="float32"),
    dict(op="all_reduce", ranks=2, bytes=8, dtype="float31", redop="sum"),
    dict(op="all_reduce", ranks=2, bytes=7, dtype="float32", redop="sum"),
    dict(op="all_gather", ranks=3, bytes=8, dtype="float32"),
    dict(op="all_gather", ranks=2, bytes=8, dtype="float32", redop="sum"),
    dict(op="all_to_all_v", ranks=2, bytes=12, dtype="float32", traffic="rush hour"),
    dict(op="barrier", ranks=2, bytes=8)])
def test_a_case_that_cannot_exist_is_refused(wrong):
    with pytest.raises(UsageError):
        Case(**wrong)


def test_an_operation_that_the_compiled_loop_lacks_runs_in_the_python_loop():
    mpi = pytest.importorskip("collbench.collectives.transports.mpi")
    library = SimpleNamespace(collbench_kinds=lambda: b"noop all_reduce", collbench_starts=lambda: b"start_now")
    loop = mpi.NativeLoop(library)
    had = {op for op in catalog.OPERATIONS if loop.has(SimpleNamespace(op=op, operation=catalog.OPERATIONS[op]))}
    assert had == {"noop", "all_reduce", *(name for name, row in catalog.OPERATIONS.items() if row.pairs)}
