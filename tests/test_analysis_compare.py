"""Comparisons of two sides with a known difference: verdicts, undecided cases and refusals."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from collbench.analysis.compare import compare, match, sides
from collbench.analysis.compare.rank_tests import rank_sum_distribution, signed_rank_distribution
from collbench.analysis.compare.show import as_json, page
from collbench.analysis.compare.sides import KEY, Match
from collbench.analysis.compare.verdict import holm
from collbench.collectives.errors import UsageError

SIZES = (1024, 65536, 1 << 20)


def side(folder, name, launches, factor=1.0, noise=0.02, seed=0, statistic="median over calls, slowest rank"):
    """A side of tidy CSV files, one per launch, with times that scatter from launch to launch."""
    rng = np.random.default_rng([seed, *name.encode()])
    paths = []
    for launch in range(launches):
        shift = rng.normal(0, noise)
        path = folder / f"{name}{launch}.csv"
        rows = [f"x,y,all_reduce,,float32,4,2,{size},{size / 100 * factor * math.exp(shift + rng.normal(0, noise))},"
                f"\"{statistic}\"" for size in SIZES]
        head = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us,statistic"
        path.write_text("\n".join([head, *rows, ""]))
        paths.append(str(path))
    return sides(",".join(paths))


def test_a_slowdown_is_detected_and_a_repeat_is_not(tmp_path):
    a, same, slow = side(tmp_path, "a", 10), side(tmp_path, "b", 10), side(tmp_path, "c", 10, factor=1.1)
    assert not set(compare(match(a, same)).rows["verdict"]) & {"slower", "faster"}
    result = compare(match(a, slow))
    assert set(result.rows["verdict"]) == {"slower"}
    assert len(result.over(0.03)) == len(SIZES)
    assert result.over(0.5).empty
    assert set(compare(match(slow, a)).rows["verdict"]) == {"faster"}


def test_one_launch_per_side_is_undecided_and_estimates_how_many_are_needed(tmp_path):
    rows = compare(match(side(tmp_path, "a", 1), side(tmp_path, "b", 1, factor=1.1))).rows
    assert set(rows["verdict"]) == {"cannot tell"}
    assert (rows["more"] >= 1).all()


def test_a_disturbed_launch_raises_no_false_alarm(tmp_path):
    a, b = side(tmp_path, "a", 8), side(tmp_path, "b", 7)
    disturbed = side(tmp_path, "d", 1, factor=30)
    both = type(b)("b", (*b.launches, *disturbed.launches))
    assert not set(compare(match(a, both)).rows["verdict"]) & {"slower", "faster"}


def test_false_alarms_stay_rare_over_whole_tables(tmp_path):
    alarms = 0
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = compare(match(side(folder, "a", 3, seed=seed), side(folder, "b", 3, seed=seed))).rows
        alarms += bool(set(rows["verdict"]) & {"slower", "faster"})
    assert alarms <= 3      # at most 0.5 are expected


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_rank_sum_distribution_matches_enumeration(a, b):
    wins = [sum(rank - place for place, rank in enumerate(ranks)) for ranks in itertools.combinations(range(a + b), a)]
    counted = np.cumsum(np.bincount(wins, minlength=a * b + 1)) / len(wins)
    assert np.allclose(rank_sum_distribution(a, b), counted)


def test_rank_sum_distribution_matches_scipy():
    x, y = np.arange(9.0), np.arange(9.0) + 6.5
    expected = stats.mannwhitneyu(x, y, method="exact")
    assert 2 * rank_sum_distribution(9, 9)[int(expected.statistic)] == pytest.approx(expected.pvalue)


def test_a_different_definition_of_time_is_refused_with_the_reason(tmp_path):
    a = side(tmp_path, "a", 2, statistic="median, slowest rank")
    b = side(tmp_path, "b", 2, statistic="median, root rank")
    kinds = {kind for one in (a, b) for loaded in one.launches for kind in loaded.points["time_kind"]}
    if len(kinds) < 2:
        for loaded in b.launches:
            loaded.points["time_kind"] = "root rank"
    with pytest.raises(UsageError, match="different definition of time"):
        match(a, b)


def test_a_run_on_both_sides_is_reported(tmp_path):
    a = side(tmp_path, "a", 3)
    found = match(a, type(a)("b", (*side(tmp_path, "b", 2).launches, a.launches[0])))
    assert "always compares as the same" in found.notes[0]
    assert match(a, side(tmp_path, "b", 2)).shared_run is None


def test_nothing_in_common_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="no measured point"):
        match(side(tmp_path, "a", 1), side(tmp_path, "b", 1), ops=["broadcast"])
    with pytest.raises(UsageError, match="no such file"):
        sides(str(tmp_path / "missing"))


def test_page_and_json_contain_every_case(tmp_path):
    result = compare(match(side(tmp_path, "a", 3), side(tmp_path, "b", 3)))
    assert len(as_json(result)["cases"]) == len(SIZES)
    text = page(result, "<b>", "B")
    assert text.count("<tr>") == len(SIZES) + 1
    assert "<b>" not in text
    assert "http" not in text


def drifting(folder, pairs, factor):
    """Two alternating sides on a machine that slows down by a tenth from pair to pair."""
    head = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us"
    rng, names = np.random.default_rng(5), {"a": [], "b": []}
    for pair in range(pairs):
        for name, times in (("a", 1.0), ("b", factor)):
            path = folder / f"{name}{pair}.csv"
            rows = [f"x,y,all_reduce,,float32,4,2,{size},{size / 100 * times * 1.1**pair * rng.lognormal(0, 0.01)}"
                    for size in SIZES]
            path.write_text("\n".join([head, *rows, ""]))
            names[name].append(str(path))
    return sides(",".join(names["a"])), sides(",".join(names["b"]))


@pytest.mark.parametrize("pairs", [4, 9])       # variance model, signed-rank test
def test_pairing_detects_a_slowdown_that_drift_hides_otherwise(tmp_path, pairs):
    a, b = drifting(tmp_path, pairs, 1.05)
    assert set(compare(match(a, b)).rows["verdict"]) == {"cannot tell"}
    rows = compare(match(a, b, paired=True)).rows
    assert rows["ratio"].between(1.03, 1.07).all()
    if pairs > 4:
        assert set(rows["verdict"]) == {"slower"}
        assert ((rows["ratio_lo"] > 1) & (rows["ratio_hi"] < 1.1)).all()


def test_pairing_needs_equal_numbers_of_launches(tmp_path):
    with pytest.raises(UsageError, match=r"has 3, .* has 2"):
        match(side(tmp_path, "a", 3), side(tmp_path, "b", 2), paired=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 8))
def test_signed_rank_distribution_matches_enumeration(pairs):
    sums = [sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in
            itertools.product((False, True), repeat=pairs)]
    assert np.allclose(signed_rank_distribution(pairs), np.cumsum(np.bincount(sums)) / len(sums))


def equal_sides(rng, cases, launches):
    """Two sides without a difference: every case of every launch scatters independently by 3 %."""
    case = dict.fromkeys(KEY) | {"transport": "mpi", "op": "all_reduce", "mode": "streamed"}
    rows = [{**case, "ranks": 4, "message_bytes": 1 << number, "asked_bytes": 1 << number, "fabric": "x",
             "label": f"case {number}", "side": which, "launch": f"{which}{launch}", "sampling": 0.0,
             "time_s": 1e-5 * math.exp(rng.normal(0, 0.03))}
            for number in range(cases) for which in "ab" for launch in range(launches)]
    return Match(pd.DataFrame(rows), (), (), (0, 0), ())


@pytest.mark.slow
def test_the_family_wise_error_is_held_over_200_tables():
    """With 12 independent cases per table, testing each at 5 % would raise an alarm in 46 % of tables."""
    rng = np.random.default_rng(8)
    alarms = sum(bool({"slower", "faster"} & set(compare(equal_sides(rng, 12, 8), band=0).rows["verdict"]))
                 for _ in range(200))
    assert 1 <= alarms <= 200 * 0.05 + 2 * math.sqrt(200 * 0.05 * 0.95)


def test_holm_is_more_powerful_than_one_level_for_all():
    """Each rejection relaxes the level of the next: 0.05 / 3, 0.05 / 2, 0.05."""
    level, rejected = holm(np.array([0.04, 0.01, 0.02]))
    assert rejected.tolist() == [True, True, True]
    assert level.tolist() == pytest.approx([0.05, 0.05 / 3, 0.025])
    _, rejected = holm(np.array([0.04, 0.03, 0.01]))       # the second fails at 0.025, so the third is not tested
    assert rejected.tolist() == [False, False, True]
