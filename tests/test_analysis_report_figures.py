"""Figures: what they need from a journal is what was planted in it, and each says what of it was measured."""

import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.analysis.frames.samples import choose, read_calls
from collbench.analysis.links import CELLS, LinkMatrix
from collbench.analysis.projection.side_by_side import PAIR
from collbench.analysis.report import figures, render_chart
from collbench.analysis.report.build_figures import draw
from collbench.analysis.report.figures import chart, files
from collbench.analysis.report.story import tell
from collbench.collectives.cases.case import Sweep
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing, Verification

RANKS, SAMPLES, LATE_RANK, LATE_S = 4, 400, 2, 40e-6
SWEEP = Sweep(ops=("all_reduce", "all_gather", "noop", "link_latency"), sizes=(8, 4096, 1 << 20), ranks=(2, RANKS),
              places=(False,))


def a_timing(case, mode, rng):
    """Warm-up of three; each sample takes 20 µs and 1 µs a KiB, and rank 2 begins 40 µs after the others."""
    calls = 1 if mode == "isolated" else 8
    elapsed = 1e9 * (20e-6 + case.bytes / 1024 * 1e-6) * calls * case.operation.messages
    begin = np.zeros((case.ranks, SAMPLES + 3))
    if case.ranks > LATE_RANK:
        begin[LATE_RANK] = LATE_S * 1e9
    spread = np.exp(rng.normal(0, 0.05, (case.ranks, SAMPLES + 3)))
    return Timing(mode=mode, calls=calls, warmup=3, span="makespan", begin_ns=begin.astype(int).tolist(),
                  elapsed_ns=(elapsed * spread).astype(int).tolist(), precision=None, stopped_by="samples")


@pytest.fixture(scope="module", params=["cpu", "NVIDIA H100 80GB HBM3"])
def journal(request, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(1)
    run = Run(schema=SCHEMA, id="r", started="2026-01-02T03:04:05Z", transport="torch", library="lib 1", world=RANKS,
              device=request.param, clock=Clock(kind="shared"), policy=Policy(), sweep=SWEEP, command=(),
              provenance={"host": "n1", "hosts": ["n1"] * RANKS, "cores": [64] * RANKS})
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(run)
        journal.extend([Record(run="r", case=case, status="ok", asked_bytes=asked,
                               verification=Verification(checks=RANKS, wrong=0),
                               timings=tuple(a_timing(case, mode, rng) for mode in ("isolated", "streamed")))
                        for case, asked in SWEEP.cases().items()])
    return folder


@pytest.fixture(scope="module")
def story(journal):
    return tell(journal)


@pytest.fixture(scope="module")
def drawn(story):
    return {one.name: one for one in draw(story)}


def values(one):
    rows = one.spec["data"]["values"]
    return pd.read_csv(io.StringIO(rows)) if isinstance(rows, str) else pd.DataFrame(rows)


def test_every_figure_says_what_was_measured_and_what_was_not(drawn):
    for one in drawn.values():
        assert any(word in one.caption for word in ("measured", "extrapolated", "projected")), one.caption
    for name in ("all_reduce-time-size", "all_reduce-busbw-size", "all_reduce-time-ranks", "all_reduce-busbw-ranks"):
        kinds = values(drawn[name]).groupby("kind")["ranks"].agg(["min", "max"])
        assert kinds.loc["measured", "max"] == RANKS < kinds.loc["extrapolated", "min"]
        assert kinds.loc["extrapolated", "max"] == 384


def test_over_ranks_the_shaded_range_ends_where_measuring_did(drawn):
    shaded, *_ = drawn["all_reduce-busbw-ranks"].spec["layer"]
    assert (shaded["mark"]["type"], shaded["data"]["values"][0]["to"]) == ("rect", RANKS)
    joints = values(drawn["all_reduce-busbw-ranks"]).query("kind == 'joint'")
    assert set(joints["ranks"]) == {RANKS}
    assert (joints["busbw_Bps"] == joints["busbw_lo_Bps"]).all()


def test_projections_are_shown_for_accelerators_alone(story, drawn):
    both = [one for one in drawn.values() if one.section == "domains"]
    if story.points["device"].eq("cpu").all():
        assert both == []
        return
    assert {one.name for one in both} == {f"{op}-{what}-domains" for op in ("all_reduce", "all_gather")
                                          for what in ("time", "busbw")}
    rows = values(drawn["all_reduce-time-domains"])
    assert set(rows.groupby("kind").groups) == {"measured", "projected"}
    ahead = rows[rows["kind"] == "projected"]
    assert (ahead["time_lo_s"] < ahead["time_hi_s"]).all()
    assert set(ahead["ranks"]) == {72, 384}
    assert len(PAIR) == ahead["domain"].nunique()


def test_the_ceiling_is_drawn_where_one_is_known(story, drawn):
    known = story.shown["ceiling_Bps"].notna().any()
    assert ("ceiling" in drawn["all_reduce-busbw-size"].caption) == known
    assert known == story.points["device"].ne("cpu").all()


def test_calls_are_those_of_the_journal(journal, story):
    chosen = choose(story.shown, story.points, story.findings)
    assert {"headline, smallest payload", "headline, largest payload"} <= {one.why for one in chosen}
    for calls in read_calls(journal, chosen):
        point = calls.choice.point
        assert calls.samples == SAMPLES == point["samples"]
        assert len(calls.times) <= 300
        below = np.interp(point["time_s"], calls.times["time_s"], calls.times["share"])
        assert below == pytest.approx(0.5, abs=0.02)
        assert calls.times["share"].iloc[-1] == 1


def test_who_is_late_is_seen_in_a_case_and_over_all(journal, story, drawn):
    chosen = [one for one in choose(story.shown, story.points, []) if one.point["mode"] == "isolated"
              and one.point["ranks"] == RANKS]
    late = read_calls(journal, chosen)[0].lateness.set_index(["kind", "rank"])["mid_s"]
    assert late["begin", LATE_RANK] == pytest.approx(LATE_S, rel=0.01)
    assert late["begin", 0] == 0
    assert late["end"].idxmax() == LATE_RANK
    share = values(drawn["ranks-begin"]).set_index("rank")["share"]
    assert share[LATE_RANK] == 1
    assert share.sum() == 1


def test_tiers_show_every_pair_once_where_both_ways_are_one_figure(drawn):
    dots = pd.DataFrame(drawn["tiers-latency"].spec["layer"][0]["data"]["values"])
    assert len(dots) == RANKS * (RANKS - 1) / 2
    assert (dots["from"] < dots["to"]).all()


def test_a_map_of_many_ranks_is_small_and_keeps_the_worst_pair():
    ranks, slow = 384, (301, 17)
    pairs = np.array([(a, b) for a in range(ranks) for b in range(ranks) if a != b])
    cells = pd.DataFrame(pairs, columns=["src", "dst"]).reindex(columns=list(CELLS))
    cells = cells.assign(latency_s=2e-6, latency_lo_s=1.9e-6, latency_hi_s=2.1e-6, latency_n=9, latency_tier=0,
                         alone=False, place="same host")
    cells.loc[(cells["src"] == slow[0]) & (cells["dst"] == slow[1]), "latency_s"] = 9e-6
    tiers = pd.DataFrame({"quantity": ["latency"], "tier": [0], "cells": [len(cells)], "typical": [2e-6],
                          "lowest": [2e-6], "highest": [2e-6], "places": ["same host"]})
    one, few = figures.link_charts([LinkMatrix("mpi", "lib", "cpu", ranks, (), {"latency": 8}, cells, tiers)])
    worst = values(one).sort_values("value").iloc[-1]
    assert (worst["from"], worst["to"], worst["value"]) == (*slow, 9e-6)
    assert len(str(one.spec)) + len(str(few.spec)) < 1_000_000


@given(st.floats(1e-9, 1e3), st.floats(1, 1e12))
def test_a_logarithmic_axis_has_a_few_ticks_between_its_ends(low, factor):
    channel = chart.log_y("x", "seconds", "time", [low, low * factor, math.nan, None, 0.0])
    first, last = channel["scale"]["domain"]
    ticks = channel["axis"]["values"]
    assert first < low
    assert last > low * factor
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(ticks)
    assert first * 0.99 <= ticks[0]
    assert ticks[-1] <= last * 1.01


def test_more_ranks_than_the_targets_leave_nothing_to_extrapolate(tmp_path):
    rows = [f"s,lib,all_reduce,default,float,512,8,{size},{size},,{10 + size / 1e4},src,mean"
            for size in (8, 4096, 65536)]
    (tmp_path / "data.csv").write_text("\n".join([
        "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,native_size_bytes,variant,"
        "time_us,source,statistic", *rows]) + "\n")
    assert {one.name for one in draw(tell(tmp_path / "data.csv"))} == {"all_reduce-time-size", "all_reduce-busbw-size"}


def test_files_are_written_for_every_figure_or_it_is_an_error(drawn, tmp_path, monkeypatch):
    some = [drawn[name] for name in ("all_reduce-busbw-ranks", "ranks-begin", "calls-1", "links-latency")]
    (tmp_path / "calls-1.svg").mkdir()
    with pytest.raises(IsADirectoryError):
        figures.save(some, tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(written) == {f"{one.name}.{kind}" for one in some for kind in ("png", "svg") if one.name != "calls-1"}
    assert not any(b"currentColor" in text for text in written.values())
    monkeypatch.setattr(files, "_PROGRAM", "import sys; sys.stdin.readline()")
    figures.save(some[:1], tmp_path / "by itself")      # since the process that is to draw ends without a word
    assert len(list((tmp_path / "by itself").iterdir())) == 2


def test_what_is_left_out_of_files_is_for_hovering_alone(drawn):
    for one in drawn.values():
        whole, still = str(one.spec), str(render_chart._still(one.spec))
        told = set(re.findall(r"'calculate': .*?, 'as': '([^']*)'", whole))
        assert told
        assert not any(f"'field': '{name}'" in still for name in told)
