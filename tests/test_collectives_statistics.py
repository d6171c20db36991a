"""Statistics of one point and the stopping rule, at the edges of their definitions."""

import math
import statistics
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.collectives.statistics import resampling, stopping
from collbench.collectives.statistics.stability import flags, quantile, spread

TIMES = st.lists(st.integers(1, 10**6).map(float), min_size=1, max_size=60)


@given(TIMES, st.fractions(min_value=0, max_value=1, max_denominator=100))
def test_a_quantile_is_the_smallest_sample_with_that_share_at_or_below(samples, share):
    """By counting, for any n and share, so also where share * n is not a whole number."""
    enough = [x for x in samples if sum(other <= x for other in samples) >= share * len(samples)]
    # A share times n that floats round up across a whole number may take the next sample.
    found = quantile(np.sort(samples), float(share))
    assert found == min(enough) or math.ceil(float(share) * len(samples)) != math.ceil(share * len(samples))


@pytest.mark.parametrize(("n", "p5", "p95", "p99"), [
    (1, 1, 1, 1), (7, 1, 7, 7), (19, 1, 19, 19), (21, 2, 20, 21), (50, 3, 48, 50), (99, 5, 95, 99), (100, 5, 95, 99),
    (101, 6, 96, 100), (110, 6, 105, 109)])
def test_quantiles_round_the_rank_up(n, p5, p95, p99):
    found = spread(np.arange(1.0, n + 1))
    assert (found.p5, found.p95, found.p99) == (p5, p95, p99)


@given(TIMES)
def test_precision_is_half_the_width_of_the_confidence_interval_over_the_median(samples):
    """The live row and the digest agree; the interval from exact binomial tail probabilities."""
    n, ordered = len(samples), sorted(samples)
    tails = ((k, sum(math.comb(n, i) for i in range(k)) / 2**n) for k in count(1))
    k = 0
    for candidate, tail in tails:
        if 2 * tail > 0.05 or candidate > n:
            break
        k = candidate
    found = stopping.median_precision(samples)
    if k == 0:
        assert found is None
        assert math.isnan(spread(np.array(samples)).precision)
        return
    half = (ordered[n - k] - ordered[k - 1]) / 2
    assert found == pytest.approx(half / statistics.median(samples))
    assert spread(np.array(samples)).precision == pytest.approx(found)


def test_the_precision_of_known_samples():
    assert stopping.median_precision([98.0, 99.0, 100.0, 100.0, 101.0, 102.0]) == pytest.approx(0.02)
    assert stopping.median_precision([100.0] * 6) == 0.0
    assert stopping.median_precision([]) is None


@pytest.mark.parametrize(("slow", "bimodal"), [(8, False), (9, True), (20, True), (31, True), (32, False)])
def test_two_modes_need_more_than_a_fifth_of_the_samples_each(slow, bimodal):
    """40 samples in two clusters, at 100 and 150; a few slow ones are outliers and no mode."""
    rng = np.random.default_rng(slow)
    samples = rng.permutation(np.concatenate([100 + rng.random(40 - slow), 150 + rng.random(slow)]))
    assert ("bimodal" in flags(samples, spread(samples), 1.0)) is bimodal


def test_one_mode_without_a_gap_is_not_bimodal_however_wide():
    samples = np.random.default_rng(1).permutation(np.linspace(100, 200, 40))
    assert "bimodal" not in flags(samples, spread(samples), 1.0)


def test_two_modes_within_5_percent_of_the_median_do_not_matter():
    rng = np.random.default_rng(1)
    for apart, bimodal in ((4, False), (7, True)):
        samples = rng.permutation(np.concatenate([100 + rng.random(20) / 10, 100 + apart + rng.random(20) / 10]))
        assert ("bimodal" in flags(samples, spread(samples), 1.0)) is bimodal


@pytest.mark.parametrize(("step", "drifts"), [(1.0, True), (12.0, False)])
def test_halves_drift_apart_only_where_their_intervals_do_not_overlap(step, drifts):
    """Medians of 100 and 108. Of 10 samples the interval goes from the second to the ninth: 3.5 steps either way."""
    half = 100 + step * (np.random.default_rng(2).permutation(10) - 4.5)
    samples = np.concatenate([half, half + 8])
    assert ("drift" in flags(samples, spread(samples), 1.0)) is drifts


@pytest.mark.parametrize(("budget_s", "limit_s"), [(0.25, 2.0), (0.01, 2.0), (0.5, 2.0), (1.0, 4.0), (3.0, 12.0)])
def test_late_samples_are_waited_for_four_times_the_budget_and_at_least_2_s(budget_s, limit_s):
    """If samples keep starting late, the minimum is given up after the limit and not before."""
    assert stopping.next_round(2, 0.999 * limit_s, budget_s, 5, 500) == 3
    assert stopping.next_round(2, limit_s, budget_s, 5, 500) == 0


@pytest.mark.parametrize(("spent_s", "budget_s", "size"), [
    (3.0, 4.0, 3), (3.0, 3.7, 2), (3.9, 4.0, 1), (1.0, 4.0, 10), (4.0, 4.0, 0)])
def test_a_round_is_no_longer_than_the_rest_of_the_budget(spent_s, budget_s, size):
    """10 samples so far; at most they double. In 3 s they took 0.3 s each, so 1 s is enough for 3."""
    assert stopping.next_round(10, spent_s, budget_s, 5, 500) == size


@given(counted=st.integers(0, 600), spent_s=st.just(0.0) | st.floats(1e-9, 20), budget_s=st.floats(0.001, 5),
       minimum=st.integers(1, 20), maximum=st.integers(20, 500))
def test_a_round_ends_within_samples_and_time(counted, spent_s, budget_s, minimum, maximum):
    size = stopping.next_round(counted, spent_s, budget_s, minimum, maximum)
    assert size >= 0
    assert counted + size <= max(maximum, counted)
    if counted < minimum:
        assert size in (0, minimum - counted)
    elif spent_s >= budget_s or counted >= maximum:
        assert size == 0
    else:
        assert 1 <= size <= max(1, counted)
        assert size == 1 or size * spent_s / counted <= (budget_s - spent_s) * (1 + 1e-9)


@pytest.mark.parametrize(("call_s", "block_s", "slots", "calls"), [
    (1e-6, 2e-3, 64, 64), (1e-3, 2e-3, 64, 2), (1e-4, 2e-3, 64, 20), (3e-4, 2e-3, 64, 7), (1.0, 2e-3, 64, 2)])
def test_calls_per_streamed_sample(call_s, block_s, slots, calls):
    assert stopping.calls_per_block(call_s, block_s, slots) == calls


@pytest.mark.parametrize(("reduce", "rounds"), [(resampling.means, 40), (resampling.tails, 150)])
def test_bootstrap_intervals_of_a_ratio_cover_the_truth(reduce, rounds):
    """Both columns are skewed, share what slows a round, and differ by a factor of 2."""
    chance, hits, trials = np.random.default_rng(rounds), 0, 80
    for _ in range(trials):
        shared = chance.lognormal(0, 0.3, rounds)
        columns = {name: scale * shared * chance.lognormal(0, 0.3, rounds) for name, scale in (("a", 1.0), ("b", 2.0))}
        found = resampling.resampled(columns, reduce, {"ratio": lambda of: of["b"] / of["a"]})["ratio"]
        assert found.lo < found.value < found.hi
        hits += found.lo <= 2 <= found.hi
    assert 0.87 <= hits / trials <= 1


def test_too_few_rounds_have_no_interval():
    columns = {"a": np.arange(1.0, 10.0)}
    assert resampling.resampled(columns, resampling.means, {"a": lambda of: of["a"]}) == {"a": (5.0, None, None)}
