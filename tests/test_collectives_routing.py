"""The router of the mixture-of-experts exchange: which ranks the tokens go to."""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.collectives.cases import moe_patterns, moe_recorded, moe_workload, routing
from collbench.collectives.cases.moe_workload import combine_dtype, is_workload, parse_workload, token_bytes
from collbench.collectives.errors import UsageError

TABLE = "# counts of 6 experts\n5, 0, 1, 9, 4, 1\n1, 1, 1, 1, 1, 7\n"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("recorded") / "counts.csv"
    path.write_text(TABLE)
    return f"recorded:{path}:topk=2"


def every_pattern(recorded):
    return [recorded if pattern.recorded else name for name, pattern in moe_patterns.PATTERNS.items()]


workloads = st.builds(
    lambda name, experts, topk, seed, redundant, placement: ":".join(
        [name, f"experts={experts}", f"topk={min(topk, experts // 4 or 1)}", f"seed={seed}", f"redundant={redundant}",
         f"placement={placement}"]),
    st.sampled_from([name for name, pattern in moe_patterns.PATTERNS.items() if not pattern.recorded]),
    st.integers(1, 40), st.integers(1, 8), st.integers(0, 5), st.sampled_from([0, 0, 3]),
    st.sampled_from(["block", "round-robin"]))


@settings(max_examples=40, deadline=None)
@given(workloads, st.integers(1, 9), st.integers(1, 30), st.integers(0, 9))
def test_rows_are_those_of_the_tokens_one_by_one(text, ranks, tokens, step):
    """Loads, expert loads and picks agree with counting tokens; every token has top-k different experts."""
    work, held = parse_workload(text), routing.source_tokens(text, ranks, tokens)
    served = routing.holders(text, ranks)
    rows, selected = np.zeros((ranks, ranks), int), np.zeros(work.experts, int)
    for source in range(ranks):
        chosen = routing.picks(text, ranks, tokens, source, step)
        assert chosen.shape == (held[source], work.topk)
        for experts in chosen.tolist():
            assert len(set(experts)) == work.topk
            assert set(experts) <= set(range(work.experts))
            selected[experts] += 1
            for rank in {int(served[source, expert]) for expert in experts}:
                rows[source, rank] += 1
    np.testing.assert_array_equal(routing.loads(text, ranks, tokens, step), rows)
    np.testing.assert_array_equal(routing.expert_loads(text, ranks, tokens, step), selected)


def test_every_pattern_repeats_after_its_steps_and_differs_within_them(recorded):
    for text in every_pattern(recorded):
        steps = [routing.loads(text, 8, 64, step).tolist() for step in range(5)]
        assert steps[0] == steps[4]
        assert len({str(step) for step in steps}) == (1 if text == "balanced" else 4), text


def test_balanced_gives_every_expert_and_rank_the_same():
    assert set(routing.expert_loads("balanced", 8, 64).tolist()) == {8 * 64 * 8 // 256}
    for text in ("balanced", "balanced:placement=round-robin"):
        assert routing.loads(text, 8, 3).tolist() == [[3] * 8] * 8      # each token goes to all 8 ranks
    sixteen = routing.loads("balanced", 16, 64)
    assert set(sixteen.sum(1).tolist()) == {64 * 8}
    assert set(sixteen.sum(0).tolist()) == {64 * 8}


def test_zipf_shares_are_those_of_the_capped_distribution():
    tokens, ranks, topk, experts = 4096, 4, 8, 64
    found = sorted(routing.expert_loads(f"zipf:1.2:experts={experts}", ranks, tokens) / (ranks * tokens), reverse=True)
    weights = [k ** -1.2 for k in range(1, experts + 1)]
    always = next(n for n in range(topk) if (topk - n) * weights[n] <= sum(weights[n:]))
    expected = [1.0] * always + [(topk - always) * weight / sum(weights[always:]) for weight in weights[always:]]
    assert always == 2
    assert math.isclose(sum(expected), topk)
    for share, wanted in zip(found, sorted(expected, reverse=True), strict=True):
        assert abs(share - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / (ranks * tokens)) + 1e-12


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=30), st.integers(1, 8))
def test_shares_add_up_to_the_top_k_and_none_exceeds_all_tokens(weights, topk):
    if sum(map(bool, weights)) < topk:
        return
    found = routing.shares(tuple(weights), topk)
    assert sum(found) == topk << 32
    assert max(found) <= 1 << 32
    assert all(bool(weight) or not share for weight, share in zip(weights, found, strict=True))


def imbalance(text, ranks=8, tokens=512, step=0):
    received = routing.loads(text, ranks, tokens, step).sum(0)
    return received.max() / received.mean()


def test_patterns_skew_what_their_names_say():
    hot = [int(routing.loads("rotating", 8, 512, step).sum(0).argmax()) for step in range(4)]
    assert len(set(hot)) == 4
    assert imbalance("hot-rank") > 1.4
    assert imbalance("spread-hot") < 1.05 < imbalance("hot-expert")
    expert_loads = routing.expert_loads("spread-hot", 8, 512)
    assert sorted(expert_loads)[-8] > 5 * np.median(expert_loads)
    assert [imbalance("burst", step=step) > 1.4 for step in range(4)] == [False, False, False, True]
    assert sorted(routing.loads("zero", 8, 512).sum(0) == 0) == [False] * 4 + [True] * 4
    assert sorted(routing.source_tokens("ragged:4", 4, 512)) == [128, 256, 384, 512]
    assert imbalance("zipf:1.2:redundant=32") < 1.25 < imbalance("zipf:1.2")


def test_recorded_counts_are_the_shares(recorded):
    found = routing.expert_loads(recorded + ":steps=2", 2, 20000) / 40000
    expected = np.array([5, 0, 1, 9, 4, 1]) / 20 * 2
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert routing.expert_loads(recorded + ":steps=2", 2, 1000, 1).argmax() == 5


def test_routing_is_the_same_everywhere_and_forever():
    """Keys of stored results name these numbers, so they must not change with a machine, a release or numpy."""
    texts = ["balanced", "uniform", "zipf:1.2", "hot-expert", "hot-rank:8:seed=7", "zero", "ragged", "zipf:redundant=9"]
    digest = hashlib.sha256()
    for text in texts:
        for step in (0, 3):
            digest.update(routing.loads(text, 12, 40, step).astype("<i8").tobytes())
            digest.update(routing.picks(text, 12, 40, 5, step).astype("<i4").tobytes())
    assert digest.hexdigest()[:16] == "8d2a1af4c8889c0e"


@pytest.mark.parametrize(("written", "canonical"), [
    ("zipf:1.20", "zipf:1.2"), ("zipf:1", "zipf"), ("zipf:exponent=1.2", "zipf:1.2"),
    ("zipf:1.2:topk=4:hidden=4096:seed=0:via=gather", "zipf:1.2:hidden=4096:topk=4:via=gather"),
    ("hot-expert:count=2:factor=4", "hot-expert:4:count=2"), ("uniform:group=4", "uniform"),
    ("uniform:group=4:via=two-stage", "uniform:group=4:via=two-stage")])
def test_canonical_text_is_read_back(written, canonical):
    assert parse_workload(written).text == canonical == parse_workload(canonical).text


@pytest.mark.parametrize(("text", "message"), [
    ("zip", "there is no pattern 'zip'"), ("zipf:9", "exponent must be a number from 0 to 8"),
    ("zipf:1:2", "no parameter '2'"), ("zipf:1:topk=300", "topk=300 of 256 experts"),
    ("uniform:via=magic", "via must be one of counts, gather, two-stage"),
    ("zipf:seed=1:seed=2", "seed is given twice"),
    ("recorded", "recorded needs the name"), ("recorded:nowhere.csv", "cannot read nowhere.csv"),
    ("recorded:nothing", "there is no recorded table 'nothing'")])
def test_what_cannot_be_read_is_told_in_one_line(text, message):
    with pytest.raises(UsageError, match=message) as raised:
        parse_workload(text)
    assert "\n" not in str(raised.value)


def test_a_table_of_the_user_is_known_by_its_numbers(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text(TABLE)
    text = parse_workload(f"recorded:{path}:topk=2").text
    assert text.startswith(f"recorded:{path}:digest=")
    assert text.endswith(":topk=2:experts=6")
    other = text.replace(text.split(":")[2], "digest=00000000")
    with pytest.raises(UsageError, match="has changed"):
        routing.loads(other, 2, 8)
    assert is_workload(text)
    path.unlink()
    moe_recorded.counts.cache_clear()
    assert not is_workload(text)        # nothing can be computed from it
    assert parse_workload(other).text == other      # where results are read, the file need not be there
    path.write_text("1, 2\n1, x\n")
    with pytest.raises(UsageError, match=r"counts\.csv:2: expected whole numbers"):
        parse_workload(f"recorded:{path}:topk=1")


def test_more_experts_selected_than_have_tokens_is_refused():
    with pytest.raises(UsageError, match="4 of 8 experts have tokens"):
        routing.loads("zero:experts=8", 2, 4)


def test_token_bytes_include_the_scales():
    work = parse_workload("uniform")
    assert [token_bytes(work, dtype) for dtype in ("bfloat16", "fp8_e4m3", "int8", "float32")] == [
        14336, 7168 + 56 * 4, 7168 + 4, 28672]
    assert token_bytes(parse_workload("uniform:hidden=130"), "fp8_e4m3") == 130 + 8
    assert [combine_dtype(dtype) for dtype in ("fp8_e4m3", "int8", "float16")] == ["bfloat16", "bfloat16", "float16"]
    with pytest.raises(UsageError, match="element type int32"):
        token_bytes(work, "int32")


def test_the_grammar_needs_no_numpy():
    probe = ("import sys; sys.modules['numpy'] = None; from collbench.collectives.cases import moe_workload, routing; "
             "moe_workload.parse_workload('zipf:1.2')")
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_patterns_are_listed_for_help():
    assert "hot-expert[:FACTOR][:count=N]" in moe_workload.spellings()
