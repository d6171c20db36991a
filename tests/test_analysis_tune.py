"""Who wins a race of variants: the decision rule, the rules that are written, and what a library ignored."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collbench.analysis.export import nccl_tuner
from collbench.analysis.tune.answer import Answer, Proof
from collbench.analysis.tune.forecast import Likely, _draws
from collbench.analysis.tune.in_force import _against
from collbench.analysis.tune.measured import Table
from collbench.analysis.tune.race import Race, is_look, looks_until, share_of
from collbench.analysis.tune.rules import nccl, open_mpi, shell
from collbench.analysis.tune.show import lines
from collbench.analysis.tune.winners import found_in
from collbench.collectives.records.tuning import REFERENCE, Tuning, Variant

CELLS = 6
DYNAMIC = {"OMPI_MCA_coll_tuned_use_dynamic_rules": "1"}


def noise(seed, variants, rounds, launch=0.06, own=0.1, disturbed=0.08):
    """Log times of equal variants: drift, launches that differ, some twice as long, cases of unlike scatter."""
    random = np.random.default_rng(seed)
    shift = random.normal(0, launch, (variants, rounds)) + np.log(2) * (random.random((variants, rounds)) < disturbed)
    scale = own * np.exp(random.normal(0, 0.5, (CELLS, 1, 1)))
    return random.normal(0, scale, (CELLS, variants, rounds)) + shift + np.cumsum(random.normal(0, 0.05, rounds))


def race(log_s):
    found = Race(len(log_s), log_s.shape[1])
    for rounds in looks_until(log_s.shape[2]):
        found.look(log_s[:, :, :rounds])
    return found


def test_the_levels_of_all_looks_sum_to_the_whole():
    looks = [count for count in range(10_000) if is_look(count)]
    assert looks[:7] == [3, 4, 6, 8, 12, 16, 24]
    assert 0.999 < sum(share_of(look) for look in range(1, 30)) <= 1


@pytest.mark.parametrize("variants", [2, 7])
def test_equal_variants_tie_in_at_least_95_percent_of_repeats(variants):
    ties = sum(not race(noise(seed, variants, 8)).faster.any() for seed in range(100))
    assert ties >= 95


@pytest.mark.parametrize("rounds", [8, 12])
def test_a_planted_slow_variant_loses_everywhere_and_equal_ones_still_tie(rounds):
    log_s = noise(1, 4, rounds, disturbed=0)
    log_s[:, 2] += np.log(4)
    found = race(log_s)
    assert found.faster[:, [0, 1, 3], 2].all()
    assert not found.faster[:, 2].any()
    assert found.contenders(np.ones((CELLS, 4), bool)).tolist() == [[True, True, False, True]] * CELLS


@pytest.mark.parametrize("rounds", [3, 4, 6])
def test_one_disturbed_launch_tells_nothing_apart(rounds):
    log_s = noise(3, 3, rounds, launch=0.01, own=0.01, disturbed=0)
    log_s[:, 1, 1] += np.log(10)
    assert not race(log_s).faster.any()


def test_a_variant_that_scatters_more_than_others_is_not_told_apart():
    alarms = 0
    for seed in range(60):
        log_s = noise(seed, 7, 8, disturbed=0)
        usual = log_s[:, :6].mean(axis=1)
        log_s[:, 6] = usual + 5 * (log_s[:, 6] - usual)
        alarms += race(log_s).faster.any()
    assert alarms <= 3


def test_what_is_within_five_percent_is_settled_as_the_same():
    log_s = noise(5, 3, 12, launch=0.001, own=0.002, disturbed=0) + np.log([1.0, 1.01, 0.995])[:, None]
    found = race(log_s)
    assert found.same.sum() == CELLS * 6
    assert found.settled(np.ones((CELLS, 3), bool)).all()
    assert not found.faster.any()


@given(st.permutations(range(4)), st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_order_of_variants_changes_no_verdict(order, seed):
    log_s = noise(seed, 4, 6)
    log_s[:, 1] -= 0.8
    log_s[:, 3] = np.where(np.arange(6) < 4, log_s[:, 3], np.nan)       # dropped after four rounds
    plain, turned = race(log_s), race(log_s[:, list(order)])
    ends = np.ix_(range(CELLS), order, order)
    assert (plain.faster[ends] == turned.faster).all()
    np.testing.assert_allclose(plain.effect[ends], turned.effect)


def test_what_was_told_apart_stays_so():
    log_s = noise(7, 3, 8, disturbed=0)
    log_s[:, 2, :4] += 2
    log_s[:, 2, 4:] -= 2
    early = race(log_s[:, :, :4])
    assert early.faster[:, 0, 2].all()
    assert race(log_s).faster[:, 0, 2].all()


def tuning(*variants, ops=("all_reduce",), ranks=(4, 8), transport="mpi"):
    return Tuning(variants=(Variant(name=REFERENCE, transport=transport), *variants), ops=ops, sizes=(1024, 65536),
                  ranks=ranks, job_ranks=max(ranks))


def found_with(asked, best, ops=("all_reduce",), sizes=(1024, 65536), slower=None):
    """The outcome of a race in which `best` maps (op, ranks, size) to the variant that takes half the time there."""
    cells = pd.DataFrame([dict(op=op, ranks=ranks, message_bytes=size, asked_bytes=size, label=f"{op} {size}")
                          for op in ops for ranks in asked.ranks for size in sizes])
    names = tuple(variant.name for variant in asked.variants)
    random = np.random.default_rng(0)
    log_s = random.normal(0, 0.01, (len(cells), len(names), 6))
    for cell, row in enumerate(cells.itertuples()):
        if name := best.get((row.op, row.ranks, row.message_bytes)):
            log_s[cell, names.index(name)] -= np.log(2)
        if name := (slower or {}).get((row.op, row.ranks, row.message_bytes)):
            log_s[cell, names.index(name)] += np.log(2)
    return found_in(Table(cells, names, log_s), "Open MPI 5.0.11")


def algorithm(name, number, op="allreduce"):
    return Variant(name=name, transport="mpi", settings={**DYNAMIC, f"OMPI_MCA_coll_tuned_{op}_algorithm": str(number)})


def used(rules, ranks, size):
    """The algorithm that Open MPI 5.0 takes: the last communicator size and message size that are not larger."""
    counts = sorted(rules)
    at = max([count for count in counts if count <= ranks], default=counts[0])
    return [number for least, number in rules[at] if least <= size][-1]


def test_the_rules_of_open_mpi_choose_what_won_and_nothing_elsewhere():
    asked = tuning(algorithm("ring", 4), algorithm("doubling", 3))
    best = {("all_reduce", 8, 65536): "ring", ("all_reduce", 8, 1024): "doubling", ("all_reduce", 4, 65536): "doubling"}
    written = open_mpi.write(found_with(asked, best), asked)
    rules = open_mpi.parse(written.text)["allreduce"]
    assert [used(rules, *where) for where in ((8, 65536), (8, 1024), (4, 65536), (4, 1024))] == [4, 3, 3, 0]
    assert [used(rules, *where) for where in ((8, 65537), (8, 0), (16, 65536), (2, 65536), (6, 65536), (5, 1 << 20))] \
        == [0] * 6
    assert written.settings["OMPI_MCA_coll_tuned_dynamic_rules_filename"] == "{path}"


@given(st.lists(st.lists(st.sampled_from([0, 3, 4, 6]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_rules_by_rank_count_hold_at_every_measured_size(numbers):
    from collbench.analysis.tune.winners import Choice
    counts = [2 + 3 * at for at in range(len(numbers))]
    sizes = [64 << 4 * at for at in range(5)]
    chosen = [Choice("all_reduce", ranks, size, str(number)) for ranks, row in zip(counts, numbers, strict=True)
              for size, number in zip(sizes, row, strict=True)]
    rules = open_mpi._by_ranks(chosen, {str(number): number for number in (0, 3, 4, 6)}, blind=False)
    for choice in chosen:
        assert used(rules, choice.ranks, choice.message_bytes) == int(choice.variant)
        assert used(rules, choice.ranks + 1, choice.message_bytes) == 0


@pytest.mark.parametrize("text", ["1\n2\n1\n8\n1\n64 4 0 0\n", "1\n2\n1\n8\n2\n0 4 0 0\n",
                                  "1\n2\n1\n8\n1\n0 4 0 0\n7\n", "1\n99\n0\n"])
def test_rules_that_open_mpi_would_misread_are_refused(text):
    with pytest.raises(ValueError, match=r"first rule|ends too early|goes on"):
        open_mpi.parse(text)


def test_nothing_is_written_where_nothing_won():
    asked = tuning(algorithm("ring", 4))
    found = found_with(asked, {})
    assert (open_mpi.write(found, asked), nccl.write(found, asked), shell.write(found, asked)) == (None, None, None)


def test_the_rules_of_nccl_pass_the_strict_parser_and_choose_what_won():
    wide = {"NCCL_ALGO": "NVLSTree", "NCCL_PROTO": "Simple", "NCCL_MIN_CTAS": "16", "NCCL_MAX_CTAS": "16"}
    asked = tuning(Variant(name="tree/ll128", settings={"NCCL_ALGO": "Tree", "NCCL_PROTO": "LL128"}),
                   Variant(name="nvls", settings=wide), transport="torch")
    best = {("all_reduce", 8, 1024): "tree/ll128", ("all_reduce", 8, 65536): "nvls"}
    written = nccl.write(found_with(asked, best), asked)
    rules = nccl_tuner.parse(written.text)
    small, large = (nccl_tuner.first_match(rules, "all_reduce", size, 1, 8) for size in (1024, 65536))
    assert (small.algorithm, small.protocol, small.channels) == ("tree", "ll128", None)
    assert (large.algorithm, large.protocol, large.channels) == ("nvls_tree", "simple", 16)
    assert nccl_tuner.first_match(rules, "all_reduce", 1024, 1, 4) is None


def test_variables_for_a_shell_are_never_slower_in_any_case():
    asked = tuning(Variant(name="mixed", transport="mpi", settings={"MPIR_CVAR_X": "a b"}),
                   Variant(name="good", transport="mpi", settings={"MPIR_CVAR_Y": "1"}))
    best = {("all_reduce", *where): "mixed" for where in ((8, 1024), (8, 65536), (4, 65536))}
    best |= {("all_reduce", 4, 1024): "good"}
    harm = {("all_reduce", 4, 1024): "mixed"}
    written = shell.write(found_with(asked, best, slower=harm), asked)
    assert written.text.splitlines()[1:] == ["export MPIR_CVAR_Y=1"]
    assert written.settings == {"MPIR_CVAR_Y": "1"}


@pytest.mark.parametrize(("slower", "at_most", "holds"), [((), 1.3, True), ((), 2.1, False), (("one",), 1.1, False)])
def test_rules_hold_if_they_are_slower_nowhere_and_twice_the_time_is_ruled_out(slower, at_most, holds):
    assert Proof((), 6, slower, at_most).holds == holds


def test_the_answer_takes_25_lines_at_most_and_all_of_it_more():
    sizes = tuple(64 << at for at in range(12))
    asked = tuning(algorithm("ring", 4), algorithm("doubling", 3))
    names = ("ring", "doubling")
    best = {("all_reduce", ranks, size): names[at % 2] for ranks in (4, 8) for at, size in enumerate(sizes)}
    found = found_with(asked, best, sizes=sizes)
    likely = tuple(Likely("all_reduce", 72 + at, 1024, "ring", 0.6, (1e-3, 5e-4, 2e-3), (("ring", 0.6),), None)
                   for at in range(9))
    answer = Answer(asked, (), found, open_mpi.write(found, asked), None, likely,
                    {f"typo {at}": ["A=1: no such setting"] for at in range(9)}, {}, (), None)
    assert len(list(lines(answer))) <= 25
    assert len(list(lines(answer, verbose=True))) > 60
    assert any("was not measured again" in line for line in lines(answer))


@pytest.mark.parametrize(("asked", "held", "ignored"), [
    ("4", "4 (ring)", False), ("ring", "4 (ring)", False), ("3", "4 (ring)", True), ("3", None, True),
    ("ring", "8", False), ("2", "8", True), ("true", "1 (true)", False), ("self,tcp", "self,tcp", False),
    ("self,tcp", "", True)])
def test_a_setting_is_ignored_if_the_library_holds_another_value(asked, held, ignored):
    assert (_against(asked, held, "an MPI") is not None) == ignored


def test_draws_have_the_interval_of_the_forecast():
    rows = pd.DataFrame({"time_s": [1e-3, 2e-3], "time_lo_s": [5e-4, 1.9e-3], "time_hi_s": [4e-3, 2.1e-3]})
    drawn = np.exp(_draws(rows))
    for row, values in zip(rows.itertuples(), drawn, strict=True):
        low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
        assert math.isclose(middle, row.time_s, rel_tol=0.05)
        assert math.isclose(low, row.time_lo_s, rel_tol=0.05)
        assert math.isclose(high, row.time_hi_s, rel_tol=0.05)
