"""Wrong results are caught on every operation; reductions are exact whatever the order of combining.

The transport here is `loopback`, right by definition; faults are injected into what a rank has received.
"""

import itertools
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases import catalog, values
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.cases.traffic import PATTERNS
from collbench.collectives.interfaces import layout
from collbench.collectives.loop import verify
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.loop.memory import HostMemory
from collbench.collectives.records.record import Policy
from collbench.collectives.transports.loopback import LoopbackCommunicator, run_ranks

QUICK = Policy(alignment="barrier", case_s=0.001, min_samples=2, precision=0.5)
REDUCED = [name for name, dtype in catalog.DTYPES.items() if dtype.reduces]
WITH_PAYLOAD = tuple(name for name, row in catalog.OPERATIONS.items() if row.has_payload and not row.composition)


def measured(case, fault=None, policy=QUICK):
    """Outcomes of all ranks of `case` on the loopback transport."""
    def program(transport, place):
        communicator = transport.communicator(case.ranks)
        outcome = measure(case, communicator, SAME, policy, policy.case_s, 1)
        return communicator.gather(outcome)
    return run_ranks(case.ranks, program, fault)


def example(op, ranks=4, size=4096, dtype="float32", redop="sum", in_place=False):
    row = catalog.OPERATIONS[op]
    traffic = catalog.traffics(row, ranks, ("linear",))[-1] if row.grammar else None
    return Case(op=op, ranks=ranks, dtype=dtype, redop=redop if row.reduces else None, traffic=traffic,
                in_place=in_place, bytes=catalog.round_up(op, size, ranks, dtype, traffic))


def test_right_results_pass_for_every_operation_dtype_and_placement():
    ops = tuple(name for name, row in catalog.OPERATIONS.items() if not row.lifecycle and not row.composition)
    sweep = Sweep(ops=ops, sizes=(24, 3000), ranks=(2, 3, 5), dtypes=tuple(catalog.DTYPES),
                  redops=catalog.REDOPS, traffics=(*PATTERNS, "zipf:6"), places=(False, True))
    todo = [case for case in sweep.cases()
            if not catalog.why_not(case) and not (case.redop and case.dtype == "bfloat16")]
    assert len(todo) > 500
    for case in todo[::7]:
        outcomes = measured(case)
        assert {outcome.status for outcome in outcomes} == {"ok"}, (case.label(), outcomes[0])
        if case.op != "noop":
            assert sum(outcome.checks for outcome in outcomes) > 0, case.label()


def flipped_byte(recv):
    recv[recv.size // 2] ^= 0x10


def swapped_chunks(recv):
    half = recv.size // 16 * 8
    recv[:half], recv[half:2 * half] = recv[half:2 * half].copy(), recv[:half].copy()


def dropped_chunk(recv):
    recv[np.flatnonzero(recv != values.POISON)[-8:]] = values.POISON    # as if the chunk had never arrived


FAULTS = (flipped_byte, swapped_chunks, dropped_chunk)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("op", WITH_PAYLOAD)
def test_a_corrupted_result_is_caught_and_located(op, fault):
    case = example(op)
    victim = next(rank for rank in reversed(range(case.ranks)) if layout(case, rank).recv_bytes)
    outcomes = measured(case, lambda case, rank, recv: fault(recv) if rank == victim else None)
    assert {outcome.status for outcome in outcomes} == {"wrong"}
    found = [outcome.fault for outcome in outcomes if outcome.fault]
    assert [fault.rank for fault in found] == [victim]
    assert found[0].expected != found[0].found
    assert all(not outcome.modes for outcome in outcomes)


@pytest.mark.parametrize("op", WITH_PAYLOAD)
def test_a_stale_result_of_the_previous_call_is_caught(op):
    case = example(op, ranks=2)
    victim = next(rank for rank in range(case.ranks) if layout(case, rank).recv_bytes)
    kept = {}

    def stale(case, rank, recv):
        if rank == victim:
            fresh = recv.copy()
            recv[:] = kept.get(rank, fresh)
            kept[rank] = fresh
    assert {outcome.status for outcome in measured(case, stale)} == {"wrong"}


@pytest.mark.parametrize("op", WITH_PAYLOAD)
def test_one_wrong_call_in_many_is_caught(op):
    case = example(op, ranks=2)
    victim = next(rank for rank in range(case.ranks) if layout(case, rank).recv_bytes)
    calls = itertools.count()

    def rare(case, rank, recv):
        if rank == victim and next(calls) == 20:
            flipped_byte(recv)
    # Enough samples that call 20 is made, however slow the machine is.
    outcomes = measured(case, rare, msgspec.structs.replace(QUICK, min_samples=30, cache="rotated"))
    assert next(calls) > 21, "the fault was never injected"
    assert {outcome.status for outcome in outcomes} == {"wrong"}


@pytest.mark.parametrize("mode", ["isolated", "streamed"])
def test_warm_samples_catch_a_fault_in_one_of_a_thousand_calls(mode):
    """One bit, in calls at random. The results that the next call overwrites are not seen, so it may take several."""
    case, chance = example("all_gather", ranks=2), random.Random(7)
    policy = msgspec.structs.replace(QUICK, modes=(mode,), min_samples=500, max_samples=500, block_s=1e-4)
    made = itertools.count()

    def rare(case, rank, recv):
        if rank == 0 and next(made) >= 0 and chance.random() < 1e-3:
            flipped_byte(recv)
    for _ in range(60):
        if {outcome.status for outcome in measured(case, rare, policy)} == {"wrong"}:
            break
    else:
        pytest.fail(f"{next(made)} calls passed")


@pytest.mark.parametrize("op", WITH_PAYLOAD)
@pytest.mark.parametrize("mode", ["isolated", "streamed"])
def test_calls_that_write_nothing_are_caught_though_the_result_of_the_call_before_is_right(monkeypatch, op, mode):
    case, run, made = example(op, ranks=2), LoopbackCommunicator._run, itertools.count()
    victim = next(rank for rank in reversed(range(case.ranks)) if layout(case, rank).recv_bytes)

    def lazy(communicator, case, send, recv):
        before = recv.copy()
        run(communicator, case, send, recv)
        if communicator.rank == victim and next(made) > 9:
            recv[:] = before
    monkeypatch.setattr(LoopbackCommunicator, "_run", lazy)
    outcomes = measured(case, None, msgspec.structs.replace(QUICK, modes=(mode,), min_samples=20))
    assert {outcome.status for outcome in outcomes} == {"wrong"}


@pytest.mark.parametrize("redop", catalog.REDOPS)
@pytest.mark.parametrize("dtype", REDUCED)
@pytest.mark.parametrize("ranks", [2, 3, 8, 72])
def test_a_rank_missing_from_a_reduction_changes_the_result(redop, dtype, ranks):
    case = example("all_reduce", ranks=ranks, size=8 * 4 * ranks, dtype=dtype, redop=redop)
    index = np.arange(case.count, dtype=np.uint32)
    terms = [values.CONTRIBUTIONS[redop](case, rank, index, 3) for rank in range(ranks)]
    combine = values.COMBINE[redop]
    total = combine.reduce(terms)
    for missing in range(ranks):
        rest = combine.reduce(terms[:missing] + terms[missing + 1:])
        assert (rest != total).any(), f"rank {missing} does not matter"


@settings(max_examples=60, deadline=None)
@given(ranks=st.integers(2, 700), dtype=st.sampled_from(REDUCED), salt=st.integers(0, 50),
       seed=st.integers(0, 1 << 20))
def test_partial_sums_and_products_are_exact_in_any_order(ranks, dtype, salt, seed):
    exact = catalog.DTYPES[dtype].exact
    index = np.arange(64, dtype=np.uint32)
    order = np.random.default_rng(seed).permutation(ranks)
    case = example("all_reduce", ranks=ranks, size=64 * 8, dtype=dtype)
    terms = np.array([values.sum_term(case, rank, index, salt) for rank in order])
    assert np.abs(np.cumsum(terms, axis=0)).max() <= exact
    product = example("all_reduce", ranks=ranks, size=64 * 8, dtype=dtype, redop="prod")
    powers = np.array([np.abs(values.prod_term(product, rank, index, salt)) for rank in order], dtype=float)
    largest = np.cumprod(powers, axis=0).max()
    assert largest <= (127 if dtype == "int8" else 32768)


@pytest.mark.parametrize("ranks", [2, 8, 72, 256, 384])
@pytest.mark.parametrize("dtype", catalog.DTYPES)
def test_no_two_ranks_send_the_same_data(ranks, dtype):
    case = example("all_gather", ranks=ranks, size=16 * 8 * ranks, dtype=dtype)
    blocks = {verify.sent_pattern(case, rank, 1).image().tobytes() for rank in range(ranks)}
    assert len(blocks) == ranks


@given(st.integers(-256, 256))
def test_bfloat16_survives_encoding_and_decoding(value):
    raw = values.encode(np.array([value]), "bfloat16").view(np.uint8)
    assert values.decode(raw, "bfloat16")[0] == value


def test_a_barrier_that_does_not_wait_is_caught():
    def program(transport, place):
        communicator = transport.communicator(3)
        honest = verify.barrier_fault(communicator, communicator.barrier, "test")
        broken = verify.barrier_fault(communicator, lambda: None, "test")
        return communicator.gather((honest, broken))
    outcomes = run_ranks(3, program)
    assert [honest for honest, _ in outcomes] == [None] * 3
    assert any(broken is not None for _, broken in outcomes)


@pytest.mark.parametrize(("op", "dtype", "ranks", "size"), [
    ("all_reduce", "float32", 2, 1 << 20), ("all_gather", "int8", 3, 900_000), ("all_to_all", "float64", 4, 1 << 22),
    ("reduce_scatter", "int32", 4, 1 << 21), ("ping_pong", "bfloat16", 2, 1 << 20)])
def test_a_tiled_pattern_detects_a_fault_anywhere(op, dtype, ranks, size):
    pattern = verify.expected_pattern(example(op, ranks, size, dtype), 1, 5)
    assert pattern.tiles.size < pattern.size / 4
    image, memory = pattern.image(), HostMemory(2, pattern.size)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    memory.write(even, 0, pattern)
    memory.write(odd, 0, pattern)
    assert (memory.rows[0, :image.size] == image).all()
    for at in (0, 1, image.size // 2, image.size - 1):
        memory.rows[0, at] ^= 1
        assert not memory.equal(even, 0, pattern)
        assert memory.equal(odd, 0, pattern)
        memory.rows[0, at] ^= 1
    assert memory.equal(even, 0, pattern)
