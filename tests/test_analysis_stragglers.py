"""Stragglers and contradictions: what is planted is found, what is alike is not accused, a slowed rank is named."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from collbench.analysis.findings.collect import collect_findings
from collbench.analysis.findings.guidelines import find_violations
from collbench.analysis.findings.stragglers import find_stragglers
from collbench.analysis.frames.lateness import Lateness
from collbench.analysis.frames.load import load
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.records.digest import digest
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Run, Timing

RUN = Run(schema=SCHEMA, id="r", started="", transport="mpi", library="L", device="cpu", world=4,
          clock=Clock(kind="shared"), policy=Policy(), sweep=Sweep(ops=("all_reduce",), sizes=(64,), ranks=(4,)),
          command=(), provenance={"hosts": ["a", "a", "b", "b"]})


def lateness(spoil, cases=40, samples=50, seed=1):
    """Cases over four ranks that take 100 us, whose begins and ends differ by up to 2 us, and what `spoil` adds."""
    chance, added = np.random.default_rng(seed), Lateness()
    for number in range(cases):
        case = Case(op="all_reduce", ranks=4, bytes=64 << number % 8, dtype="float32", redop="sum")
        begin, elapsed = chance.integers(0, 2000, (4, samples)), 100_000 + chance.integers(0, 2000, (4, samples))
        spoil(begin, elapsed, chance)
        timing = Timing(mode="isolated", calls=1, warmup=0, begin_ns=begin.tolist(), elapsed_ns=elapsed.tolist(),
                        precision=None, stopped_by="time")
        added.add([("r", case, digest(case, timing, 0.02))])
    return added.frame()


def nothing(begin, elapsed, chance):
    """All ranks are alike."""


def arrives_late(begin, elapsed, chance):
    begin[2] += 20_000
    elapsed[2] -= 20_000


def transfers_slowly(begin, elapsed, chance):
    elapsed[1] += 15_000


def stalls_now_and_then(begin, elapsed, chance):
    begin[3, chance.integers(0, begin.shape[1])] += 3_000_000


def test_ranks_that_are_alike_are_not_accused():
    for seed in range(20):
        assert list(find_stragglers(lateness(nothing, seed=seed), {"r": RUN})) == []


@pytest.mark.parametrize(("spoil", "rank", "means"), [
    (arrives_late, "rank 2 on host b", "it arrives late"),
    (transfers_slowly, "rank 1 on host a", "its transfers are slow"),
    (stalls_now_and_then, "rank 3 on host b", "it arrives late")])
def test_a_planted_straggler_is_named_with_how_it_holds_the_others_up(spoil, rank, means):
    found = list(find_stragglers(lateness(spoil), {"r": RUN}))
    assert found
    assert found[0].words.startswith(f"straggler: {rank}")
    assert found[0].words.endswith(means)
    assert len(found) == 1
    assert (found[0].kind, bool(found[0].advice)) == ("straggler", True)


def test_the_device_of_a_straggler_is_named_so_that_it_can_be_found():
    devices = [{"index": 2 * rank, "bus": f"0000:{rank}1:00.0"} for rank in range(4)]
    run = msgspec.structs.replace(RUN, device="cuda:H100", provenance={**RUN.provenance, "devices": devices})
    first = next(find_stragglers(lateness(arrives_late), {"r": run}))
    assert "rank 2 on host b (cuda:H100, device 4 of the host, 0000:21:00.0) begins last" in first.words


def last_by_most(cases_last, cases=100, ranks=4, late_s=0.2):
    """Sums over `cases` in which rank 2 was last by most in `cases_last`, in total by `late_s` of 1 s in all calls."""
    return pd.DataFrame([{"run": "r", "ranks": ranks, "kind": "end", "rank": 2, "samples": 50 * cases,
                          "last": 50 * cases_last, "late_s": late_s, "cases": cases, "cases_last": cases_last,
                          "total_s": 1.0}])


@pytest.mark.parametrize(("sigmas", "accused"), [(0.5, False), (3.0, False), (5.0, True)])
def test_a_rank_is_accused_only_beyond_chance(sigmas, accused):
    """Of 100 cases one of 4 equal ranks is last by most in 25, with a standard deviation of 4.33."""
    found = list(find_stragglers(last_by_most(25 + round(sigmas * 4.33)), {"r": RUN}))
    assert bool(found) == accused


@pytest.mark.parametrize(("late_s", "accused"), [(0.01, False), (0.04, False), (0.06, True), (2.0, True)])
def test_a_rank_that_is_always_last_by_little_delays_nobody(late_s, accused):
    """Last by most in all 100 cases; in total by less than 5 % of the time of all calls, or by more."""
    assert bool(list(find_stragglers(last_by_most(100, late_s=late_s), {"r": RUN}))) == accused


@pytest.mark.parametrize(("share", "ranks", "accused"), [
    (0.51, 2, False), (0.58, 2, False), (0.62, 2, True), (0.34, 4, False), (0.36, 4, True), (0.005, 384, False),
    (0.006, 384, True)])
def test_a_rank_that_is_last_hardly_more_often_than_others_is_not_named(share, ranks, accused):
    """Of 100,000 cases, each of these shares is far beyond chance."""
    row = last_by_most(round(share * 100_000), 100_000, ranks).assign(late_s=200.0, total_s=1000.0)
    assert bool(list(find_stragglers(row, {"r": RUN}))) == accused


@pytest.mark.parametrize(("mean_late_s", "accused"), [(126e-9, False), (0.4e-6, False), (0.6e-6, True), (5e-6, True)])
def test_a_lateness_below_what_a_clock_can_tell_is_not_named(mean_late_s, accused):
    """Always last by most, by a fifth of the time of all calls, which are short."""
    always = last_by_most(100).assign(late_s=5000 * mean_late_s, total_s=5000 * 5 * mean_late_s)
    assert bool(list(find_stragglers(always, {"r": RUN}))) == accused


@pytest.mark.parametrize(("cases_last", "late_s", "accused"), [(46, 2.5, True), (46, 0.05, False), (40, 2.5, False),
                                                               (66, 0.05, True)])
def test_time_counts_as_well_as_cases(cases_last, late_s, accused):
    """Of 66 cases, whose calls take 0.06 s in all: a rank that is last in 46, by 2.5 s in all, is named."""
    row = last_by_most(cases_last, 66, 2, late_s=late_s).assign(total_s=0.06)
    assert bool(list(find_stragglers(row, {"r": RUN}))) == accused


def test_sums_of_nothing_in_a_damaged_journal_accuse_nobody():
    for empty in ({"last": 0}, {"samples": 0}, {"total_s": 0.0}, {"late_s": float("inf"), "total_s": float("nan")}):
        assert not list(find_stragglers(last_by_most(100).assign(**empty), {"r": RUN}))


SLOW_TO_LEAVE = """
#include <time.h>
static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int MPI_Barrier(MPI_Comm comm)
{
    int error = PMPI_Barrier(comm);
    for (long long end = now() + 500000; now() < end;)
        ;
    return error;
}
"""


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("mpi")
def test_a_rank_that_is_really_slowed_is_named(tmp_path, mpi_shim):
    """Rank 1 of a real MPI job takes 0.5 ms longer to leave a barrier; the findings name it, and not rank 0.

    It is delayed before every sample, so that a busy machine, which delays both, does not matter.
    """
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes, os\n"
        "if '1' in (os.environ.get('OMPI_COMM_WORLD_RANK'), os.environ.get('PMI_RANK')):     # Open MPI, MPICH\n"
        f"    ctypes.CDLL({str(mpi_shim(SLOW_TO_LEAVE))!r}, ctypes.RTLD_GLOBAL)\n")
    collbench = Path(sys.executable).parent / "collbench"
    done = subprocess.run([collbench, "run", "--transport", "mpi", "--ranks", "2", "--ops", "all_reduce,all_to_all,"
                           "all_gather", "-b", "64", "-e", "4K", "-f", "2", "--case-seconds", "0.1", "--precision",
                           "0", "--modes", "isolated", "--alignment", "barrier", "--out", tmp_path / "r"],
                          capture_output=True, text=True, timeout=240, check=False,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    # Which rank ends last, by some 100 ns, depends on the machine; a delayed rank begins last.
    words = [finding.words for finding in collect_findings(load(tmp_path / "r"))
             if "begins last by most" in finding.words]
    assert words, load(tmp_path / "r").lateness.to_string()
    assert all(line.startswith("straggler: rank 1 ") for line in words), words


def points(times_us, crowded=None):
    """Points as `frames.load` makes them, from {(op, ranks, bytes): time in us}, known within 1 %."""
    rows = [{"op": op, "ranks": ranks, "message_bytes": size, "time_lo_s": 0.99e-6 * time_us,
             "time_hi_s": 1.01e-6 * time_us, "label": f"{op} {size} {ranks}", "mode": "isolated", "system": "s",
             "transport": "mpi", "library": "L", "device": "cpu", "dtype": "float32", "traffic": None,
             "oversubscribed": crowded}
            for (op, ranks, size), time_us in times_us.items()]
    return pd.DataFrame(rows).astype({"oversubscribed": "boolean"})


CONSISTENT = {("all_reduce", 4, 64): 20, ("all_reduce", 4, 128): 30, ("all_reduce", 8, 64): 30,
              ("reduce_scatter", 4, 64): 12, ("all_gather", 4, 64): 10, ("broadcast", 4, 64): 15,
              ("scatter", 4, 64): 8, ("bandwidth", 4, 64): 5, ("bi_bandwidth", 4, 64): 6}


def test_figures_that_agree_are_no_finding():
    assert list(find_violations(points(CONSISTENT))) == []


@pytest.mark.parametrize(("change", "words"), [
    ({("all_reduce", 4, 64): 26, ("all_reduce", 4, 128): 35, ("all_reduce", 8, 64): 35},
     "all_reduce of 64 B over 4 ranks is slower than reduce_scatter + all_gather"),
    ({("broadcast", 4, 64): 25}, "scatter + all_gather"),
    ({("all_reduce", 8, 64): 15}, "over 4 ranks than over 8"),
    ({("bandwidth", 4, 64): 8}, "more than twice")])
def test_a_contradiction_is_found_where_it_is_planted(change, words):
    found = list(find_violations(points(CONSISTENT | change)))
    assert len(found) == 1
    assert words in found[0].words
    assert (found[0].kind, bool(found[0].advice)) == ("guideline violation", True)
    assert list(find_violations(points(CONSISTENT | change, crowded=True))) == []


def test_a_difference_within_the_noise_is_no_contradiction():
    assert list(find_violations(points(CONSISTENT | {("all_reduce", 4, 64): 24}))) == []
