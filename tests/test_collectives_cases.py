"""Cases, sweeps and sizes: what is asked for is what is measured, and a case can be asked for again."""

from pathlib import Path

import click
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from collbench.collectives.cases import catalog, link_rounds
from collbench.collectives.cases.case import Case, Sweep, format_size, parse_size, rank_counts, size_range
from collbench.collectives.errors import UsageError
from collbench.collectives.options import measuring_options, request_from

OPS = tuple(catalog.OPERATIONS)
WITH_PAYLOAD = tuple(name for name, row in catalog.OPERATIONS.items() if row.has_payload)


@st.composite
def cases(draw):
    op = draw(st.sampled_from(OPS))
    row, ranks = catalog.OPERATIONS[op], draw(st.integers(2 if catalog.OPERATIONS[op].linked else 1, 400))
    if not row.has_payload:
        return Case(op=op, ranks=ranks, bytes=0)
    dtype = draw(st.sampled_from(tuple(catalog.DTYPES)))
    traffic = draw(st.sampled_from(tuple(catalog.TRAFFIC))) if row.uneven else None
    if row.linked:
        traffic = draw(st.sampled_from((*link_rounds.round_names(min(ranks, 40), True), link_rounds.alone(1, 0))))
    size = catalog.round_up(op, draw(st.integers(1, 1 << 24)), min(ranks, 40), dtype, traffic)
    return Case(op=op, ranks=min(ranks, 40), bytes=size, dtype=dtype, traffic=traffic,
                redop=draw(st.sampled_from(catalog.REDOPS)) if row.reduces else None,
                in_place=row.has_in_place and draw(st.booleans()))


@given(op=st.sampled_from(WITH_PAYLOAD), size=st.integers(1, 1 << 32), ranks=st.integers(1, 384),
       dtype=st.sampled_from(tuple(catalog.DTYPES)))
def test_sizes_round_up_to_the_next_that_divides_and_never_to_nothing(op, size, ranks, dtype):
    traffic = "linear" if catalog.OPERATIONS[op].uneven else None
    true = catalog.round_up(op, size, ranks, dtype, traffic)
    unit = catalog.round_up(op, 1, ranks, dtype, traffic)
    assert true >= size
    assert true - size < unit
    assert true % unit == 0
    assert catalog.round_up(op, true, ranks, dtype, traffic) == true


@given(cases())
def test_every_piece_that_is_received_was_sent(case):
    assume(catalog.why_not(case) is None)
    for rank in {0, 1 % case.ranks, case.ranks - 1}:
        for piece in catalog.received(case, rank):
            if piece.source is None:
                assert piece.start + piece.count <= case.count
            else:
                assert piece in [catalog.Piece(*sent) for sent in catalog.sent(case, piece.source)]


@given(cases())
def test_the_options_of_a_case_measure_that_case_and_no_other(case):
    caught = {}

    @click.command()
    @measuring_options
    def command(**values):
        caught.update(values)
    command.main(case.options(), standalone_mode=False)
    sweep = request_from(caught, Path("x"), ()).sweep
    assert [found for found in sweep.cases() if found.op != "noop" or case.op == "noop"] == [case]


@pytest.mark.parametrize(("text", "size"), [("8", 8), ("4K", 4096), ("4k", 4096), ("1M", 1 << 20), ("2GiB", 2 << 30),
                                            ("3 MB", 3 << 20)])
def test_size_suffixes_are_binary(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-4", "1.5K", "K", "4X", "1e6", "9" * 30, "4K4"])
def test_a_bad_size_is_refused_with_what_was_given(text):
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


@given(st.integers(1, 1 << 50))
def test_sizes_are_printed_exactly(size):
    assert parse_size(format_size(size)) == size


def test_sizes_are_those_of_nccl_tests():
    assert size_range(8, 128) == (8, 16, 32, 64, 128)
    assert size_range(8, 1000, factor=10) == (8, 80, 800)
    assert size_range(100, 400, step=100) == (100, 200, 300, 400)
    assert size_range(5, 5) == (5,)


@pytest.mark.parametrize(("begin", "end", "factor", "step"), [
    (8, 4, None, None), (8, 64, 1.0, None), (8, 64, float("nan"), None), (8, 64, 2.0, 8), (1, 1 << 30, None, 1)])
def test_ranges_that_make_no_sense_are_refused(begin, end, factor, step):
    with pytest.raises(UsageError):
        size_range(begin, end, factor, step)


def test_the_curve_is_powers_of_two_and_the_whole_world():
    assert rank_counts(2) == (2,)
    assert rank_counts(8) == (2, 4, 8)
    assert rank_counts(72) == (2, 4, 8, 16, 32, 64, 72)
    assert rank_counts(1) == (1,)


def test_shuffling_changes_the_order_and_nothing_else():
    recipe = dict(ops=OPS, sizes=(64, 4096), ranks=(2, 4))
    plain, one, same, other = (list(Sweep(**recipe, seed=seed).cases()) for seed in (None, 1, 1, 2))
    assert one == same != plain
    assert one != other
    assert sorted(map(str, one)) == sorted(map(str, plain)) == sorted(map(str, other))
