"""Cost models: exact formulas, recovery of known parameters, choice by held-out error, honest intervals."""

import json
import math
import re
from dataclasses import replace
from fractions import Fraction

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.cost.algorithms import ALGORITHMS, profile
from collbench.analysis.cost.levels import Assumed, tiers_of
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.forecast import COLUMNS, as_json, extrapolate
from collbench.analysis.models.calibration import load_calibration
from collbench.analysis.models.changepoints import jump_counts
from collbench.analysis.models.curve import curve_of
from collbench.analysis.models.ensemble import Forecast, forecast
from collbench.analysis.models.fit import anchored, fit_algorithm, fitted_level, size_by_size
from collbench.analysis.models.holdout import hold_trials
from collbench.analysis.models.offsets import within_score
from collbench.analysis.models.regime import is_switched
from collbench.analysis.models.single_algorithm import exact
from collbench.analysis.models.trends import bus_scale
from collbench.analysis.models.widths import Widths, log_ends
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import UsageError

SIZES = [8 << (2 * power) for power in range(12)]
RATE_BPS, HOP_S = 900e9, 0.5e-6

# Seconds by SimGrid/SMPI on a crossbar of 900 GB/s and 0.5 µs a path, which knows nothing of these formulas:
# (op, algorithm, ranks) -> µs at 1 KiB, 1 MiB, 256 MiB
SIMULATED_US = {
    ("all_reduce", "ring", 8): (7.002, 9.039, 528.958),
    ("all_reduce", "ring", 64): (63.004, 65.296, 650.205),
    ("all_reduce", "recursive doubling", 64): (3.007, 9.991, 1792.570),
    ("all_reduce", "recursive doubling", 72): (4.009, 13.321, 2390.093),
    ("all_reduce", "rabenseifner", 64): (6.002, 8.294, 593.203),
    ("all_reduce", "rabenseifner", 72): (7.005, 11.624, 1190.726),
    ("all_to_all", "pairwise", 72): (35.502, 36.650, 329.620),
    ("all_to_all", "bruck", 64): (3.004, 6.495, 897.785),
    ("all_to_all", "bruck", 72): (3.503, 6.931, 881.715),
}


def _algorithm(op, name):
    return next(known for known in ALGORITHMS[op] if known.name == name)


def points(truth, ranks, op="all_reduce", noise=0.0, sizes=SIZES, **columns):
    """A frame as `tidy.load` gives it, of times `truth(ranks, bytes)` with noise on each median."""
    rng = np.random.default_rng(5)
    rows = [(n, size, truth(n, size) * math.exp(rng.normal(0, noise))) for n in ranks for size in sizes]
    frame = pd.DataFrame(rows, columns=["ranks", "message_bytes", "time_s"])
    operation = OPERATIONS[op]
    known = {"system": "here", "transport": "t", "library": "l", "device": "cpu", "op": op, "dtype": "float32",
             "redop": "sum" if operation.reduces else None, "place": "out-of-place", "traffic": None,
             "mode": "isolated", "time_kind": "makespan", "asked_bytes": frame["message_bytes"],
             "oversubscribed": pd.array([False] * len(frame), dtype="boolean")}
    half = 1 + 2 * noise
    for name, value in (("time_lo_s", frame["time_s"] / half), ("time_hi_s", frame["time_s"] * half),
                        ("p5_s", frame["time_s"]), ("p95_s", frame["time_s"])):
        frame[name] = value
    return frame.assign(**{**known, **columns})


def ring(n, size):
    """5 µs, then 2 (n - 1) steps of 2 µs, over 10 GB/s."""
    return 5e-6 + 2 * (n - 1) * 2e-6 + 2 * (n - 1) / n * size / 10e9


@pytest.mark.parametrize("key", SIMULATED_US, ids=str)
def test_formulas_agree_with_an_independent_simulator(key):
    op, algorithm, ranks = key
    shape = _algorithm(op, algorithm)
    found = [1e6 * (shape.steps(ranks) * HOP_S + float(shape.factor(ranks)) * size / RATE_BPS)
             for size in (1 << 10, 1 << 20, 1 << 28)]
    assert found == pytest.approx(SIMULATED_US[key], rel=2e-3)


def test_every_operation_that_can_be_extrapolated_has_algorithms():
    """Those made of several calls have none: `expert_parallel` has those of its exchanges, the others no forecast."""
    composed = {name for name, row in OPERATIONS.items() if row.composition is not None}
    assert {name for name, row in OPERATIONS.items() if not row.pairs and row.memories is None and name != "noop"} \
        - composed == set(ALGORITHMS) - composed


def _held(op, algorithm, ranks):
    """What each rank holds after carrying the schedule out message by message, and the messages it took."""
    held = [{rank} for rank in range(ranks)]
    steps = 0
    if algorithm == "ring":
        for _ in range(ranks - 1):
            before = [set(blocks) for blocks in held]
            for rank in range(ranks):
                held[(rank + 1) % ranks] |= before[rank]
            steps += 1
    else:                      # Bruck: from the rank at twice the distance each time
        distance = 1
        while distance < ranks:
            before = [set(blocks) for blocks in held]
            for rank in range(ranks):
                held[rank] |= before[(rank + distance) % ranks]
            distance *= 2
            steps += 1
    return held, steps


@given(st.integers(2, 80), st.sampled_from(["ring", "bruck"]))
def test_gather_schedules_take_the_steps_that_carrying_them_out_takes(ranks, name):
    held, steps = _held("all_gather", name, ranks)
    assert all(blocks == set(range(ranks)) for blocks in held)
    shape = _algorithm("all_gather", name)
    assert shape.steps(ranks) == steps
    assert shape.factor(ranks) == Fraction(ranks - 1, ranks)      # every block but one's own comes in once


@given(st.integers(2, 200))
def test_bruck_exchange_sends_the_blocks_whose_distance_has_the_bit(ranks):
    sent = sum(bin(distance).count("1") for distance in range(ranks))
    assert _algorithm("all_to_all", "bruck").factor(ranks) == Fraction(sent, ranks)


@given(st.sampled_from([(op, a) for op, known in ALGORITHMS.items() for a in known]), st.integers(2, 300),
       st.sampled_from([1, 2, 3, 4, 8, 48]))
def test_levels_split_an_algorithm_without_losing_a_step_or_a_byte(known, ranks, node):
    _, shape = known
    found = profile(shape, ranks, (node,))
    assert sum(found.steps) == shape.steps(ranks, node)
    assert sum(found.shares) == pytest.approx(float(shape.factor(ranks, node)))
    assert sum(found.boundary) == ranks
    if ranks <= node:
        assert found.steps[1] == 0


def test_doubling_crosses_nodes_only_beyond_their_size():
    found = profile(_algorithm("all_reduce", "recursive doubling"), 64, (8,))
    assert found.steps == (3, 3)
    assert found.shares == (3.0, 3.0)


def _curve(shape, ranks, levels=(), noise=0.01, step_s=(2e-6, 5e-6), byte_s=1e-10, named=True, seed=6):
    rng = np.random.default_rng(seed)
    rows = [(size, n, size, (5e-6 + float(np.dot(known.steps, step_s[:len(known.steps)]))
                             + sum(known.shares) * size * byte_s) * math.exp(rng.normal(0, noise)))
            for n in ranks for known in [profile(shape, n, levels)] for size in SIZES]
    return curve_of(pd.DataFrame(rows, columns=["size", "ranks", "payload_bytes", "time_s"]), "all_reduce",
                    shape.name if named else None, levels)


@given(st.lists(st.tuples(st.sampled_from([8, 64, 512]), st.sampled_from([2, 4, 8]), st.floats(1e-6, 1.0)), min_size=1,
                max_size=20))
def test_a_curve_has_the_median_of_repeats_and_a_payload_at_every_place(rows):
    frame = pd.DataFrame(rows, columns=["size", "ranks", "time_s"])
    stays, grows = (curve_of(frame.assign(payload_bytes=payload), "all_gather")
                    for payload in (frame["size"], frame["size"] * frame["ranks"]))
    medians = frame.groupby(["size", "ranks"])["time_s"].median().unstack()
    np.testing.assert_allclose(np.exp(stays.log_time_s), medians.to_numpy(), rtol=1e-12)
    np.testing.assert_array_equal(stays.payload_bytes, np.tile(stays.sizes[:, None], len(stays.counts)))
    several = np.isfinite(grows.log_time_s).sum(axis=1) > 1          # of one alone nobody knows whether it grows
    np.testing.assert_allclose(grows.payload_bytes[several], (grows.sizes[:, None] * grows.counts)[several])


@given(st.sampled_from(ALGORITHMS["all_reduce"]), st.sampled_from([(), (4,)]), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_a_size_is_fitted_with_its_neighbours_as_if_there_were_no_other(shape, levels, seed):
    rng = np.random.default_rng(seed)
    whole = _curve(shape, [2, 4, 8], levels, noise=0.3, seed=seed)
    gaps = np.where(rng.random(whole.log_time_s.shape) < 0.3, np.nan, whole.log_time_s)
    curve = replace(whole, log_time_s=gaps).measured
    ranks, at = np.array([16, 72]), int(rng.integers(len(curve.sizes)))
    payload = np.tile(curve.sizes[:, None], 2)
    window = slice(max(0, at - 2), at + 3)
    alone = replace(curve, sizes=curve.sizes[window], log_time_s=curve.log_time_s[window],
                    payload_bytes=curve.payload_bytes[window])
    np.testing.assert_allclose(size_by_size(shape)(curve, ranks, payload)[at],
                               anchored(shape)(alone, ranks, payload[window])[at - window.start], rtol=1e-9)


@pytest.mark.parametrize("name", ["ring", "rabenseifner"])
def test_a_sampled_model_gets_its_parameters_back(name):
    shape = _algorithm("all_reduce", name)
    found = fit_algorithm(_curve(shape, [2, 3, 4, 6, 8, 16, 32], levels=(4,)), shape)
    assert found.overhead_s == pytest.approx(5e-6, rel=0.2)
    assert found.step_s[1] == pytest.approx(5e-6, rel=0.1)
    assert found.byte_s[1] == pytest.approx(1e-10, rel=0.1)


@pytest.mark.parametrize("name", ["ring", "recursive doubling", "rabenseifner"])
def test_known_algorithms_are_predicted_at_72_from_8_and_at_384_from_16(name):
    """Against the truth without noise, which the 2 % on each median hides from the fit."""
    shape = _algorithm("all_reduce", name)
    for ranks, levels, target, close in (([2, 4, 6, 8], (), 72, 0.025), ([2, 4, 6, 8, 12, 16], (8,), 384, 0.04)):
        trials = hold_trials(_curve(shape, ranks, levels, noise=0.02))
        said = forecast(trials, len(ranks), target, np.array(SIZES, dtype=float), "mpi", load_calibration().history)
        truth = _curve(shape, [target], levels, noise=0.0).log_time_s[:, 0]
        assert np.median(np.abs(np.expm1(said.log_time_s - truth))) < close


def test_held_out_error_chooses_and_is_reported():
    """Small rank counts look like a ring; larger ones show that time stays: the early favourite must lose."""
    flat = points(lambda n, size: 10e-6 * min(n, 4) + size * 1e-9, [2, 3, 4, 8, 16, 32, 64], noise=0.005)
    found = extrapolate(flat, [384])
    assert found["holdout_error"].max() < 0.1
    small = found[found["message_bytes"] < 2000]
    assert (small["time_s"] / 40e-6).between(0.8, 1.6).all()


def test_shuffled_rank_counts_widen_the_intervals():
    frame = points(ring, [2, 4, 8, 16, 32], noise=0.01)
    other = frame.assign(ranks=frame["ranks"].map({2: 16, 4: 32, 8: 2, 16: 4, 32: 8}))
    width = [(found["time_hi_s"] / found["time_lo_s"]).median() for found in
             (extrapolate(frame, [64]), extrapolate(other, [64]))]
    assert width[1] > 2 * width[0]


def test_a_planted_switch_is_found_and_said():
    """From 16 ranks on a tree takes over from the ring."""
    def switching(n, size):
        return ring(n, size) if n < 16 else 4e-6 + 2 * math.log2(n) * 0.1e-6 + size / 40e9
    found = extrapolate(points(switching, [2, 4, 6, 8, 16, 32], noise=0.01), [64])
    assert found["reason"].str.contains("jumps at 16 ranks").all()
    assert not extrapolate(points(ring, [2, 4, 6, 8, 16, 32], noise=0.01), [64])["reason"].fillna("") \
        .str.contains("jumps").any()


def test_a_level_never_measured_is_flagged_and_widens():
    frame = points(ring, [2, 4, 8], noise=0.01)
    inside, beyond = extrapolate(frame, [64]), extrapolate(frame.assign(ranks_per_node=8), [64])
    assert beyond["reason"].str.contains("no run between nodes was measured").all()
    assert not inside["reason"].str.contains("nothing beyond").any()
    assert (beyond["time_hi_s"] / beyond["time_lo_s"]).median() > (inside["time_hi_s"] / inside["time_lo_s"]).median()


def test_ranks_that_all_share_one_node_say_that_the_next_node_was_not_measured():
    frame = points(ring, [2, 4, 8], noise=0.01)
    found = extrapolate(frame.assign(ranks_per_node=frame["ranks"]), [64])
    assert found["reason"].str.contains("extends beyond the one node of 8 ranks").all()


def test_a_level_known_only_from_the_domains_facts_is_named_and_predicted():
    """A ring whose steps between nodes take as much longer as the facts say: 929 ns inside, 2500 ns between nodes."""
    def truth(n, size):
        between = 2 * (n - 1) * 1.571e-6 if n > 8 else 0
        return ring(n, size) + between
    home = ("cm384", load_domains()["cm384"])
    found = extrapolate(points(truth, [2, 4, 6, 8], noise=0.01).assign(algorithm="ring"), [72, 384], home)
    assert found["reason"].str.contains("UnifiedBus between nodes of cm384 was not measured: its nominal ") \
        .all()
    actual = np.array([truth(n, size) for n, size in zip(found["ranks"], found["message_bytes"], strict=True)])
    assert np.median(np.abs(found["time_s"] / actual - 1)) < 0.10
    assert ((found["time_lo_s"] <= actual) & (actual <= found["time_hi_s"])).mean() >= 0.85
    assert (found["time_hi_s"] / found["time_lo_s"]).min() > 1.8     # nobody measured it


def test_beyond_a_domain_the_network_is_assumed_by_name_or_the_prediction_refused():
    frame = points(ring, [2, 4, 8], noise=0.01, library="NCCL 2.30")
    domains = load_domains()
    found = extrapolate(frame, [72], ("hgx_h100_8", domains["hgx_h100_8"]))
    assert found["reason"].str.contains("extends beyond hgx_h100_8 .* 50.0 GB/s per accelerator is assumed").all()
    unknown = msgspec.structs.replace(domains["hgx_h100_8"], scaleout_Bps=None)
    refused = extrapolate(frame, [72], ("mine", unknown))
    assert refused["kind"].tolist() == ["refused"]
    assert "measure on 2 of them" in refused["reason"].item()


def test_where_the_librarys_rule_changes_algorithm_the_other_one_is_predicted():
    """Ring up to 16 ranks of an NVL72: at 72 NCCL takes the switches for a small all-reduce, which cost 25 us flat."""
    def small_ring(n, size):
        return 7e-6 + 2 * (n - 1) * 1.3e-6 + 2 * (n - 1) / n * size / 300e9
    home = ("nvl72", load_domains()["nvl72"])
    small = {"noise": 0.02, "sizes": [1024, 8192], "library": "NCCL 2.30"}
    found = extrapolate(points(small_ring, [2, 4, 8, 12], **small), [72], home)
    assert set(found["algorithm"]) == {"in-switch"}
    assert found["reason"].str.contains("NCCL .* selects .* if instead ring: ").all()
    assert (found["time_s"] < 70e-6).all()
    assert (found["time_hi_s"] > small_ring(72, 1024)).all()         # the rule is emulated, so both lie inside
    named = extrapolate(points(small_ring, [2, 4, 8, 12], library="NCCL 2.30").assign(algorithm="ring"), [72], home)
    assert set(named["algorithm"]) == {"ring"}
    assert named["time_s"].iloc[0] == pytest.approx(small_ring(72, 8), rel=0.1)


def test_nothing_is_fitted_across_a_switch():
    def switching(n, size):
        return ring(n, size) if n < 8 else 4e-6 + 2 * math.log2(n) * 0.1e-6 + size / 40e9
    found = extrapolate(points(switching, [2, 3, 4, 6, 8, 16, 32], noise=0.01), [64])
    assert found["reason"].str.contains("jumps at 8 ranks .* only larger rank counts were fitted").all()
    actual = np.array([switching(64, size) for size in found["message_bytes"]])
    assert np.median(np.abs(found["time_s"] / actual - 1)) < 0.05


def test_the_sizes_to_measure_next_are_the_least_sure():
    rng = np.random.default_rng(8)
    frame = points(ring, [2, 4, 8], noise=0.01)
    odd = frame["message_bytes"].isin(SIZES[5:7])
    noisy = frame.assign(time_s=frame["time_s"] * np.where(odd, np.exp(rng.normal(0, 0.5, len(frame))), 1.0))
    words = extrapolate(noisy, [64])["reason"].iloc[0]
    sizes = re.search(r"measure 16 ranks, above all (\d+) (B|KiB) to (\d+) KiB", words)
    assert sizes, words
    least, most = int(sizes[1]) * (1024 if sizes[2] == "KiB" else 1), int(sizes[3]) << 10
    assert least <= 8192 < 32768 <= most <= 131072      # those two, and sizes that they were smoothed with


def test_wider_with_distance_and_with_noise():
    near, far = (extrapolate(points(ring, [2, 4, 8], noise=0.02), [n]) for n in (16, 384))
    noisy = extrapolate(points(ring, [2, 4, 8], noise=0.3), [16])
    width = [(frame["time_hi_s"] / frame["time_lo_s"]).median() for frame in (near, far, noisy)]
    assert width[0] < width[1]
    assert width[0] < width[2]


def test_fewer_rank_counts_get_wider_intervals_and_say_so():
    one, two, three = (extrapolate(points(ring, counts), [16]) for counts in ([4], [2, 4], [1, 2, 4]))
    for found in (one, two):
        assert found["holdout_error"].isna().all()
        assert found["reason"].str.contains("too few for a hold-out").all()
    widths = [float((found["time_hi_s"] / found["time_lo_s"]).median()) for found in (one, two, three)]
    assert widths[0] > 1.5 * widths[1] > widths[2] > 1


def test_no_prediction_below_its_bound():
    """Times that fall with ranks cannot be told to fall for ever."""
    found = extrapolate(points(lambda n, size: 1e-3 / n, [2, 4, 8], noise=0.4), [384])
    assert (found["time_lo_s"] >= 0.5 * 1e-3 / 8 * math.exp(-1.2)).all()


@pytest.mark.parametrize(("op", "columns", "word"), [
    ("ping_pong", {"redop": None, "place": None}, "pairs"), ("noop", {"dtype": None, "place": None}, "no other rank"),
    ("all_reduce", {"time_kind": ["makespan", "slowest rank"] * 18}, "two definitions"),
])
def test_refused_with_a_reason_and_no_times(op, columns, word):
    found = extrapolate(points(ring, [2, 4, 8], op=op, **columns), [72])
    assert found["kind"].tolist() == ["refused"]
    assert word in found["reason"].item()
    assert found["time_s"].isna().all()


def test_rank_counts_below_two_are_refused():
    with pytest.raises(UsageError, match="at least 2"):
        extrapolate(points(ring, [2, 4, 8]), [72, 1])


def test_payloads_divide_at_the_target_and_appear_once():
    found = extrapolate(points(ring, [2, 4, 8], op="all_gather"), [384])
    assert (found["message_bytes"] % (384 * 4) == 0).all()
    assert found["message_bytes"].is_unique


def test_measured_rank_counts_are_shown_as_measured():
    frame = points(ring, [2, 4, 72])
    found = extrapolate(frame, [72])
    assert found["kind"].eq("measured").all()
    assert sorted(found["time_s"]) == sorted(frame.loc[frame["ranks"] == 72, "time_s"])


def test_json_contract():
    frame = pd.concat([points(ring, [2, 4, 8]), points(ring, [2, 4], op="ping_pong", place=None)])
    rows = as_json(extrapolate(frame, [8, 72]))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert all(set(COLUMNS) == set(row) for row in rows)
    wanted = {"system", "op", "algorithm", "dtype", "message_bytes", "ranks", "time_s", "time_lo_s", "time_hi_s",
              "level", "busbw_Bps", "kind", "reason", "distance", "domain"}
    assert wanted <= set(rows[0])
    assert {row["kind"] for row in rows} == {"measured", "extrapolated", "refused"}
    assert all(type(row["ranks"]) is int for row in rows)


def _rising(counts, byte_s, op="all_gather", **more):
    """A curve of which only the bytes cost anything: `byte_s` seconds per byte, by rank count, at 1 MB to 1 PB."""
    sizes = [1e6, 1e9, 1e12, 1e15]
    rows = [(size, n, size, size * (n - 1) / n * cost) for size in sizes
            for n, cost in zip(counts, byte_s, strict=True)]
    curve = curve_of(pd.DataFrame(rows, columns=["size", "ranks", "payload_bytes", "time_s"]), op)
    return replace(curve, **more)


@pytest.mark.parametrize(("op", "at_8", "at_32"), [
    ("all_reduce", 7 / 4, 31 / 16), ("all_gather", 7 / 8, 31 / 32), ("reduce_scatter", 7 / 8, 31 / 32),
    ("all_to_all", 7 / 8, 31 / 32), ("broadcast", 1, 1)])
def test_at_constant_bus_bandwidth_time_grows_as_the_bytes_over_the_bus(op, at_8, at_32):
    curve = _rising([4, 8], [1, 1], op)
    twice = bus_scale(curve, np.array([8, 32]), np.stack([curve.sizes, 2 * curve.sizes], axis=1))
    assert np.exp(twice) == pytest.approx(np.tile([1, 2 * at_32 / at_8], (4, 1)))


@pytest.mark.parametrize(("name", "rate", "slower"), [
    ("ring", 1 / 16, 2), ("ring", 1 / 4, 1), ("bruck", 1 / 16, 16), ("bruck", 1 / 4, 4)])
def test_the_only_rank_that_sends_out_of_a_node_has_the_network_cards_of_all(name, rate, slower):
    """Nodes of 8 with a card a rank, at `rate` of the links inside: a lone sender has 8 cards, up to its own link."""
    curve = _rising([2, 4, 8], [1e-9] * 3, levels=(8,), beyond=(Assumed(rate, 0.0),))
    inside_s, across_s = fit_algorithm(curve, _algorithm("all_gather", name)).byte_s
    assert across_s / inside_s == pytest.approx(slower)


def test_two_doublings_below_the_largest_rank_count_a_point_counts_for_a_third():
    """Of costs 1 at 2 ranks and 2 at 8, the least squares of relative errors: (1/9 + 1/2) / (1/9 + 1/4) = 22 / 13."""
    (byte_s,) = fit_algorithm(_rising([2, 8], [1e-9, 2e-9]), _algorithm("all_gather", "direct")).byte_s
    assert byte_s == pytest.approx(22 / 13 * 1e-9, rel=0.01)


@pytest.mark.parametrize(("before", "last", "kept"), [
    ((1, -1, 1, -1), (1, -1, 1, -1), 1), ((1, 1, -1, -1), (1, -1, 1, -1), 0), ((-1, 1, -1, 1), (1, -1, 1, -1), 0)])
def test_what_is_odd_about_a_size_is_predicted_only_if_it_was_odd_before(before, last, kept):
    """Sizes off by e^0.1 either way at the last two rank counts: alike, unrelated, and opposite.

    How much is kept is the part of the predictions' error that has the pattern of the last rank count.
    """
    smooth = _rising([2, 4, 8], [1e-9] * 3)
    off = 0.1 * np.stack([last, before, last], axis=1)
    curve = replace(smooth, log_time_s=smooth.log_time_s + off)
    change = fitted_level(_algorithm("all_gather", "direct"))(curve, np.array([16]), curve.sizes[:, None])[:, 0]
    truth = np.log(curve.sizes * 15 / 16 * 1e-9)
    assert (curve.level + change - truth) @ np.array(last) / 4 / 0.1 == pytest.approx(kept, abs=0.35)


@pytest.mark.parametrize(("off", "explained"), [(0.01, True), (0.025, True), (0.05, False), (0.15, False)])
def test_a_named_algorithm_is_believed_alone_only_if_it_is_off_by_no_more_than_the_noise(off, explained):
    """Noise of 2 %; times off in a chequerboard, which has no trend over sizes or rank counts."""
    smooth = _curve(_algorithm("all_reduce", "ring"), [2, 4, 8, 16], noise=0.0)
    board = 1 - 2 * (np.indices(smooth.log_time_s.shape).sum(axis=0) % 2)
    curve = replace(smooth, log_time_s=smooth.log_time_s + off * board, noise_log=0.02)
    assert (exact(curve, 64, np.array(SIZES, dtype=float)) is not None) is explained


@given(st.lists(st.floats(0.1, 4), min_size=4, max_size=4), st.lists(st.floats(-4, -0.1), min_size=4, max_size=4))
def test_an_interval_never_gets_narrower_with_distance(high, low):
    """Whatever quantiles of error were learned for 2, 4, 8 times as many ranks, and more."""
    sure = Forecast(*(np.zeros(1) for _ in range(7)))
    widths = Widths(np.array([0.0, 0.0, 0.0, 0.0, -0.5, 0.0, 0.0, 1.0]), np.array(low), np.array(high), np.zeros(4))
    typical = [-1.0, -1.2, -1.4, -1.6]        # even where the errors learned shrink with distance
    ends = [log_ends(sure, 2.0**doublings, 3, typical[:doublings], widths) for doublings in (1, 2, 3, 4)]
    for side in (0, 1):
        found = [float(end[side][0]) for end in ends]
        assert found == sorted(found)


def test_trends_count_for_little_beside_an_algorithm_that_the_data_name():
    curve = _curve(_algorithm("all_reduce", "ring"), [2, 4, 8, 16], noise=0.3)
    named = hold_trials(curve)
    trend = np.array([candidate.algorithm is None for candidate in named.candidates])
    odds = []
    for trials in (named, replace(named, curve=replace(curve, algorithm=None))):
        weights = forecast(trials, 4, 64, curve.sizes, "mpi", load_calibration().history).weights
        odds.append(weights[trend].sum(axis=0) / weights[~trend].sum(axis=0))
    assert (odds[0] < odds[1] / 5).all()
    assert (odds[0] > 0).all()          # and still count, should all of the algorithm's fits be wrong


def test_a_level_never_crossed_gets_a_wider_interval_and_the_record_of_such_crossings():
    frame = points(ring, [8, 16], noise=0.0)
    inside, beyond = extrapolate(frame, [32]), extrapolate(frame.assign(ranks_per_node=16), [32])
    widths = [np.log(found["time_hi_s"] / found["time_s"]).median() for found in (inside, beyond)]
    assert widths[1] > 1.4 * widths[0]
    assert beyond["track_record"].str.contains("beyond a level that was not crossed").all()
    assert inside["track_record"].str.contains("over nodes").all()


def test_good_hold_outs_inside_a_level_do_not_narrow_a_forecast_beyond_it():
    """As docs/models.md states, 0.45 in log is added: 1.645 * 0.45 = 0.74 either way, a factor of 2.1."""
    frame = points(ring, [2, 4, 8, 16], noise=0.0).assign(algorithm="ring")
    inside, beyond = extrapolate(frame, [32]), extrapolate(frame.assign(ranks_per_node=16), [32])
    assert (np.log(inside["time_hi_s"] / inside["time_s"]) < 0.5).all()
    assert (np.log(beyond["time_hi_s"] / beyond["time_s"]) >= 0.74).all()


@given(st.floats(-3, 3), st.floats(0.001, 1))
def test_a_drift_is_no_larger_than_hold_outs_leave_room_for(drift, score):
    moved = float(within_score(np.array([drift]), np.array([score]))[0])
    assert abs(moved) <= score
    assert moved == drift or abs(moved) == score


@pytest.mark.parametrize(("name", "ranks", "one_switch"), [
    ("nvl72", 72, True), ("nvl72", 73, False), ("hgx_h100_8", 8, True), ("cm384", 64, False),
    ("atlas_800_a2", 8, False), ("mi300x_8", 8, False), ("tpu_v5e", 64, False), ("rubin_ultra_nvl576", 72, False)])
def test_one_switch_apart_is_told_by_the_tiers_of_a_domain(name, ranks, one_switch):
    assert is_switched(load_domains()[name], ranks) is one_switch


def test_an_interval_holds_the_noise_of_the_measurement_that_it_starts_from():
    """95 % intervals of e^0.6 either way, a standard deviation of 0.306, though all medians lie on the model."""
    frame = points(ring, [2, 4, 8, 16], noise=0.0)
    noisy = frame.assign(time_lo_s=frame["time_s"] / math.exp(0.6), time_hi_s=frame["time_s"] * math.exp(0.6))
    sure, unsure = extrapolate(frame, [32]), extrapolate(noisy, [32])
    half_width = np.log(unsure["time_hi_s"] / unsure["time_s"])
    assert (half_width >= 1.645 * 0.6 / 1.96 - 1e-9).all()
    assert (np.log(sure["time_hi_s"] / sure["time_s"]) < half_width).all()


def test_a_message_that_grows_with_the_ranks_goes_on_growing_and_a_constant_one_does_not():
    """The block of a rank is what some tools call the size: over 64 ranks it is 64 blocks."""
    block = points(lambda n, size: 1e-6 * n + size * 1e-9, [2, 4, 8], op="all_gather", sizes=[1024, 65536])
    total = block["message_bytes"] * block["ranks"]
    grows = block.assign(native_size_bytes=block["message_bytes"], message_bytes=total, asked_bytes=total)
    assert extrapolate(grows, [64])["message_bytes"].tolist() == [64 * 1024, 64 * 65536]
    assert extrapolate(block, [64])["message_bytes"].tolist() == [1024, 65536]


def test_a_level_never_crossed_is_assumed_as_much_slower_as_its_nominal_rate_is():
    """400 GB/s inside a node of 8, 100 GB/s between nodes: a quarter of the rate."""
    home = load_domains()["cm384"]
    tiers = (msgspec.structs.replace(tier, rate_Bps=msgspec.structs.replace(tier.rate_Bps, value=rate, alternatives=()))
             for tier, rate in zip(home.tiers[-2:], (400e9, 100e9), strict=True))
    slow = msgspec.structs.replace(home, tiers=tuple(tiers))
    found = tiers_of(None, False, 8, 64, ("slow", slow))
    assert (found.levels, [assumed.rate for assumed in found.beyond]) == ((8,), [0.25])
    large = points(lambda n, size: (n - 1) / n * size / 300e9, [2, 4, 8], op="all_to_all", noise=0.0, sizes=[1 << 30])
    time_s = extrapolate(large, [64], ("slow", slow))["time_s"].item()
    assert time_s == pytest.approx(63 / 64 * (1 << 30) / 75e9, rel=0.25)       # 56 of 63 messages leave the node


@pytest.mark.parametrize(("sizes", "seen"), [(1, False), (2, True), (4, True), (12, True)])
def test_a_switch_at_some_sizes_only_is_a_switch(sizes, seen):
    """Of 12 sizes, the smallest ones change from a ring to a flat 3 us at 16 ranks."""
    sized = [*SIZES, 1 << 60]
    frame = points(lambda n, size: 3e-6 if n >= 16 and size < sized[sizes] else ring(n, size), [2, 4, 6, 8, 16],
                   noise=0.0)
    curve = curve_of(frame.assign(size=frame["message_bytes"], payload_bytes=frame["message_bytes"]), "all_reduce")
    assert jump_counts(hold_trials(curve)) == ([(16, sizes)] if seen else [])


def test_a_time_that_would_be_below_its_bound_is_the_bound():
    """Times that fall with 1 / ranks cannot go on falling."""
    found = extrapolate(points(lambda n, size: 1e-3 / n, [2, 4, 8], noise=0.0, op="all_gather"), [384])
    assert (found["time_s"] >= found["bound_s"]).all()
    assert (found["time_lo_s"] >= found["bound_s"]).all()
    assert (found["time_s"] == found["bound_s"]).any()
    assert (found["bound_s"] > 0).all()
