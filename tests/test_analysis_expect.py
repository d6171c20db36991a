"""What to expect without measuring: the source that decides, and gates for other tools that hold on real systems."""

import ast
import json
import re

import numpy as np
import pytest

from collbench.analysis.cost.cards import with_cards
from collbench.analysis.cost.wires import wire_time_s
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.expect import FORMATS, expect, expect_from, thresholds
from collbench.analysis.expect.expectation import BOUND, EXTRAPOLATED, PROJECTED, PUBLISHED
from collbench.analysis.expect.thresholds import least_busbw_Bps, metric
from collbench.analysis.frames.load import load
from collbench.collectives.errors import UsageError
from collbench.launch.commands.expect import command

DOMAINS = load_domains()
GIB = 1 << 30


@pytest.fixture(scope="module")
def perlmutter(request):
    """NCCL on the A100 of Perlmutter, 4 on each of 2 to 32 hosts, as published."""
    data = request.config.rootpath / "analysis" / "data" / "validation" / "perlmutter_frontier_umd_gpu.csv"
    points = load(data).points
    return data, points[points["library"].eq("NCCL")]


def one(op, key, ranks, size, nic=None):
    domains = with_cards(DOMAINS, nic)
    (found,) = expect([op], key, domains[key], [ranks], [size], DOMAINS[key])
    return found


def test_published_runs_go_first_then_a_projection_or_an_extrapolation_then_the_bound():
    two_hosts = one("all_reduce", "hgx_h100_8", 16, GIB)
    assert (two_hosts.kind, two_hosts.hosts) == (PUBLISHED, 2)
    assert 200e9 < two_hosts.busbw_Bps(two_hosts.time_s) < 450e9
    assert "oracle-quickstart/oci-hpc" in two_hosts.source
    assert two_hosts.assumption == "2 hosts, 8x400G cards per host, from the facts of hgx_h100_8"
    # The same cards, stated; half of them: nobody published that, so the runs of one host are extrapolated over them.
    assert one("all_reduce", "hgx_h100_8", 16, GIB, "8x400G").time_s == two_hosts.time_s
    slow = one("all_reduce", "hgx_h100_8", 16, GIB, "4x200G")
    assert (slow.kind, slow.assumption) == (EXTRAPOLATED, "2 hosts, 4x200G cards per host, as stated")
    assert slow.time_s >= slow.bound_s > two_hosts.time_s
    assert one("all_reduce", "nvl72", 32, 64 << 20).kind == PROJECTED
    bound = one("broadcast", "nvl72", 72, GIB)
    assert (bound.kind, bound.time_lo_s, bound.time_s) == (BOUND, None, bound.bound_s)
    with pytest.raises(UsageError, match="nothing to expect of it"):
        one("copy", "nvl72", 72, GIB)


@pytest.mark.parametrize("key", ["hgx_h100_8", "dgx_a100_8", "nvl72", "cm384", "mi300x_8"])
def test_no_interval_promises_more_than_links_and_cards_carry(key):
    sizes = [1 << 10, 1 << 20, GIB]
    for case in expect(["all_reduce", "all_gather"], key, DOMAINS[key], [8, 16], sizes):
        (bound,) = wire_time_s(case.op, case.ranks, np.array([case.message_bytes], float), DOMAINS[key], [])
        assert case.bound_s == pytest.approx(bound)
        if case.kind != BOUND:
            assert min(bound, case.time_s) * (1 - 1e-9) <= case.time_lo_s <= case.time_s <= case.time_hi_s
        assert case.reason
        assert case.source


@pytest.mark.parametrize("op", ["all_reduce", "all_gather", "reduce_scatter"])
def test_a_gate_from_8_to_32_ranks_passes_the_real_64_and_fails_them_a_fifth_slower(perlmutter, op):
    data, points = perlmutter
    actual = points[points["ranks"].eq(64) & points["op"].eq(op) & (points["message_bytes"] >= 256 << 20)]
    assert len(actual) >= 3
    sizes = sorted(actual["message_bytes"].astype(int))
    cases = expect_from(data, points[points["ranks"] <= 32], [op], None, [64], sizes)
    least = {case.message_bytes: least_busbw_Bps(case) for case in cases}
    for row in actual.itertuples():
        assert 0.8 * row.busbw_Bps < least[row.message_bytes] < row.busbw_Bps, row.message_bytes


def test_the_thresholds_of_each_format_are_the_same_in_its_own_words():
    cases = expect(["all_reduce", "all_to_all"], "hgx_h100_8", DOMAINS["hgx_h100_8"], [8], [1 << 20, GIB])
    cases += expect(["broadcast"], "nvl72", DOMAINS["nvl72"], [72], [GIB])      # a bound, which is no threshold
    least = {metric(case): least_busbw_Bps(case) / 1e9 for case in cases if case.kind != BOUND}
    assert len(least) == 4
    texts = {form: thresholds(cases, form) for form in FORMATS}
    scope: dict = {}
    exec(compile(ast.parse(texts["reframe"]), "reference.py", "exec"), scope)
    told = scope["reference"]["*"]
    assert {name: value * (1 + low) for name, (value, low, _, _) in told.items()} == pytest.approx(least, rel=1e-3)
    assert {unit for *_, unit in told.values()} == {"GB/s"}
    # SuperBench matches a rule's expressions with its metrics, and takes what meets the criteria for a defect.
    rules = re.findall(r"^    (\w+):\n +function: value\n +criteria: '(.+)'\n +categories: NCCL\n +metrics:\n +- "
                       r"'(.+)'$", texts["superbench"], re.MULTILINE)
    assert {name for name, *_ in rules} == set(least)
    for name, criteria, _ in rules:
        defect = eval(criteria)
        assert (defect(0.99 * least[name]), defect(1.01 * least[name])) == (True, False)
    by_size = {name: expression for name, _, expression in rules}
    assert re.fullmatch(by_size[f"all_reduce_8_{GIB}_busbw"], "nccl-bw:nvlink/allreduce_1073741824_busbw:0")
    yaml = re.findall(r"- op: (\w+)\n +ranks: (\d+)\n +message_bytes: (\d+)\n +busbw_GBps_least: (\S+)", texts["yaml"])
    told = {f"{op}_{ranks}_{size}_busbw": float(value) for op, ranks, size, value in yaml}
    assert told == pytest.approx(least, rel=1e-5)


def test_the_command_prints_a_table_a_document_and_a_gate(collbench, tmp_path):
    done = collbench("expect", "all_reduce,allgather", "--domain", "h100", "--ranks", "8,16", "--size", "1M,1G",
                     "--thresholds", "gate.yaml", "--json", "-")
    assert done.returncode == 0
    assert len([line for line in done.stderr.splitlines() if line.startswith("all_")]) == 8
    assert "8x400G cards per host" in " ".join(done.stderr.split())
    assert (tmp_path / "gate.yaml").read_text().count("- op:") == 8
    document = json.loads(done.stdout)
    assert (document["document"], document["schema"], len(document["expectations"])) == ("collbench expect", 1, 8)
    assert {"time_s", "algbw_Bps", "busbw_Bps", "busbw_lo_Bps", "source", "reason", "assumption"} <= \
        set(document["expectations"][0])
    (form,) = (one for one in command.params if one.name == "form")
    assert set(form.type.choices) == set(FORMATS)
    refused = collbench("expect", "all_reduce", "--ranks", "16")
    assert (refused.returncode, "--domain is missing" in refused.stderr) == (2, True)
