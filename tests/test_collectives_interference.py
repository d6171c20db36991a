"""Interference: victims alone and while aggressors load the machine; both are verified, and a known factor is found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.cases.catalog import why_not
from collbench.collectives.cases.families.interference import AGGRESSORS, VICTIMS, parse_roles
from collbench.collectives.cases.families.overlap import COLLECTIVES
from collbench.collectives.errors import UsageError
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import measure
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Policy, Timing
from collbench.collectives.transports.loopback import run_ranks

CASE = Case(op="interference", ranks=5, bytes=1200, dtype="float32",
            traffic="victim=all_reduce:aggressor=all_to_all:bytes=4096")
QUICK = Policy(alignment="barrier", case_s=0.001, min_samples=3, precision=0.5)
SEVERAL = Path(__file__).with_name("namespaces.py")


def measured(case, fault=None, policy=QUICK):
    """Outcomes of all ranks on the loopback transport."""
    def program(transport, place):
        communicator = transport.communicator(case.ranks)
        return communicator.gather(measure(case, communicator, SAME, policy, policy.case_s, 1))
    return run_ranks(case.ranks, program, fault)


@pytest.mark.parametrize(("victim", "aggressor"), [
    *(("all_reduce", name) for name in AGGRESSORS), *((name, "copy") for name in VICTIMS)])
def test_the_data_of_victims_and_aggressors_are_right(victim, aggressor):
    case = msgspec.structs.replace(CASE, traffic=f"victim={victim}:aggressor={aggressor}:bytes=4096")
    outcomes = measured(case)
    assert {outcome.status for outcome in outcomes} == {"ok"}, outcomes[0]
    assert all(outcome.checks > 0 for outcome in outcomes[::2]), "victims"
    assert any(outcome.checks > 0 for outcome in outcomes[1::2]), "aggressors"


@pytest.mark.parametrize("rank", [2, 3])
def test_a_wrong_result_of_a_victim_or_of_an_aggressor_is_caught(rank):
    def flip(case, here, recv):
        if here == rank and recv.size and not (rank == 3 and (recv == 0xA5).all()):
            recv[recv.size // 2] ^= 0x10
    outcomes = measured(CASE, flip)
    assert {outcome.status for outcome in outcomes} == {"wrong"}
    assert [outcome.fault.rank for outcome in outcomes if outcome.fault] == [rank]


@pytest.mark.parametrize("alignment", ["barrier", "agreed"])
def test_aggressors_are_at_work_before_and_after_every_loaded_sample_and_never_in_another(alignment):
    """By the raw readings: all ranks are threads that read one clock."""
    policy = msgspec.structs.replace(QUICK, alignment=alignment, modes=("isolated",), min_samples=8)
    outcomes = measured(CASE, policy=policy)
    begin, elapsed = ([getattr(outcome.modes[0], name) for outcome in outcomes] for name in ("begin_ns", "elapsed_ns"))
    victims, aggressors = parse_roles(CASE.traffic).victims(5), parse_roles(CASE.traffic).aggressors(5)
    assert (victims, aggressors) == ((0, 2, 4), (1, 3))
    loaded = range(1, len(begin[0]), 2)
    assert len(loaded) >= 8
    for sample in loaded:
        last = max(begin[rank][sample] + elapsed[rank][sample] for rank in victims)
        for rank in aggressors:
            assert begin[rank][sample] < min(begin[victim][sample] for victim in victims)
            assert begin[rank][sample] + elapsed[rank][sample] > last
    assert {elapsed[rank][sample] for rank in aggressors for sample in range(0, len(begin[0]), 2)} == {0}


def timing(alone, loaded, **changes):
    """Of four ranks, with other times of the aggressors."""
    rows = np.column_stack((alone, loaded)).reshape(-1)
    return Timing(**{**dict(
        mode="isolated", calls=1, warmup=0, states=("alone", "loaded"), begin_ns=None, precision=None,
        elapsed_ns=[rows.tolist(), [10**9] * len(rows), (rows // 2).tolist(), [0] * len(rows)], stopped_by="samples"),
        **changes})


def test_the_congestion_factor_is_loaded_over_alone_for_mean_and_tail():
    chance = np.random.default_rng(3)
    case = msgspec.structs.replace(CASE, ranks=4)
    alone, noise = (chance.lognormal(10, 0.2, 310).astype(int) for _ in range(2))
    loaded = 3 * noise
    loaded[chance.permutation(310)[:15]] *= 10
    made = digest(case, timing(alone, loaded), 0.02)
    assert made.median_ns == np.median(loaded)
    found = made.figures
    assert found["congestion_factor"].value == pytest.approx(loaded.mean() / alone.mean())
    assert found["alone_s"].value == pytest.approx(alone.mean() / 1e9)
    at = 306        # the 307th of 310 is the smallest that is >= 99 % of them
    assert found["congestion_factor_p99"].value == pytest.approx(np.sort(loaded)[at] / np.sort(alone)[at])
    for figure in found.values():
        assert figure.n == 310
        assert figure.lo < figure.value < figure.hi
    assert found["congestion_factor_p99"].lo > 10 > found["congestion_factor"].hi


def test_few_samples_give_no_tail_and_very_few_no_interval():
    case, alone = msgspec.structs.replace(CASE, ranks=4), np.arange(1000, 1099)
    found = digest(case, timing(alone, 2 * alone), 0.02).figures
    assert set(found) == {"alone_s", "loaded_s", "congestion_factor"}
    assert (found["congestion_factor"].value, found["congestion_factor"].n) == (pytest.approx(2), 99)
    assert found["congestion_factor"].lo == pytest.approx(2), "what slows a whole round cancels out"
    few = digest(case, timing(alone[:9], 2 * alone[:9]), 0.02).figures["congestion_factor"]
    assert (few.value, few.lo, few.hi, few.n) == (pytest.approx(2), None, None, 9)
    streamed = digest(case, timing(np.full(200, 7), np.full(200, 9), mode="streamed", calls=4), 0.02).figures
    assert "congestion_factor_p99" not in streamed, "a block of calls has no tail of calls"


def test_a_round_counts_only_if_each_of_its_samples_does():
    case, alone = msgspec.structs.replace(CASE, ranks=4), np.array([100, 100, 10**6, 100])
    made = timing(alone, np.array([200, 10**6, 200, 200]), warmup=2, late=[3, 4])
    assert digest(case, made, 0.02).figures["congestion_factor"].n == 1
    assert digest(case, made, 0.02).figures["congestion_factor"].value == pytest.approx(2)


@pytest.mark.parametrize(("text", "words"), [
    ("victim=all_reduce", "victim and aggressor are needed"), ("victim=noop:aggressor=copy", "unknown victim 'noop'"),
    ("victim=all_reduce:aggressor=all", "unknown aggressor"), ("victim=all_reduce:aggressor=copy:bytes=0", "size '0'"),
    ("victim=all_reduce:aggressor=copy:copy", "has no parameter 'copy'")])
def test_texts_that_name_no_roles_are_refused(text, words):
    with pytest.raises(UsageError, match=words):
        parse_roles(text)


def test_a_sweep_has_all_aggressors_and_leaves_out_groups_that_are_too_small():
    cases = Sweep(ops=("interference",), sizes=(1024,), ranks=(2, 4, 8)).cases()
    assert {case.traffic for case in cases} == {f"victim=all_reduce:aggressor={name}" for name in AGGRESSORS}
    assert {case.ranks for case in cases if not why_not(case)} == {4, 8}
    text = "victim=all_to_all:aggressor=copy:bytes=64K:place=halves"
    assert parse_roles(text).text == text.replace("64K", "65536")
    (case,) = Sweep(ops=("interference",), sizes=(1000,), ranks=(6,), traffics=(text,)).cases()
    assert case.bytes == 1008, "divides among three victims"
    assert parse_roles(case.traffic).victims(6) == (0, 1, 2)


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_a_known_factor_on_a_shared_link_is_found(tmp_path):
    """A link that gives victims and aggressors half of its rate each while both send, and all of it to one alone."""
    out, rate = tmp_path / "run", 40
    options = ["--device", "cpu", "--ops", "interference", "--sizes", "256K", "--modes", "isolated", "--samples", "24",
               "--group-ranks", "4", "--traffic", "victim=broadcast:aggressor=broadcast:bytes=128K", "--display",
               "quiet", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(SEVERAL), json.dumps({"hosts": [1] * 4, "left": 2, "shared": rate}), "--", *options],
        text=True, capture_output=True, timeout=240, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    if done.returncode == 77:
        pytest.skip(f"SKIPPED: no network namespaces with shaping here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    _, records, _ = read_journal(out / "journal.jsonl")
    (record,) = (record for record in records if record.case.op == "interference")
    found = record.digests[0].figures
    assert found["alone_s"].value == pytest.approx(256 * 1024 * 8 / (rate * 1e6), rel=0.1)
    assert found["congestion_factor"].value == pytest.approx(2, rel=0.1)
    assert found["congestion_factor"].lo <= 2.1
    assert found["congestion_factor"].hi >= 1.9


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize("transport", [pytest.param("torch", marks=pytest.mark.needs("torch")),
                                       pytest.param("mpi", marks=pytest.mark.needs("mpi"))])
def test_all_victims_and_aggressors_and_overlap_run_over_a_real_library(collbench, tmp_path, transport):
    traffic = [*(f"victim=all_reduce:aggressor={name}:bytes=16K" for name in AGGRESSORS),
               *(f"victim={name}:aggressor=copy:bytes=16K" for name in VICTIMS),
               *(f"collective={name}" for name in COLLECTIVES), "collective=all_to_all:progress=poll"]
    done = collbench("run", "--transport", transport, "--ranks", "4", "--group-ranks", "2,4", "--ops",
                     "interference,overlap", "--sizes", "4K", "--traffic", ",".join(traffic), "-n", "3", "-w", "0",
                     "--display", "quiet", "--out", "run")
    assert done.returncode == 0, done.stderr
    _, records, _ = read_journal(tmp_path / "run" / "journal.jsonl")
    status = {(record.case.ranks, record.case.traffic): record.status for record in records if record.case.traffic}
    beside = {text for _, text in status if text.startswith("collective")}
    assert len(status) == (len(AGGRESSORS) + len(VICTIMS) - 1) + 2 * (len(COLLECTIVES) + 1)
    assert set(status.values()) == {"ok"}, status
    assert all((2, text) in status for text in beside)
    assert all(record.verification.wrong == 0 < record.verification.checks for record in records if record.case.traffic)
    again = collbench(*next(record.reproduce for record in records if record.case.traffic).split()[1:], "-n", "2",
                      "--display", "quiet", "--out", "again")
    assert again.returncode == 0, again.stderr
