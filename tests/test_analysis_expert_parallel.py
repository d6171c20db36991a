"""Expert-parallel exchanges: what they move, by counting and by the router, and forecasts from the busiest rank."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.cost.algorithms import profile
from collbench.analysis.cost.expert_parallel import (
    Routing,
    algorithms_for,
    busiest_bytes,
    destinations,
    kernel_named,
    remote_copies,
    routing_of,
)
from collbench.analysis.cost.token_loads import least_bytes, loads_of, moved_bytes, row_bytes, tokens_of
from collbench.analysis.models.predict import predict_series
from collbench.analysis.models.regime import kind_of
from collbench.analysis.models.series import series_of
from collbench.collectives.cases import routing

SETTINGS = "hidden=7168;topk=8;experts=256"


def test_expected_destinations_by_hand():
    # 4 experts on 2 ranks, 2 for each token: 2 of the 6 pairs are on one rank.
    assert destinations(Routing(2, 4), 2) == Fraction(2 * 1 + 4 * 2, 6)
    # 3 experts on 2 ranks (2 and 1), 2 for each token: 1 of the 3 pairs is on one rank.
    assert destinations(Routing(2, 3), 2) == Fraction(1 * 1 + 2 * 2, 3)
    assert destinations(Routing(1, 256), 8) == 1
    assert destinations(Routing(8, 8), 8) == 8
    assert destinations(Routing(8, 256, balanced=True), 72) == 8
    # Experts that are not counted: the second choice is another rank in 3 of 4.
    assert destinations(Routing(2), 4) == 1 + Fraction(3, 4)
    # Half of the tokens' ranks are their own on two ranks: a copy leaves for the other one.
    assert remote_copies(Routing(8, 256, balanced=True), 2) == 1
    assert remote_copies(Routing(8, 256, balanced=True), 16) == Fraction(8 * 15, 16)


@given(st.integers(2, 6), st.sampled_from([16, 24, 256]), st.integers(2, 24), st.sampled_from(["block", "round-robin"]))
@settings(max_examples=12, deadline=None)
def test_expected_destinations_are_those_of_the_router(topk, experts, ranks, placement):
    """Within four standard errors: a workload draws from 32 orders of the experts, and there are 20 workloads."""
    seeds, tokens = range(20), 256
    rows = [routing.loads(f"uniform:seed={seed}:topk={topk}:experts={experts}:placement={placement}", ranks, tokens)
            for seed in seeds]
    expected = destinations(Routing(topk, experts), min(ranks, experts))
    error = np.sqrt(topk) / 2 / np.sqrt(32 * len(seeds))
    assert np.mean([row.sum() for row in rows]) / ranks / tokens == pytest.approx(float(expected), abs=4 * error)


@given(st.integers(1, 16), st.integers(16, 512), st.integers(2, 200))
@settings(max_examples=60, deadline=None)
def test_expected_destinations_are_bounded_and_grow(topk, experts, groups):
    found = destinations(Routing(topk, experts), groups)
    assert 1 <= found <= min(topk, groups)
    if groups < experts:
        assert found <= destinations(Routing(topk, experts), groups + 1)


@pytest.mark.parametrize("traffic", ["uniform", "zipf:1.2", "hot-rank:8", "ragged:4", "zero:0.5", "balanced"])
def test_loads_are_the_rows_of_the_router_without_those_kept(traffic):
    """From the picks of each token, one by one."""
    ranks, tokens = 6, 20
    traffic = f"{traffic}:experts=24:topk=3:steps=1"
    sent, received = np.zeros(ranks), np.zeros(ranks)
    for source in range(ranks):
        holder = routing.holders(traffic, ranks)[source]
        for picked in routing.picks(traffic, ranks, tokens, source):
            for there in {int(holder[expert]) for expert in picked} - {source}:
                sent[source] += 1
                received[there] += 1
    found = loads_of(traffic, ranks, tokens)
    assert found.sent.tolist() == sent.tolist()
    assert found.received.tolist() == received.tolist()
    assert found.busiest == max(sent.max(), received.max())


def test_bytes_of_the_busiest_rank():
    traffic = "uniform:hidden=256:topk=2:experts=16"
    rows = loads_of(traffic, 4, 100).busiest
    assert row_bytes("moe_dispatch", traffic, "fp8_e4m3") == 256 + 2 * 4
    assert row_bytes("moe_combine", traffic, "fp8_e4m3") == 512          # results come back in bfloat16
    assert row_bytes("moe_pair", traffic, "fp8_e4m3") == 264 + 512
    assert moved_bytes("moe_pair", traffic, "fp8_e4m3", 4, 100) == rows * 776
    # An all_gather brings all tokens to every rank, whatever the routing.
    assert moved_bytes("moe_dispatch", traffic + ":via=gather", "bfloat16", 4, 100) == 3 * 100 * 512
    assert tokens_of(traffic, "bfloat16", 51200) == 100
    assert np.isnan(tokens_of("linear", "bfloat16", 51200))


def test_tokens_beyond_those_counted_are_in_proportion():
    few, many = loads_of("zipf:1.2:steps=1", 72, 4000), loads_of("zipf:1.2:steps=1", 72, 8000)
    assert many.busiest == pytest.approx(2 * few.busiest, rel=0.01)


def test_what_a_table_states():
    found = routing_of("moe_dispatch", None, SETTINGS + ";distribution=balanced", "fp8")
    assert found == Routing(8, 256, True, 7168)
    assert routing_of("moe_combine", None, SETTINGS, "nvfp4") == Routing(8, 256, False, 2 * 7168)
    assert routing_of("moe_dispatch", None, "hidden=7168", None) is None
    assert routing_of("moe_prepare", None, SETTINGS, None) is None       # the exchange of counts
    assert routing_of("all_to_all", None, SETTINGS, None) is None
    known = routing_of("moe_dispatch", "zipf:1.2:topk=4", None, "bfloat16")
    assert (known.topk, known.experts, known.via) == (4, 256, "counts")
    assert busiest_bytes(known, 8, 64) == moved_bytes("moe_dispatch", "zipf:1.2:topk=4", "bfloat16", 8, 64)
    assert busiest_bytes(Routing(8, 256, True, 10.0), 16, 64) == 64 * 10 * 7.5


def test_copies_by_level():
    """topk 8 of 256 experts, 16 ranks on two nodes: what leaves a node, over what leaves a rank."""
    of = {algorithm.name: algorithm for algorithm in algorithms_for(Routing(8, 256))}
    leaves = float(remote_copies(Routing(8, 256), 16))
    each, node = float(destinations(Routing(8, 256), 16)), float(destinations(Routing(8, 256), 2))
    by_rank, by_expert, by_node = (profile(of[name], 16, (8,)).shares for name in (
        "a copy for each rank", "a copy for each expert", "a copy for each node"))
    assert by_rank == pytest.approx((each * 7 / 16 / leaves, each * 8 / 16 / leaves))
    assert by_expert == pytest.approx((8 * 7 / 16 / leaves, 8 * 8 / 16 / leaves))
    assert by_node == pytest.approx((0.0, node / 2 / leaves))
    assert sum(profile(of["a copy for each rank"], 8, (8,)).shares) == pytest.approx(1)


def test_names_of_kernels_and_families():
    assert kernel_named("ll") == kernel_named("trtllm_deepep_ll") == "a copy for each expert"
    assert kernel_named("normal") == kernel_named("deepep_ht") == "a copy for each node"
    assert kernel_named("NVLinkOneSided") == "NVLinkOneSided"
    libraries = ("DeepEP ll via sglang", "NCCL EP 2.29u1", "gloo, torch 2.13.0", "Open MPI 5.0.11", "NCCL 2.30")
    assert [kind_of(name, "moe_pair") for name in libraries] == ["exchange", "exchange", "mpi", "mpi", "nccl"]


def _points(times, **columns):
    """A frame as of `frames.load`, from {(ranks, tokens): seconds}."""
    rows = [{"ranks": ranks, "asked_bytes": tokens, "message_bytes": tokens * 1024, "time_s": time_s,
             "op": "moe_dispatch", "system": "s", "transport": "t", "library": "gloo", "device": "cpu",
             "dtype": "bfloat16",
             "redop": None, "place": None, "traffic": None, "mode": "isolated", "algorithm": None, "variant": None,
             "ranks_per_node": np.nan, "native_size_bytes": np.nan, "time_lo_s": np.nan, "time_hi_s": np.nan,
             "p5_s": np.nan, "p95_s": np.nan, "time_kind": "slowest", "oversubscribed": False, **columns}
            for (ranks, tokens), time_s in times.items()]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("traffic", ["zipf:1.2:steps=1:hidden=512", "uniform:steps=1:hidden=512"])
def test_time_follows_the_bytes_of_the_busiest_rank(traffic):
    """A rank needs 1 ns a byte, the busiest one decides: at 72 ranks 71 of 72 senders meet at a hot one."""
    def time_s(ranks, tokens):
        return 20e-6 + 1e-9 * moved_bytes("moe_dispatch", traffic, "bfloat16", ranks, tokens)
    times = {(ranks, tokens): time_s(ranks, tokens) for ranks in (2, 4, 8) for tokens in (64, 256, 1024)}
    (key, points), = series_of(_points(times, traffic=traffic))
    for row in predict_series(key, points, [72]):
        assert row["time_s"] == pytest.approx(time_s(72, row["size"]), rel=0.25)
        assert row["time_lo_s"] <= time_s(72, row["size"]) <= row["time_hi_s"]


def test_no_forecast_is_faster_than_the_links_of_its_busiest_receiver():
    """An H100 node at half of its link rate: at 8 ranks nothing is below what a rank receives at 450 GB/s."""
    from collbench.analysis.domains.facts import load_domains
    traffic, link_Bps = "zipf:1.2:steps=1", 450e9
    tokens = (1024, 8192)
    times = {(ranks, count): 2 * least_bytes("moe_dispatch", traffic, "bfloat16", ranks, count) / link_Bps
             for ranks in (2, 4) for count in tokens}
    frame = _points(times, traffic=traffic, library="NCCL 2.30", device="NVIDIA H100")
    (key, points), = series_of(frame.assign(message_bytes=frame["asked_bytes"] * 2 * 7168))
    for row in predict_series(key, points, [8], ("hgx_h100_8", load_domains()["hgx_h100_8"])):
        bound_s = least_bytes("moe_dispatch", traffic, "bfloat16", 8, row["size"]) / link_Bps
        assert row["bound_s"] >= bound_s
        assert row["time_lo_s"] >= bound_s


def test_beyond_a_node_the_copies_that_leave_it_pass_the_cards():
    """8 GPUs of one H100 node measured: low-latency kernels at 32 send 8 * 24/32 copies over a card of 50 GB/s."""
    from collbench.analysis.domains.facts import load_domains
    times = {(8, tokens): 15e-6 + tokens * 0.5e-6 for tokens in (8, 32, 128, 512)}
    frame = pd.concat([_points({key: value}, library="DeepEP", algorithm="ll", ranks_per_node=8.0,
                               variant=f"num_tokens_per_rank={key[1]};{SETTINGS}") for key, value in times.items()])
    (key, points), = series_of(frame.reset_index(drop=True))
    rows = list(predict_series(key, points, [32], ("hgx_h100_8", load_domains()["hgx_h100_8"])))
    cards_s = 512 * 2 * 7168 * 8 * 24 / 32 / 50e9
    assert cards_s < rows[-1]["time_s"] < 1.6 * cards_s
