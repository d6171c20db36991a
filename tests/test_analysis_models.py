"""Cost models: exact formulas, recovery of known parameters, choice by held-out error, honest intervals."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from analysis.models import as_json, extrapolate
from analysis.models.costs import SHAPES
from analysis.models.fit import Series, fit_series
from analysis.models.forms import AlphaBeta
from analysis.models.predict import COLUMNS
from collectives.catalog import OPERATIONS
from collectives.errors import UsageError

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


def _shape(op, algorithm):
    return next(shape for shape in SHAPES[op] if shape.algorithm == algorithm)


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
    shape = _shape(op, algorithm)
    found = [1e6 * (shape.steps(ranks) * HOP_S + float(shape.factor(ranks)) * size / RATE_BPS)
             for size in (1 << 10, 1 << 20, 1 << 28)]
    assert found == pytest.approx(SIMULATED_US[key], rel=2e-3)


def test_every_operation_that_can_be_extrapolated_has_shapes():
    assert {name for name, row in OPERATIONS.items() if not row.pairs and name != "noop"} == set(SHAPES)


@pytest.mark.parametrize("shape", [_shape("all_reduce", "ring"), _shape("all_reduce", "rabenseifner")],
                         ids=lambda shape: shape.algorithm)
def test_a_sampled_model_gets_its_parameters_back(shape):
    truth = AlphaBeta(shape, overhead_s=5e-6, alpha_s=2e-6, beta_s_per_byte=1e-10)
    ranks, sizes = (grid.ravel() for grid in np.meshgrid([2, 3, 4, 6, 8], SIZES))
    noise = np.exp(np.random.default_rng(6).normal(0, 0.01, len(ranks)))
    found = fit_series(Series("all_reduce", ranks, sizes, truth.seconds(ranks, sizes) * noise)).best.model
    assert found.algorithm == shape.algorithm
    assert found.overhead_s == pytest.approx(5e-6, rel=0.1)
    assert found.alpha_s == pytest.approx(2e-6, rel=0.1)
    assert found.beta_s_per_byte == pytest.approx(1e-10, rel=0.05)


@pytest.mark.parametrize("shape", SHAPES["all_reduce"], ids=lambda shape: shape.algorithm)
def test_known_algorithms_are_predicted_at_72_and_384_from_16(shape):
    truth = AlphaBeta(shape, overhead_s=3e-6, alpha_s=1e-6, beta_s_per_byte=5e-11)
    seconds = lambda n, size: float(truth.seconds(np.array([n]), np.array([size]))[0])  # noqa: E731
    found = extrapolate(points(seconds, [2, 3, 4, 6, 8, 12, 16], noise=0.01))
    actual = np.array([seconds(n, size) for n, size in zip(found["ranks"], found["message_bytes"], strict=True)])
    error = np.abs(found["time_s"] / actual - 1)
    assert error.median() < 0.04
    assert ((found["time_lo_s"] <= actual) & (actual <= found["time_hi_s"])).mean() > 0.8
    assert (found["time_hi_s"] / found["time_lo_s"]).median() < 1.6


def test_held_out_error_chooses_and_is_reported():
    """Small rank counts fit a ring; the largest shows that time stays: the in-sample favourite must lose."""
    found = fit_series(Series("all_reduce", np.repeat([2, 3, 16], 2), np.array([8, 4096] * 3),
                              np.array([10e-6, 11e-6, 10e-6, 11e-6, 10e-6, 11e-6])))
    assert found.holdout_error < 0.02
    assert found.best.seconds(np.array([384]), np.array([8]))[0] == pytest.approx(10e-6, rel=0.1)


def test_wider_with_distance_and_with_noise():
    near, far = (extrapolate(points(ring, [2, 4, 8], noise=0.02), [n]) for n in (16, 384))
    noisy = extrapolate(points(ring, [2, 4, 8], noise=0.3), [16])
    width = [(frame["time_hi_s"] / frame["time_lo_s"]).median() for frame in (near, far, noisy)]
    assert width[0] < width[1]
    assert width[0] < width[2]


def test_two_rank_counts_get_the_stated_prior_and_say_so():
    found = extrapolate(points(ring, [2, 4]), [8])
    assert found["holdout_error"].isna().all()
    assert found["reason"].str.contains("nothing could be held out").all()
    assert (found["time_hi_s"] / found["time_s"]).min() > math.exp(0.4)


def test_no_prediction_below_its_bound():
    """Times that fall with ranks cannot be told to fall for ever."""
    found = extrapolate(points(lambda n, size: 1e-3 / n, [2, 4, 8], noise=0.4), [384])
    assert (found["time_lo_s"] >= 0.5 * 1e-3 / 8 * math.exp(-1.2)).all()


@pytest.mark.parametrize(("op", "columns", "word"), [
    ("ping_pong", {"redop": None, "place": None}, "pairs"), ("noop", {"dtype": None, "place": None}, "empty call"),
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
