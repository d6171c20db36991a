"""Patterns of messages: who meets whom, against definitions; and what is sent, against one rank's link."""

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.analysis.importers.shared.limits import impossible_time
from collbench.collectives.cases import catalog, pairings
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.cases.messages import messages, window
from collbench.collectives.errors import UsageError

PATTERNS = catalog.GROUPS["patterns"]


def case_of(op, ranks, size=1024, traffic=None, dtype="int8"):
    return Case(op=op, ranks=ranks, traffic=traffic, dtype=dtype,
                bytes=catalog.round_up(op, size, ranks, dtype, traffic))


@given(st.integers(2, 400), st.integers(0, 50))
def test_a_permutation_leaves_no_rank_with_itself_and_no_two_with_one(ranks, seed):
    to = pairings.derangement(f"permutation:{seed}", ranks)
    assert sorted(to) == list(range(ranks))
    assert all(rank != other for rank, other in enumerate(to))


def test_all_permutations_of_three_and_four_ranks_are_equally_likely():
    """Four ranks have 9 derangements, of which 6 are a single cycle: a generator of cycles would miss the others."""
    found = Counter(pairings.derangement(f"permutation:{seed}", 4) for seed in range(900))
    assert len(found) == 9
    assert all(60 < count < 140 for count in found.values())


def test_what_a_seed_means_never_changes():
    assert pairings.derangement("permutation:1", 8) == (2, 0, 6, 4, 1, 7, 3, 5)
    assert pairings.halves("random-halves:1", 4) == {1: (0, True), 0: (1, False), 3: (2, True), 2: (3, False)}


@given(st.integers(1, 200), st.sampled_from(["halves", "random-halves:1", "random-halves:7"]))
def test_every_rank_meets_one_of_the_other_half(half, text):
    ranks = 2 * half
    met = pairings.halves(text, ranks)
    assert set(met) == set(range(ranks))
    assert sum(first for _, first in met.values()) == half
    assert all(met[other] == (rank, not first) for rank, (other, first) in met.items())
    if text == "halves":
        assert all(other == (rank + ranks // 2) % ranks and first == (rank < other)
                   for rank, (other, first) in met.items())


@given(st.integers(2, 400), st.integers(2, 4))
def test_the_sides_of_a_torus_are_the_most_even(ranks, dimensions):
    sides = pairings.sides(f"torus:{dimensions}", ranks)
    primes = [p for p in range(2, ranks + 1) if ranks % p == 0 and all(p % q for q in range(2, p))]
    factors = sum(next(k for k in range(1, 20) if ranks % p**(k + 1)) for p in primes)
    assert (sides is None) == (factors < dimensions)
    if sides is not None:
        assert (math.prod(sides), len(sides), min(sides) > 1) == (ranks, dimensions, True)
    if sides is not None and dimensions == 2:
        assert not any(ranks % side == 0 for side in range(math.isqrt(ranks) + 1, sides[1]) if side * side != ranks)


@pytest.mark.parametrize(("text", "ranks"), [("line", 5), ("ring", 2), ("ring", 5), ("torus:2", 8), ("torus:3x4", 12),
                                             ("torus:3", 8), ("torus:2x3x4", 24)])
def test_neighbours_differ_by_one_step_and_know_each_other(text, ranks):
    sides = pairings.sides(text, ranks)

    def place(rank):
        return [rank // math.prod(sides[axis + 1:]) % side for axis, side in enumerate(sides)]
    for rank in range(ranks):
        for way, other in pairings.neighbours(text, ranks, rank).items():
            there, here = place(other), place(rank)
            here[way // 2] = (here[way // 2] + (1 if way % 2 else -1)) % sides[way // 2]
            assert here == there
            assert pairings.neighbours(text, ranks, other)[way ^ 1] == rank
    assert [len(pairings.neighbours("line", 5, rank)) for rank in range(5)] == [1, 2, 2, 2, 1]


@pytest.mark.parametrize("text", ["fan:0", "fan:01", "fan:", "permutation", "permutation:-1", "random-halves", "torus",
                                  "torus:1", "torus:5", "torus:2x", "torus:2x2x2x2x2", "torus:0x4", "lines"])
def test_texts_that_mean_nothing_are_refused(text):
    with pytest.raises(UsageError, match=r"did you mean line|expected"):
        catalog.canonical_traffic(text)


@pytest.mark.parametrize(("op", "ranks", "traffic", "words"), [
    ("incast", 4, "fan:9", "needs 10 ranks, not 4"), ("outcast", 1, "fan", "at least 2 ranks"),
    ("halo_exchange", 7, "torus:2", "7 ranks make no torus:2"), ("halo_exchange", 8, "torus:3x3", "8 ranks make no"),
    ("permutation", 1, "permutation:1", "at least 2"), ("bisection", 3, "halves", "even number"),
    ("message_rate", 3, None, "even number")])
def test_a_pattern_that_the_ranks_cannot_make_is_unsupported_with_its_reason(op, ranks, traffic, words):
    assert words in catalog.why_not(case_of(op, ranks, traffic=traffic))


def test_rank_counts_that_make_no_torus_have_none_by_default():
    texts = {ranks: [case.traffic for case in Sweep(ops=("halo_exchange",), sizes=(64,), ranks=(ranks,)).cases()]
             for ranks in (4, 7, 8)}
    assert texts == {4: ["line", "ring", "torus:2"], 7: ["line", "ring"], 8: ["line", "ring", "torus:2", "torus:3"]}


@pytest.mark.parametrize("op", PATTERNS)
@pytest.mark.parametrize("ranks", [2, 8])
def test_the_busiest_rank_moves_the_message_size_in_each_message(op, ranks):
    """Whatever the pattern, S is what the busiest rank sends or receives, so that times of patterns compare."""
    for traffic in catalog.traffics(catalog.OPERATIONS[op], ranks, ()):
        case = case_of(op, ranks, traffic=traffic)
        pieces = [Counter(piece for rank in range(ranks) for piece in of(case, rank))
                  for of in (catalog.sent, catalog.received)]
        assert pieces[0] == pieces[1], "all that is sent arrives once"
        moved = [sum(part.count for part in group) for rank in range(ranks) for group in messages(case, rank)]
        assert max(moved) == case.bytes * (catalog.window_depth(case) if case.operation.windowed else 1), case.label()


@pytest.mark.parametrize(("op", "traffic"), [("incast", "fan"), ("incast", "fan:2"), ("outcast", "fan")])
def test_a_window_has_as_many_messages_of_each_sender_whatever_the_buffers_hold(op, traffic):
    """At 6 MiB two buffers fit into 16 MiB; 64 messages use them in turn."""
    case = case_of(op, 4, 6 << 20, traffic)
    assert catalog.window_depth(case) == 2
    senders = pairings.fan_width(traffic, 4)
    for rank in range(4):
        sends = (rank == 0) == (op == "outcast")
        for group, there in zip(window(case, rank), (sends, not sends), strict=True):
            peers = Counter(message.peer for message in group)
            others = [0] if rank else range(1, senders + 1)
            wanted = dict.fromkeys(others, 64) if there and rank <= senders else {}
            assert dict(peers) == wanted
            assert len({message.at for message in group}) == 2 * len(wanted)


def test_a_sum_over_many_pairs_is_no_impossible_rate_of_one_rank():
    assert impossible_time("message_rate", 384, 1 << 20, (1 << 20) / 400e9) is None      # 77 TB/s together
    assert "no memory is that fast" in impossible_time("message_rate", 384, 1 << 20, (1 << 20) / 3e13)


@pytest.mark.needs("mpi")
def test_patterns_over_mpi_are_right_and_a_one_shot_reads_all_ranks(collbench, tmp_path):
    done = collbench("run", "--transport", "mpi", "--ranks", 2, "--group-ranks", 2, "--ops",
                     "message_rate,incast,all_reduce_one_shot", "-o", "sum,max", "--sizes", 64, "--case-seconds", 0.01,
                     "--samples", 2, "--out", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "r" / "journal.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["line"] == "record" and line["case"]["op"] != "noop"]
    assert {(line["case"]["op"], line["case"].get("redop"), line["status"]) for line in records} == {
        ("message_rate", None, "ok"), ("incast", None, "ok"), ("all_reduce_one_shot", "sum", "ok"),
        ("all_reduce_one_shot", "max", "ok")}
    assert all(line["verification"]["checks"] for line in records)
    assert "messages/s" in done.stdout
    assert "osc" not in done.stderr, "Open MPI tells of components that the window does not need"


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["torch", pytest.param("mpi", marks=pytest.mark.needs("mpi"))])
def test_all_patterns_are_right_over_eight_ranks(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 8, "--group-ranks", 8, "--ops",
                     "patterns,shared_memory", "--sizes", "64K", "--traffic", "fan,fan:2,halves,random-halves:4,"
                     "permutation:5,line,torus:2,torus:2x4,torus:3", "--case-seconds", 0.01, "--samples", 2, "--out",
                     tmp_path / "r")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "r" / "journal.jsonl").read_text().splitlines()]
    records = [line for line in lines if line["line"] == "record" and line["case"]["op"] != "noop"]
    status = {(line["case"]["op"], line["status"]) for line in records}
    one_shot = ("all_reduce_one_shot", "ok" if transport == "mpi" else "unsupported")
    assert status == {*((op, "ok") for op in PATTERNS), one_shot}
    assert all(line["reproduce"].endswith(f"--traffic {line['case']['traffic']}") for line in records
               if line["case"].get("traffic"))
