"""Workloads: calls counted by hand, times that add up, intervals that hold the figure, and answers that can be told."""

import json
import re
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.domains.facts import load_domains
from collbench.analysis.frames.load import load
from collbench.analysis.workload import Parallel, job_of, load_workloads, outcome_of, workload_named
from collbench.analysis.workload.answer import interval
from collbench.analysis.workload.compare import contest, crossings, narrowed
from collbench.analysis.workload.exchange import curve_at
from collbench.analysis.workload.measured import OnMachine
from collbench.analysis.workload.parallel import Group
from collbench.analysis.workload.place import target_of
from collbench.analysis.workload.price import KINDS, OnDomain
from collbench.analysis.workload.report import rows, words
from collbench.analysis.workload.study import study
from collbench.collectives.errors import UsageError
from collbench.launch.commands.workload import command

ROOT = Path(__file__).parent.parent
DOMAINS = load_domains()
DATA = ROOT / "analysis" / "data" / "workload"


def system(key, draws=500):
    return OnDomain(key, DOMAINS[key], draws)


def job(name, phase="decode", parallel=None, **options):
    key, workload = workload_named(name)
    return job_of(key, workload, phase, Parallel.parse(parallel) if parallel else None, **options)


def counted(found):
    """Calls by operation and axis."""
    total = {}
    for call, _ in found.uses:
        total[call.op, call.axis] = total.get((call.op, call.axis), 0) + call.count
    return total


def test_a_decode_step_of_deepseek_exchanges_twice_in_each_of_58_layers():
    found = job("deepseek-r1", parallel="ep=64,tp=1")
    assert counted(found) == {("moe_dispatch", "ep"): 58, ("moe_combine", "ep"): 58}
    dispatch, combine = (use.call for use in found.uses)
    # 128 tokens, 8 experts each, 7,168 values of FP8 with a scale of 4 bytes for each 128; BF16 on the way back.
    assert dispatch.bytes == 128 * 8 * (7168 + 7168 // 128 * 4)
    assert combine.bytes == 128 * 8 * 7168 * 2
    assert found.tokens == 128
    assert job("deepseek-v3").uses == found.uses, "R1 has the architecture of V3"


@pytest.mark.parametrize(("name", "parallel", "reduces"), [
    ("deepseek-r1", "tp=16", 2 * 61 + 1),       # attention and feed-forward of 61 layers, and the embedding
    ("llama-70b", "tp=8", 2 * 80 + 1), ("llama-405b", "tp=16", 2 * 126 + 1), ("qwen3-moe", "tp=8", 2 * 94 + 1)])
def test_all_reduces_of_a_decode_step_with_tensor_parallelism(name, parallel, reduces):
    found = job(name, parallel=parallel)
    assert counted(found) == {("all_reduce", "tp"): reduces, ("all_gather", "tp"): 1}
    assert found.tokens == found.batch / found.parallel.tp


def test_experts_replace_the_all_reduce_of_their_layers_and_share_the_tokens():
    found = job("deepseek-r1", parallel="ep=64,tp=4")
    assert counted(found) == {("all_reduce", "tp"): 61 + 3 + 1, ("all_gather", "tp"): 1,
                              ("moe_dispatch", "ep"): 58, ("moe_combine", "ep"): 58}
    dispatch = next(call for call, _ in found.uses if call.op == "moe_dispatch")
    assert dispatch.bytes == 128 // 4 * 8 * (7168 + 224)


def test_a_training_step_of_llama_70b_counted_by_hand():
    found = job("llama-70b", "training", "tp=8,fsdp=4,dp=2,pp=4", micro_batches=3)
    layers = 20
    assert counted(found) == {
        ("all_reduce", "tp"): 3 * (4 * layers + 2 + 3), ("all_gather", "fsdp"): 3 * (2 * layers + 4),
        ("reduce_scatter", "fsdp"): 3 * (layers + 2), ("all_reduce", "dp"): layers + 2, ("send_recv", "pp"): 3 * 2}
    sizes = {(call.op, call.axis, part): call.bytes for call, part in found.uses}
    weights = 8192 * (2 * 8192 + 2 * 1024 + 3 * 28672)      # of a layer: q, o; k, v; gate, up, down
    assert sizes["all_reduce", "tp", "layers, both directions"] == 8192 * 8192 * 2
    assert sizes["all_gather", "fsdp", "weights"] == weights // 8 * 2
    assert sizes["reduce_scatter", "fsdp", "gradients"] == weights // 8 * 4
    assert sizes["all_reduce", "dp", "gradients"] == weights // 8 * 4 // 4
    # 8 sequences of 8,192 tokens in each of 3 micro-batches, over 256 ranks.
    assert found.tokens == 8192 * 3 * 8 / 256


def test_weights_that_stay_gathered_are_gathered_once_a_step():
    found = counted(job("llama-405b", "training"))
    assert (found["all_gather", "fsdp"], found["reduce_scatter", "fsdp"]) == (8 + 2, 8 + 2)      # of 126 / 16 layers
    assert found["all_reduce", "tp"] == 32 * (4 * 8 + 2 + 3)


@pytest.mark.parametrize(("name", "billions"), [("llama-70b", 70.6), ("llama-405b", 405.9)])
def test_the_sizes_of_a_dense_model_give_its_published_parameters(name, billions):
    model = load_workloads()[name].model
    total = model.layer_parameters * model.layers.value + 2 * model.embedding_parameters
    assert total / 1e9 == pytest.approx(billions, rel=0.002)


def test_every_fact_of_a_shipped_workload_has_a_source():
    for file in (DATA / "models").glob("*.toml"):
        workload = workload_named(str(file))[1]
        assert workload.phases
        for name in workload.model.__struct_fields__:
            number = getattr(workload.model, name)
            assert number is None or len(number.source) > 5


def test_the_shipped_table_of_the_ascend_exchange_follows_from_what_is_printed():
    printed = {("moe_dispatch", 8): 146, ("moe_dispatch", 128): 57, ("moe_combine", 64): 91}      # GB/s
    table = load(DATA / "exchange_a3.csv").points
    for (op, ranks), rate in printed.items():
        each = 256 // ranks
        goes_to = ranks * (1 - comb(256 - each, 8) / comb(256, 8))
        width = 1 if op == "moe_dispatch" else 2
        row = table[table["op"].eq(op) & table["ranks"].eq(ranks) & table["message_bytes"].gt(1 << 27)]
        assert row["time_s"].item() == pytest.approx(4096 * goes_to * 7168 * width / rate / 1e9, rel=1e-3)


def test_a_measured_exchange_is_the_published_time():
    found = outcome_of(job("deepseek-r1", parallel="ep=32", tokens=96), system("nvl72"))
    times = {one.call.op: (interval(one.time_s).middle, one.kind) for one in found.priced}
    assert times["moe_combine"] == (pytest.approx(43.82e-6, rel=0.01), "measured")      # 96 tokens over 32 GPUs
    a3 = outcome_of(job("deepseek-r1", parallel="ep=16"), system("cm384"))
    assert interval(a3.priced[1].time_s).middle == pytest.approx(135e-6, rel=0.01)
    assert a3.place == (16, 8, 16 / 768, "die")


def test_the_communication_of_cloudmatrix_is_near_what_is_published_of_a_token():
    """arXiv:2506.12708: 96 requests an NPU over 320 dies take 49.4 ms a token. arXiv:2607.06202: communication is about
    half of it, as ranks wait for each other, and 20 % of the time that hardware is busy."""
    found = outcome_of(job("deepseek-r1", parallel="ep=320", tokens=48), system("cm384"))
    low, _, high = interval(found.communication_s / 49.4e-3)
    assert low < 0.5
    assert high > 0.2
    assert 0.05 < low < high < 1


@pytest.mark.slow
def test_an_exchange_is_not_forecast_faster_than_over_fewer_ranks():
    for key, ranks in (("nvl72", (32, 64, 72)), ("cm384", (32, 64, 72, 144, 320))):
        for op in ("moe_dispatch", "moe_combine"):
            curves = [curve_at(key, DOMAINS[key], op, count) for count in ranks]
            assert all((curve.middle_s >= curves[0].middle_s * 0.999).all() for curve in curves)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["nvl72", "cm384"]), st.sampled_from([8, 64, 144]), st.integers(1, 20000), st.integers(1, 20000))
def test_more_tokens_never_take_less_time_and_intervals_hold_the_middle(key, ranks, some, more):
    some, more = sorted((some, more))
    here = system(key, 100)
    less, greater = (outcome_of(job("deepseek-r1", parallel=f"ep={ranks}", tokens=tokens), here)
                     for tokens in (some, more))
    assert (less.communication_s <= greater.communication_s * (1 + 1e-9)).all()
    low, middle, high = interval(greater.communication_s)
    assert 0 < low <= middle <= high
    assert less.kind in KINDS


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(["llama-70b", "llama-405b", "qwen3-moe"]), st.integers(1, 4096), st.sampled_from([2, 4, 8]))
def test_a_step_is_the_sum_of_its_calls(name, tokens, ranks):
    found = outcome_of(job(name, parallel=f"tp={ranks}", tokens=tokens), system("cm384", 100))
    total = sum(one.time_s * one.call.count for one in found.priced)
    assert np.allclose(found.communication_s, total)
    assert sum(share for *_, share in found.shares()) == pytest.approx(1)
    serial, overlapped = found.step_s()
    assert (serial == overlapped).all(), "nothing is computed, so nothing is hidden"


@pytest.mark.parametrize("compute_s", [(1.0, 2.0), (0.01, 0.02)], ids=["much", "little"])
def test_overlap_hides_what_may_overlap_and_no_more(compute_s):
    one = job("llama-70b", "training")
    found = outcome_of(one, system("nvl72"), {"": compute_s})
    serial, overlapped = found.step_s()
    exposed_serial, exposed = found.exposed_s()
    assert (overlapped <= serial).all()
    assert np.allclose(serial - found.compute_s, exposed_serial)
    hidden = sum(call.time_s * call.call.count for call in found.priced if call.call.overlap)
    assert np.allclose(exposed, exposed_serial - np.minimum(hidden, found.compute_s))
    assert np.allclose(overlapped, found.compute_s + exposed)
    assert {call.call.axis for call in found.priced if not call.call.overlap} == {"tp"}
    rates = {rate.measure: rate for rate in found.rates}
    assert np.allclose(rates["per domain"].serial, 72 * rates["per accelerator"].serial)
    assert np.allclose(rates["per accelerator"].serial, 4096 / serial)


def test_draws_of_one_system_belong_together_and_those_of_two_do_not():
    step = job("llama-70b", "training")
    one = outcome_of(step, system("nvl72"))
    by_op = {(call.call.op, call.call.axis): np.log(call.time_s) for call in one.priced}
    together = np.corrcoef(by_op["all_gather", "fsdp"], by_op["reduce_scatter", "fsdp"])[0, 1]
    other = outcome_of(step, system("cm384"))
    apart = np.corrcoef(by_op["all_gather", "fsdp"], np.log(other.priced[3].time_s))[0, 1]
    assert together > 0.7 > 0.2 > abs(apart)


def test_a_strided_group_sees_the_outer_levels_and_a_long_one_the_network():
    cm384, nvl72 = DOMAINS["cm384"], DOMAINS["nvl72"]
    inner, outside = target_of("cm384", cm384, Group(8, 1))
    assert ([level.ranks for level in inner.levels()], outside) == ([2, 768], False)
    assert inner.levels()[-1].rate_Bps.value == 196e9, "a die has half of its NPU's rate"
    apart, _ = target_of("cm384", cm384, Group(8, 16))
    assert [(level.ranks, level.rate_Bps.value) for level in apart.levels()] == [(48, 196e9)]
    beyond, outside = target_of("nvl72", nvl72, Group(16, 8))
    assert ([(level.ranks, level.rate_Bps.value) for level in beyond.levels()], outside) == \
        ([(9, 900e9), (16, 50e9)], True)
    assert beyond.domain.in_network_reduction is None
    step = job("llama-70b", "training", "tp=8,fsdp=8,dp=16")
    assert system("cm384", 50).reach(step) == {"tp": "UnifiedBus inside a node", "fsdp": "UnifiedBus between nodes",
                                               "dp": "network between domains"}


def test_beyond_its_domain_an_exchange_goes_through_cards():
    inside, beyond = (outcome_of(job("deepseek-r1", parallel=f"ep={ranks}"), system("nvl72")) for ranks in (72, 144))
    assert (inside.kind, beyond.kind) == ("extrapolated", "projected")
    assert "leaves the domain" in beyond.priced[0].reason
    assert interval(beyond.communication_s).low > interval(inside.communication_s).high
    # DeepEP over such cards takes 192 and 369 us over 128 ranks; half of the traffic need not leave two racks.
    assert 58 * 0.5 * 561e-6 < interval(beyond.communication_s).middle < 58 * 1.2 * 561e-6


def test_the_two_domains_change_places_where_experts_no_longer_fit_into_one_rack():
    key, workload = workload_named("deepseek-r1")
    report = study(key, workload, "decode", [system("nvl72"), system("cm384")])
    assert [one[:4] + one[4:5] for one in report.crossings if one.knob == "ep"] == \
        [("ep", measure, 72, 144, "cm384") for measure in ("per accelerator", "per watt")]
    assert report.contest.ahead["per domain"] < 0.05 < 0.9 < report.contest.ahead["per accelerator"]
    best = report.narrowed[0]
    assert best.after < best.before
    assert "moe_" in best.what
    text = "\n".join(words(report))
    assert "between 72 and 144 cm384 takes the lead" in text
    assert dict(zip(("name", "cells"), (rows(report)[-1].name, rows(report)[-1].cells), strict=True)) == \
        {"name": "figures are", "cells": ("extrapolated", "extrapolated")}


def test_a_system_compared_with_itself_is_ahead_of_itself_in_half_of_nothing():
    same = outcome_of(job("deepseek-r1"), system("nvl72"))
    assert contest(same, same).ahead["per accelerator"] == 0
    assert crossings("tokens", [(1, job("deepseek-r1"))], (system("nvl72"), system("cm384")), {})[1] == []
    jobs = [(ranks, job("deepseek-r1", parallel=f"ep={ranks}")) for ranks in (4, 8, 16)]
    assert crossings("ep", jobs, (system("hgx_h100_8", 50), system("mi300x_8", 50)), {})[0] == [4, 8], "16 do not fit"
    (only,) = {one.system for one in narrowed([same], [system("nvl72")], {})}
    assert only == "nvl72"


def test_a_measured_machine_is_used_as_measured_and_says_what_is_missing():
    points = load(ROOT / "docs" / "examples" / "hgx-h100-8.csv").points
    machine = OnMachine(Path("mine.csv"), points, ("hgx_h100_8", DOMAINS["hgx_h100_8"]), 200)
    found = outcome_of(job("llama-70b"), machine)
    reduce = found.priced[0]
    assert reduce.kind == "measured"
    own = points[points["op"].eq("all_reduce") & points["message_bytes"].eq(1 << 20)]["time_s"]
    assert own.min() * 0.99 <= interval(reduce.time_s).middle <= own.max() * 1.01
    missing = outcome_of(job("llama-70b", "training", "tp=4,fsdp=2,pp=2"), machine)
    assert missing.communication_s is None
    assert missing.rates == ()
    assert "was not measured: collbench bench --ops send_recv" in missing.unknown[0].reason


@pytest.mark.slow
def test_a_routing_pattern_gives_the_bytes_of_the_busiest_rank():
    key, workload = workload_named("deepseek-r1")
    systems = [system("nvl72", 50)]
    even, uneven = (study(key, workload, "decode", systems, imbalance=text) for text in ("balanced", "hot-expert"))
    assert even.imbalance == 1
    assert 1.5 < uneven.imbalance < 64
    assert uneven.job.uses[0].call.bytes == int(128 * 8 * 7168 * 1.03125 * uneven.imbalance)
    with pytest.raises(UsageError, match="there is no pattern 'nonsense'"):
        study(key, workload, "decode", systems, imbalance="nonsense")
    with pytest.raises(UsageError, match="needs a model with experts"):
        study(*workload_named("llama-70b"), "decode", systems, imbalance="hot-expert")


def test_a_domain_without_facts_is_refused():
    with pytest.raises(UsageError, match="no source gives its number of accelerators and the rate"):
        outcome_of(job("llama-70b"), system("rubin_ultra_nvl576", 50))


def test_no_table_answers_for_another_domain():
    assert curve_at("hgx_h100_8", DOMAINS["hgx_h100_8"], "moe_dispatch", 8) is None
    found = outcome_of(job("deepseek-r1", parallel="ep=8"), system("hgx_h100_8", 50))
    assert found.kind == "projected"
    assert "as all_to_all_v" in found.priced[0].reason


def test_the_command_answers_in_25_lines_of_80_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["deepseek-r1", "--parallel", "ep=64,tp=1", "--tokens", "128", "--compute",
                                        "8..12ms", "--json", "out.json", "--markdown", "out.md"],
                              env={"COLUMNS": "80"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert len(lines) <= 25
    assert max(map(len, lines)) <= 80
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["systems"][0]["step_s"]["overlapped"]["low"] >= 8e-3
    assert {call["kind"] for one in found["systems"] for call in one["calls"]} <= set(KINDS)
    page = (tmp_path / "out.md").read_text()
    assert page.startswith("## deepseek-r1 decode: EP 64; 128 tokens a step, 116 calls\n")
    assert re.search(r"\| communication a step \| \d\.\d+ ms \(", page)


def test_a_measured_exchange_of_collbench_counts_each_token_once():
    tokens, hidden, ranks = 128, 7168, 8
    like = load(ROOT / "docs" / "examples" / "hgx-h100-8.csv").points.iloc[[0]]
    points = pd.concat([like.assign(op=op, ranks=count, message_bytes=size, asked_bytes=size, dtype="bfloat16",
                                    traffic=traffic, time_s=size * count * slow / 1e9, mode="isolated")
                        for op in ("moe_dispatch", "moe_combine") for count in (2, 4, 8)
                        for traffic, slow in (("uniform", 1), ("zipf", 9))
                        for size in (tokens * hidden, 2 * tokens * hidden, 4 * tokens * hidden)], ignore_index=True)
    found = outcome_of(job("deepseek-r1", parallel="ep=8"), OnMachine(Path("r"), points, None, 200))
    combine = found.priced[1]
    assert combine.kind == "measured"
    # The results of 128 tokens in bfloat16 are 2 x 128 x 7168 bytes of one rank, however many copies there are.
    assert interval(combine.time_s).middle == pytest.approx(2 * tokens * hidden * ranks / 1e9, rel=0.02)


def test_a_degree_of_zero_is_named():
    with pytest.raises(UsageError, match="a degree of 0 in --parallel"):
        Parallel.parse("ep=0")
