"""Published step times over nodes: against what NCCL prints, against measurements, and text that names cards."""

import csv
import itertools
import math
import statistics
from pathlib import Path

import pytest

from collbench.analysis.cost.cards import Cards, network_named, parse_nic
from collbench.analysis.cost.published_steps import (
    PROTOCOLS,
    collective_time,
    fastest,
    step_between_nodes,
)
from collbench.analysis.cost.published_tables import nccl_tuning
from collbench.collectives.errors import UsageError

SHIPPED = Path(__file__).parent.parent / "analysis" / "data" / "validation" / "perlmutter_frontier_umd_gpu.csv"

# Latencies in us, LL, LL128 and Simple, as NCCL 2.29.7 printed them for two ranks on two nodes (eunomia-bpf/nccl-eBPF,
# NCCL_DEBUG_SUBSYS=TUNING).
PRINTED = (("all_gather", "ring", (11.6, 22.5, 22.4)), ("reduce_scatter", "ring", (11.6, 22.5, 22.4)),
           ("all_reduce", "ring", (16.6, 31.0, 36.4)), ("all_reduce", "tree", (16.8, 31.0, 36.4)),
           ("broadcast", "ring", (9.3, 18.0, 22.4)), ("reduce", "ring", (9.3, 18.0, 22.4)))


@pytest.mark.parametrize(("op", "algorithm", "latencies_us"), PRINTED)
def test_latencies_are_those_that_nccl_prints(op, algorithm, latencies_us):
    for protocol, expected in zip(PROTOCOLS, latencies_us, strict=True):
        facts = step_between_nodes("nccl", "blackwell", "ethernet", protocol, algorithm=algorithm, version="2.29.7")
        assert collective_time(op, algorithm, 2, 1, 0, facts, 1, 1.25e9) * 1e6 == pytest.approx(expected, abs=0.051)


def test_releases_differ_where_their_tables_do():
    def between_us(version, algorithm="tree"):
        facts = step_between_nodes("nccl", "hopper", "ndr", "Simple", algorithm=algorithm, version=version)
        return facts.step_between_s * 1e6

    assert [between_us(version) for version in ("2.18.6", "2.19.4", "2.22.3", "2.23.4", "2.30.7")] == pytest.approx(
        [14, 28, 28, 14, 14])
    assert between_us("2.27.7", "in-switch") == pytest.approx(14)
    assert between_us("2.28.9", "in-switch") == pytest.approx(20.9)
    assert nccl_tuning("2.27.3+cuda12.8")["version"] == "2.25"
    assert "v2.30.7-1" in nccl_tuning()["source"]
    for wrong in ("2.9.9", "newest"):
        with pytest.raises(UsageError, match=wrong.replace(".", r"\.")):
            nccl_tuning(wrong)


def shipped_errors(op):
    """ln(measured / predicted) of NCCL on Perlmutter, by ranks and bytes; 4 cards of 200 Gb/s a node."""
    with SHIPPED.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["library"] == "NCCL" and row["collective"] == op]
    found = {}
    for row in rows:
        ranks, size = int(row["n_ranks"]), float(row["message_bytes"])
        estimate = fastest(op, ranks, 4, size, "nccl", "ampere", "slingshot-11", 4, cpu="amd")
        found[ranks, size] = math.log(float(row["time_us"]) / 1e6 / estimate.seconds)
    return found


@pytest.mark.parametrize(("op", "within"), [("all_gather", 0.07), ("reduce_scatter", 0.07), ("all_reduce", 0.07)])
def test_large_messages_over_nodes_are_predicted_from_the_tables_alone(op, within):
    large = [error for (_, size), error in shipped_errors(op).items() if size >= 1 << 26]
    assert len(large) >= 30
    assert statistics.median(map(abs, large)) < within
    assert sum(abs(error) < math.log(1.25) for error in large) / len(large) > 0.9


# Times in us as published: awslabs/awsome-distributed-ai at 95b939c (AWS), oracle-quickstart/oci-gpu-quickstarts at
# 6a0abdc (GB200: 64 of 72 accelerators of a rack, racks joined by RoCE).
MEASURED = (
    ("all_to_all", 32, 8, 67108864, "blackwell", "efa-p6-b300", "16x400G", 691.6),
    ("all_to_all", 256, 8, 67108864, "blackwell", "efa-p6-b300", "16x400G", 1222.1),
    ("all_to_all", 64, 8, 67108864, "hopper", "efa-p5", "32x100G", 1635.2),
    ("all_to_all", 128, 64, 8589934592, "blackwell", "roce", "64x400G", 95018.0),
    ("all_to_all", 192, 64, 8589934592, "blackwell", "roce", "64x400G", 136749.0),
    ("all_reduce", 128, 64, 8589934592, "blackwell", "roce", "64x400G", 21313.0))


@pytest.mark.parametrize(("op", "ranks", "node", "size", "generation", "network", "nic", "time_us"), MEASURED)
def test_other_systems_are_within_a_quarter(op, ranks, node, size, generation, network, nic, time_us):
    cards = parse_nic(nic)
    estimate = fastest(op, ranks, node, size, "nccl", generation, network, cards.count, cards.rate_Bps)
    assert abs(math.log(time_us / 1e6 / estimate.seconds)) < math.log(1.25)


@pytest.mark.parametrize("op", ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all"])
@pytest.mark.parametrize(("library", "generation", "network"), [
    ("nccl", "volta", "hdr"), ("nccl", "hopper", "ndr"), ("nccl", None, "efa-p5"), ("rccl", None, "roce"),
    ("hccl", "910B", "roce")])
def test_no_estimate_is_faster_than_the_cards(op, library, generation, network):
    """Whatever the algorithm, what other nodes must have of a node's data leaves over its cards."""
    for ranks in (16, 24, 80, 512):
        nodes = ranks // 8
        must_leave = {"all_reduce": 2 * (nodes - 1) / nodes, "all_gather": (nodes - 1) / nodes,
                      "reduce_scatter": (nodes - 1) / nodes, "broadcast": 1.0, "all_to_all": 8 * (ranks - 8) / ranks}
        for size, wire_Bps in itertools.product((1, 1 << 14, 1 << 20, 1 << 26, 1 << 33), (12.5e9, 50e9)):
            estimate = fastest(op, ranks, 8, size, library, generation, network, 8, wire_Bps, in_network=True)
            assert estimate.seconds >= must_leave[op] * size / (8 * wire_Bps)
            assert estimate.facts.assumed
            assert estimate.facts.source


def test_unknowns_are_said():
    facts = step_between_nodes("nccl", None, "roce")
    assert facts.rate_Bps_per_card is None
    assert any("Hopper" in words for words in facts.assumed)
    with pytest.raises(UsageError, match="--nic"):
        collective_time("all_gather", "ring", 16, 8, 1e6, facts, 8)
    with pytest.raises(UsageError, match="do not span nodes"):
        collective_time("all_gather", "ring", 8, 8, 1e6, facts, 8, 50e9)
    with pytest.raises(UsageError, match="known are nccl, rccl, hccl"):
        step_between_nodes("gloo", None, "roce")
    assert fastest("barrier", 16, 8, 0, "nccl", "hopper", "ndr", 8) is None


@pytest.mark.parametrize(("text", "count", "rate_Bps"), [
    ("8x400G", 8, 50e9), ("8 x 400 Gb/s", 8, 50e9), ("8X400Gbit/s", 8, 50e9), ("4x50GB/s", 4, 50e9),
    ("400G", 1, 50e9), ("2x1.6T", 2, 200e9), ("8xNDR", 8, 50e9), ("4xslingshot-11", 4, 25e9),
    ("384*400Gbps", 384, 50e9)])
def test_cards_from_text(text, count, rate_Bps):
    assert parse_nic(text) == Cards(count, pytest.approx(rate_Bps))


@pytest.mark.parametrize(("text", "says"), [
    ("", "8x400G"), ("8x", "8x400G"), ("x400G", "8x400G"), ("8x400", "neither a rate nor a known card"),
    ("0x400G", "0 cards"), ("8x0G", "0 Gb/s"), ("8x400T", "at most"), ("400x8G", "count comes first"),
    ("8xroce", "several rates"), ("8xmyri", "neither a rate nor a known card"), ("-8x400G", "8x400G"),
    ("9999999x400G", "expected 1 to"), ("8x400M", "neither a rate nor a known card")])
def test_text_that_names_no_cards_is_refused_in_one_line(text, says):
    with pytest.raises(UsageError) as caught:
        parse_nic(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_names_the_known_ones():
    with pytest.raises(UsageError, match=r"'ndr9'.*slingshot-11"):
        network_named("ndr9")
