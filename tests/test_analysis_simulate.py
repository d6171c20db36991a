"""Two independent sources, the simulator and our formulas, agree; extrapolation holds against simulated times."""

import importlib.util
import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.backtest import backtest, load_rows
from collbench.analysis.cost.algorithms import ALGORITHMS as REGISTRY
from collbench.analysis.cost.algorithms import algorithm_named, profile
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.frames.load import load
from collbench.analysis.simulate import (
    ALGORITHMS,
    COLUMNS,
    Machine,
    MachineLevel,
    SimulatedCase,
    cases_of,
    machine_of,
    platform,
    run_cases,
)
from collbench.analysis.simulate.machine import _sides
from collbench.collectives.errors import CollbenchError, UsageError

ROOT = Path(__file__).parent.parent
TRUTH = ROOT / "analysis" / "data" / "simulated"
DOMAINS = load_domains()
CROSSBAR = Machine("crossbar", (MachineLevel("switch", 0, 900e9, 0.5e-6),))
SIZES = (1 << 10, 1 << 20, 1 << 28)

# µs by SimGrid 3.32: (operation, SMPI's algorithm, ranks) -> times of 1 KiB, 1 MiB, 256 MiB.
GOLDEN = {
    ("all_reduce", "lr", 8): (7.002, 9.039, 528.958), ("all_reduce", "rdb", 8): (1.503, 4.995, 896.285),
    ("all_reduce", "rab_rdb", 8): (3.002, 5.039, 524.958), ("all_reduce", "lr", 72): (75.008, 77.305, 663.243),
    ("all_reduce", "rdb", 72): (4.009, 13.321, 2390.093), ("all_reduce", "rab_rdb", 72): (7.005, 11.624, 1190.726),
    ("all_to_all", "ring", 64): (31.502, 32.648, 325.102), ("all_to_all", "ring", 72): (35.502, 36.650, 329.620),
    ("all_to_all", "bruck", 8): (1.502, 3.248, 448.892),
}
# 256 MiB over 64 ranks in nodes of 8, 392 GB/s, 0.3 µs a link: uplinks of the full and of a quarter rate. These
# were timed after a barrier, which ranks leave up to 0.602 µs apart; ours start together.
TWO_TIERS = {("all_reduce", "lr"): (1499.976, 1499.976), ("all_reduce", "rdb"): (4114.708, 10277.768),
             ("all_reduce", "rab_rdb"): (1359.572, 1808.962), ("all_to_all", "ring"): (750.289, 2483.656)}
SKEW_US = 0.602


@pytest.fixture(scope="module")
def simgrid():
    if not shutil.which("smpirun"):
        pytest.skip("SKIPPED: SimGrid is not installed (apt-get install libsimgrid-dev)")


def simulated_us(machine, op, smpi, ranks, sizes):
    """Times in µs by message size, without rounding the size."""
    rows = run_cases(machine, [SimulatedCase(op, smpi, smpi, ranks, size, size) for size in sizes], 60, 2).rows
    return [rows.set_index("message_bytes")["time_us"][size] for size in sizes]


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_simulator_on_a_crossbar_gives_the_published_values(simgrid, key):
    assert simulated_us(CROSSBAR, *key, SIZES) == pytest.approx(GOLDEN[key], abs=1.5e-3)


@pytest.mark.parametrize("key", TWO_TIERS, ids=str)
def test_simulator_on_two_tiers_gives_the_published_values(simgrid, key):
    for uplink_Bps, golden in zip((392e9, 98e9), TWO_TIERS[key], strict=True):
        machine = Machine("two", (MachineLevel("node", 8, 392e9, 0.6e-6),
                                  MachineLevel("spine", 384, uplink_Bps, 1.2e-6)))
        (found,) = simulated_us(machine, *key, 64, [1 << 28])
        assert found + SKEW_US == pytest.approx(golden, abs=1.5e-3)


def test_each_step_costs_latency_and_rate_of_the_level_it_crosses(simgrid):
    """Three switch levels, each with half the rate and twice the latency: the cost of recursive doubling is known."""
    machine = Machine("three", (MachineLevel("a", 4, 400e9, 1e-6), MachineLevel("b", 16, 200e9, 2e-6),
                                MachineLevel("c", 64, 100e9, 4e-6)))
    for size in (4, 64 << 20):
        steps = [level.latency_s * 1e6 + size / level.rate_Bps * 1e6 for level in machine.levels]
        for ranks, crossed in ((4, (2, 0, 0)), (8, (2, 1, 0)), (64, (2, 2, 2))):
            (found,) = simulated_us(machine, "all_reduce", "rdb", ranks, [size])
            assert found == pytest.approx(sum(n * step for n, step in zip(crossed, steps, strict=True)), abs=2e-3)


def formula_us(machine, op, name, ranks, size):
    """The registry's cost: steps and bytes of each level at its latency and rate."""
    algorithm = algorithm_named(op, name)
    cost = profile(algorithm, ranks, tuple(level.ranks for level in machine.levels[:-1] if level.ranks < ranks))
    return 1e6 * sum(steps * level.latency_s + share * size / level.rate_Bps
                     for steps, share, level in zip(cost.steps, cost.shares, machine.levels, strict=False))


@pytest.mark.parametrize("op", ALGORITHMS)
def test_simulator_and_formulas_agree_on_a_crossbar(simgrid, op):
    """12 ranks, not a power of two, where algorithms have special cases; message sizes divide evenly."""
    sizes = (3 << 10, 3 << 20) if op != "barrier" else (0,)
    for name, smpi in ALGORITHMS[op].items():
        found = simulated_us(CROSSBAR, op, smpi, 12, sizes)
        assert found == pytest.approx([formula_us(CROSSBAR, op, name, 12, size) for size in sizes], abs=2e-3), name


@pytest.mark.parametrize("domain", ["nvl72", "cm384"])
def test_formulas_agree_with_shipped_truth(domain):
    """Without SimGrid: every algorithm at every rank count, over the levels of the machine."""
    machine = machine_of(domain, DOMAINS[domain])
    truth = pd.read_csv(TRUTH / f"{domain}.csv")
    for row in truth.itertuples():
        predicted_us = formula_us(machine, row.collective, row.algorithm, row.n_ranks, row.message_bytes)
        assert predicted_us == pytest.approx(row.time_us, rel=1e-3), row


def test_every_simulated_algorithm_is_in_the_registry():
    for op, names in ALGORITHMS.items():
        assert set(names) <= {algorithm.name for algorithm in REGISTRY[op]}


@pytest.fixture(scope="module")
def judge():
    spec = importlib.util.spec_from_file_location("judge", ROOT / "benchmarks" / "judge.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("domain", "levels", "most"), [("nvl72", "one level", 16), ("cm384", "domain file", 8)])
def test_intervals_cover_the_simulated_times_of_the_whole_domain(judge, monkeypatch, domain, levels, most):
    """At least 85 % coverage, without intervals so wide that coverage is trivial."""
    monkeypatch.setattr(judge, "SEEDS", 1)
    truth = pd.read_csv(TRUTH / f"{domain}.csv")
    rows = judge.predictions(domain, truth, most, True, levels)
    assert len(rows) == 140
    assert rows["time_s"].notna().all(), "every case is predicted"
    assert judge.summary(rows, ("domain",))["coverage %"].item() >= 85
    by_noise = judge.summary(rows, ("noise",)).set_index("noise")
    assert by_noise["median error %"][0.02] < 5
    assert by_noise["width hi/lo"].max() < 20, "intervals are not just wide"


def test_levels_of_domains():
    nvl72 = machine_of("nvl72", DOMAINS["nvl72"])
    assert [(level.ranks, level.rate_Bps) for level in nvl72.levels] == [(72, 900e9)]
    assert nvl72.assumed == ("latency of NVLink 5 assumed: 500 ns",)
    cm384 = machine_of("cm384", DOMAINS["cm384"])
    assert [(level.ranks, level.rate_Bps, round(level.latency_s * 1e9)) for level in cm384.levels] == \
        [(8, 392e9, 929), (384, 392e9, 2500)]
    assert not cm384.assumed
    dies = machine_of("cm384", DOMAINS["cm384"], dies=True)
    assert [(level.ranks, level.rate_Bps, level.kind) for level in dies.levels] == \
        [(2, 270e9, "mesh"), (16, 196e9, "switched"), (768, 196e9, "switched")]
    narrow = machine_of("cm384", DOMAINS["cm384"], oversubscription=4)
    assert [level.rate_Bps for level in narrow.levels] == [392e9, 98e9]
    assert machine_of("mi300x_8", DOMAINS["mi300x_8"]).levels[0].rate_Bps == 64e9


@pytest.mark.parametrize(("key", "options", "message"), [
    ("rubin_ultra_nvl576", {}, "rubin_ultra_nvl576: no source gives a link rate: cannot simulate"),
    ("atlas950_superpod_8192", {}, "no source gives the rate of UnifiedBus 2.0: cannot simulate"),
    ("nvl72", {"dies": True}, "omit --dies"), ("nvl72", {"oversubscription": 4}, "omit --oversubscription"),
])
def test_unknown_values_are_a_one_line_error(key, options, message):
    with pytest.raises(UsageError, match=message) as raised:
        machine_of(key, DOMAINS[key], **options)
    assert "\n" not in str(raised.value)


@given(st.integers(2, 400), st.sampled_from([key for key, domain in DOMAINS.items()
                                             if domain.tiers and domain.tiers[-1].rate_Bps]))
@settings(max_examples=60, deadline=None)
def test_platform_has_every_host_once_and_routes_over_known_links(ranks, key):
    machine = machine_of(key, DOMAINS[key])
    ranks = min(ranks, machine.levels[-1].ranks or 64)
    text = platform(machine, ranks)
    import xml.etree.ElementTree as tree
    root = tree.fromstring(text[text.index("<platform"):])
    hosts = [int(host.get("id")[1:]) for host in root.iter("host")]
    for cluster in root.iter("cluster"):
        first, last = map(int, cluster.get("radical").split("-"))
        hosts += range(first, last + 1)
    assert sorted(hosts) == list(range(ranks))
    links = [link.get("id") for link in root.iter("link")]
    assert len(links) == len(set(links))
    assert {part.get("id") for part in root.iter("link_ctn")} <= set(links)


@given(st.integers(1, 5000), st.sampled_from([2, 3]))
def test_sides_of_a_torus_multiply_to_its_nodes(nodes, dimensions):
    sides = _sides(nodes, dimensions)
    assert (math.prod(sides), len(sides)) == (nodes, dimensions)


def test_message_sizes_divide_among_ranks_and_names_are_found():
    machine = machine_of("nvl72", DOMAINS["nvl72"])
    cases = cases_of(machine, ("all_reduce", "all_to_all"), ("ring", "rab_rdb", "ompi"), (6, 72), (1024,))
    assert {(case.op, case.algorithm, case.smpi) for case in cases} == {
        ("all_reduce", "ring", "lr"), ("all_reduce", "rabenseifner", "rab_rdb"), ("all_reduce", "default", "ompi"),
        ("all_to_all", "pairwise", "ring"), ("all_to_all", "default", "ompi")}
    assert {case.message_bytes for case in cases} == {1032, 1152}
    for words, message in (((("send_recv",), (), (2,), (8,)), "send_recv cannot be simulated"),
                           ((("all_reduce",), ("best",), (2,), (8,)), "no algorithm best"),
                           ((("all_reduce",), (), (80,), (8,)), "nvl72 has 72 ranks: 80 do not fit")):
        with pytest.raises(UsageError, match=message):
            cases_of(machine, *words)


def test_failure_and_timeout_are_one_line_naming_the_call(simgrid):
    machine = machine_of("cm384", DOMAINS["cm384"])
    with pytest.raises(CollbenchError, match=r"timed out after 0.2 s on all_reduce by lr, 384 ranks, 1.5") as raised:
        run_cases(machine, [SimulatedCase("all_reduce", "ring", "lr", 384, 1536, 1536)], 0.2)
    assert "\n" not in str(raised.value)
    with pytest.raises(CollbenchError, match=r"simulator failed \(exit \d+\) on all_to_all by pair, 3 ranks") as raised:
        run_cases(machine, [SimulatedCase("all_to_all", "pairwise", "pair", 3, 12, 12)], 30)
    assert "\n" not in str(raised.value)


def test_command_output_is_read_by_other_commands(simgrid, collbench, tmp_path):
    words = ("simulate", "--domain", "cloudmatrix384", "--ops", "all_reduce", "--algorithms", "ring", "--to",
             "2,4,8,16,32", "-b", "1K", "-e", "1M", "-f", "32")
    done = collbench(*words, "-o", "sim.csv", "--json", "sim.json")
    assert done.returncode == 0, done.stderr
    assert "simulated cm384" in done.stdout
    assert "UnifiedBus between nodes: 384 ranks, 392 GB/s, 2.50 µs" in done.stderr
    rows = json.loads((tmp_path / "sim.json").read_text())["points"]
    assert {row["kind"] for row in rows} == {"simulated"}
    ring = next(row for row in rows if (row["ranks"], row["asked_bytes"]) == (8, 1 << 20))
    assert ring["time_s"] == pytest.approx(14 * 0.929e-6 + 14 / 8 * (1 << 20) / 392e9, rel=1e-4)
    assert list(pd.read_csv(tmp_path / "sim.csv").columns) == [name for name in COLUMNS if name != "variant"]
    points = load(tmp_path / "sim.csv").points
    assert set(points["system"]) == {"simulated cm384"}
    assert points["library"].str.contains("SimGrid").all()
    assert len(backtest(load_rows([tmp_path / "sim.csv"]))) > 0
    extrapolated = collbench("extrapolate", "sim.csv", "--to", "64", "--json", "-")
    assert {row["ranks"] for row in json.loads(extrapolated.stdout)["predictions"]} == {64}
    again = collbench(*words, "-o", "sim.csv")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert collbench(*words[:-6], "-b", "1K", "-e", "1K", "-o", "sim.jsonl").returncode == 0
    assert set(load(tmp_path / "sim.jsonl").points["op"]) == {"all_reduce"}


def test_without_simgrid_the_error_says_what_to_install(collbench, tmp_path):
    done = collbench("simulate", "--domain", "nvl72", PATH=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "apt-get install libsimgrid-dev" in done.stderr
