"""Figures: what they need from a journal is what was planted in it, and each says what of it was measured."""

import dataclasses
import importlib.util
import io
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collbench.analysis.importers import LogHints
from collbench.analysis.links import CELLS, LinkMatrix
from collbench.analysis.projection.side_by_side import PAIR
from collbench.analysis.report import figure_files, figures, html, render_chart, vega
from collbench.analysis.report.figures import build_charts, links
from collbench.analysis.report.figures.shared import chart
from collbench.analysis.report.sampled_calls import choose, read_calls
from collbench.analysis.report.story import build_story
from collbench.analysis.report.write import write_report, write_slide
from collbench.analysis.text import units
from collbench.collectives.cases.case import Sweep
from collbench.collectives.errors import MissingLibraryError, UsageError
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
    return build_story(journal, page=True)


@pytest.fixture(scope="module")
def drawn(story):
    return {one.name: one for one in build_charts(story)}


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
    assert {"headline, smallest message", "headline, largest message"} <= {one.why for one in chosen}
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
    one, few = links.link_charts([LinkMatrix("mpi", "lib", "cpu", ranks, (), {"latency": 8}, cells, tiers)])
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


@pytest.fixture
def report_of_a_log(tmp_path):
    """The story of three points at more ranks than the targets."""
    rows = [f"s,lib,all_reduce,default,float,512,8,{size},{size},,{10 + size / 1e4},src,mean"
            for size in (8, 4096, 65536)]
    (tmp_path / "data.csv").write_text("\n".join([
        "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,native_size_bytes,variant,"
        "time_us,source,statistic", *rows]) + "\n")
    return build_story(tmp_path / "data.csv", page=True)


def test_more_ranks_than_the_targets_leave_nothing_to_extrapolate(report_of_a_log):
    assert {one.name for one in build_charts(report_of_a_log)} == {"headline-all_reduce", "all_reduce-time-size",
                                                                   "all_reduce-busbw-size"}


def test_files_are_written_for_every_figure_or_it_is_an_error(drawn, tmp_path, monkeypatch):
    some = [drawn[name] for name in ("all_reduce-busbw-ranks", "ranks-begin", "calls-1", "links-latency")]
    (tmp_path / "calls-1.svg").mkdir()
    with pytest.raises(IsADirectoryError):
        figure_files.save_charts(some, tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert set(written) == {f"{one.name}.{kind}" for one in some for kind in ("png", "svg") if one.name != "calls-1"}
    assert not any(b"currentColor" in text for text in written.values())


def a_chart(name="dots"):
    table = pd.DataFrame({"ranks": [2, 4], "time_s": [1e-6, 2e-6]})
    dots = {"mark": "point", "encoding": {"x": {"field": "ranks"}, "y": {"field": "time_s"}}}
    spec = chart.spec([dots], chart.rows(table, list(table)))
    return chart.Chart(name, "section", "two dots (measured)", spec, table)


@pytest.mark.parametrize(("program", "why"), [
    ("import sys; sys.stdin.readline()", "ended without an answer"),
    ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL, usually for lack of memory"),
    ("import sys; sys.exit('no such\x07library')", r"ended with status 1: no such\x07library"),
    ("input(); print('half an ans', end='')", "ended without an answer")])
def test_it_is_said_how_a_drawing_process_ended(tmp_path, monkeypatch, program, why):
    monkeypatch.setattr(figure_files, "_PROGRAM", program)
    assert figure_files.save_charts([a_chart()], tmp_path) == {"dots": f"the drawing process {why}"}


def test_a_report_names_the_figures_that_are_missing(report_of_a_log, tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "all_reduce-time-size.svg").write_text("of an earlier report")
    monkeypatch.setattr(figure_files, "_PROGRAM", "import sys; sys.stdin.readline()")
    told = []
    page = write_report(report_of_a_log, tmp_path, told.append, figures=True).read_text()
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["data"]
    assert len(told) == len(build_charts(report_of_a_log))
    assert any(line.startswith("figure all_reduce-time-size is missing in ") for line in told)
    assert "all_reduce-time-size (the drawing process ended without an answer)" in page


def test_a_drawing_process_that_never_answers_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_files, "_PROGRAM", "import time; time.sleep(3600)")
    monkeypatch.setattr(figure_files, "_LONGEST_S", 0.2)
    assert figure_files.save_charts([a_chart()], tmp_path) == {"dots": "the drawing process did not answer for 0.2 s"}


def test_a_figure_whose_process_panics_is_missing_alone(tmp_path):
    """The rendering library aborts its process over characters that XML has not."""
    missing = figure_files.save_charts([dataclasses.replace(a_chart("panics"), caption="a\x07b"), a_chart()], tmp_path)
    assert set(missing) == {"panics"}
    assert "was ended by SIGABRT: " in missing["panics"]
    assert {path.name for path in tmp_path.iterdir()} == {"dots.png", "dots.svg"}


def test_a_page_needs_no_renderer_and_files_say_what_to_install(story, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)        # as if it were not installed
    assert "vegaEmbed" in write_report(story, tmp_path).read_text()
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["data"]
    with pytest.raises(MissingLibraryError, match=r"pip install 'collbench\[figures\]'"):
        write_report(story, tmp_path, figures=True)
    with pytest.raises(MissingLibraryError, match="vl-convert-python"):
        write_slide(story, "all_reduce", tmp_path)


@pytest.mark.slow
def test_the_code_in_a_page_is_what_the_tool_bundles():
    spec = importlib.util.spec_from_file_location("bundle_vega", Path(__file__).parents[1] / "tools/bundle_vega.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert vega.library() == tool.bundle()


def test_a_slide_is_one_large_chart_titled_with_the_verdict(story, tmp_path):
    png = write_slide(story, "all_gather", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"slide-all_gather.png", "slide-all_gather.svg"}
    assert int.from_bytes(png.read_bytes()[16:20], "big") > 1900        # the width in the header of a PNG
    result = next(one for one in story.answer.results if one.op == "all_gather")
    title = f"all_gather 1 MiB, {RANKS} ranks: {units.rate(result.busbw_Bps)} measured"
    assert f">{title}" in png.with_suffix(".svg").read_text()
    with pytest.raises(UsageError, match="no bandwidth of barrier was measured; operations with one: all_reduce"):
        write_slide(story, "barrier", tmp_path)


def test_the_first_chart_is_the_first_result_and_its_size_is_marked(story, drawn):
    result, one = story.answer.results[0], drawn["headline-all_reduce"]
    own = values(one)
    assert set(own["ranks"]) == {result.ranks}
    assert own.loc[own["message_bytes"] == result.message_bytes, "busbw_Bps"].item() == pytest.approx(
        result.busbw_Bps, rel=1e-3)
    assert result.reference.word in one.caption
    assert units.rate(result.busbw_Bps) in one.caption
    bounded = "ceiling" in set(one.data["kind"])
    assert bounded == story.points["device"].ne("cpu").all()


def test_without_a_bandwidth_the_first_screen_says_which_operation_its_numbers_are_of(tmp_path):
    (tmp_path / "log.txt").write_text("# OSU MPI Barrier Latency Test v7.4\n# Avg Latency(us)\n  12.5\n")
    story = build_story(tmp_path / "log.txt", asked=LogHints(8, None), page=True)
    page = write_report(story, tmp_path / "out").read_text()
    assert "<h2>barrier, 8 ranks: 12.5 µs measured, no reference</h2>" in page
    assert 'class="hero"' not in page


def test_over_ranks_a_message_is_the_same_at_every_rank_count(drawn):
    several = [one for name, one in drawn.items() if "-ranks" in name and one.section.startswith("all_")]
    assert {one.section for one in several} == {"all_reduce", "all_gather"}
    for one in several:
        sizes = one.data["message_bytes"]
        assert sizes.max() <= 1.05 * sizes.min(), one.name
        assert one.data["fabric"].nunique() == 1
    assert {one.variant[1] for one in several if one.section == "all_reduce"} == {"8 B", "4 KiB", "1 MiB"}
    assert {one.variant[1] for one in several if one.section == "all_gather"} == {"1 MiB"}


def test_what_is_left_out_of_files_is_for_hovering_alone(drawn):
    for one in drawn.values():
        whole, still = str(one.spec), str(render_chart._still(one.spec))
        told = set(re.findall(r"'calculate': .*?, 'as': '([^']*)'", whole))
        assert told
        assert not any(f"'field': '{name}'" in still for name in told)


DRAWING_ONLY = {"spread", "at", "from", "to", "row", "column"}     # where things are put; ranks of a pair are labels


def tables(part):
    """Every inline table of a specification."""
    if isinstance(part, list):
        for one in part:
            yield from tables(one)
    elif isinstance(part, dict):
        if isinstance(part.get("data"), dict) and "values" in part["data"]:
            rows = part["data"]["values"]
            yield pd.read_csv(io.StringIO(rows)) if isinstance(rows, str) else pd.DataFrame(rows)
        for one in part.values():
            yield from tables(one)


def digits(values):
    """Numbers as a chart rounds them."""
    numbers = pd.to_numeric(pd.Series(list(values)), errors="coerce").dropna()
    return {float(f"{number:.4g}") for number in numbers}


@pytest.fixture(scope="module")
def written(story, tmp_path_factory):
    """A report on disk: its folder, and every CSV in it by name."""
    out = tmp_path_factory.mktemp("written")
    write_report(story, out)
    return out, {path.stem: pd.read_csv(path) for path in [*out.glob("*.csv"), *(out / "figures/data").glob("*.csv")]}


def test_every_number_in_a_figure_is_in_its_file(written, drawn):
    out, files = written
    assert {path.stem for path in (out / "figures/data").iterdir()} == set(drawn)
    checked = 0
    for name, one in drawn.items():
        for table in tables(one.spec):
            for column in set(table.select_dtypes("number").columns) - DRAWING_ONLY:
                on_disk = digits(files[name][column])
                missing = digits(table[column]) - on_disk
                assert not missing, (name, column, missing)
                checked += 1
    assert checked > 5 * len(drawn)


def test_predicted_numbers_in_figures_are_those_of_the_report_s_tables(written, drawn):
    _, files = written
    sources = {"measured": "points", "extrapolated": "curve", "projected": "projected"}
    seen = set()
    for name, one in drawn.items():
        if one.section not in ("all_reduce", "domains"):
            continue
        for kind, rows in values(one).groupby("kind"):
            if kind not in sources:
                continue
            columns = ["ranks", "time_s", *([] if kind == "measured" else ["time_lo_s", "time_hi_s"])]
            known = files[sources[kind]][columns].map(lambda value: float(f"{value:.4g}"))
            shown = rows[columns].map(lambda value: float(f"{value:.4g}"))
            assert set(shown.itertuples(index=False)) <= set(known.itertuples(index=False)), (name, kind)
            seen.add(kind)
    assert {"measured", "extrapolated"} <= seen
    between = set(files["curve"]["ranks"]) - set(files["predictions"]["ranks"])
    assert between
    assert between <= set(values(drawn["all_reduce-time-ranks"])["ranks"])


def test_the_page_has_every_specification_and_long_texts_once(written, drawn):
    page = (written[0] / "report.html").read_text()
    embedded = json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)[1])

    def restored(part):
        if isinstance(part, list):
            return [restored(one) for one in part]
        if not isinstance(part, dict):
            return part
        return embedded["texts"][part["@"]] if "@" in part else {name: restored(one) for name, one in part.items()}
    assert restored(embedded["specs"]) == json.loads(json.dumps({name: one.spec for name, one in drawn.items()}))
    assert len(embedded["texts"]) == len(set(embedded["texts"])) > 5


def test_a_figure_without_a_section_of_the_page_is_an_error(story, drawn):
    astray = dataclasses.replace(drawn["ranks-begin"], section="nowhere")
    with pytest.raises(ValueError, match="figure ranks-begin: the page has no section 'nowhere'"):
        html.render(story, [*drawn.values(), astray])


FIGURE = '''
from .shared.chart import Chart, rows, spec
from .shared.section import Section

SECTION = Section("extra", "An extra figure", "extra", 15)


def build(story):
    table = story.shown[["ranks", "time_s"]].head(1)
    yield Chart("extra", "extra", "extra (measured)", spec([], rows(table, ("ranks", "time_s"))), table)
'''


def test_one_file_in_the_folder_is_a_figure_on_the_page(story, tmp_path, monkeypatch):
    (tmp_path / "extra.py").write_text(FIGURE)
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    charts = figures.build_charts(story)
    page = html.render(story, charts)
    assert [one.name for one in charts if one.section == "extra"] == ["extra"]
    assert re.search(r'<details class="fold" id="extra">\s*<summary><h2>An extra figure</h2>', page)
    assert 'id="chart-extra"' in page
    keys = [one.key for one in figures.sections()]
    assert keys[keys.index("extra") - 1:keys.index("extra") + 2] == ["domains", "extra", "lateness"]


def test_a_story_without_its_page_cannot_be_written(journal, tmp_path):
    with pytest.raises(ValueError, match="page=True"):
        write_report(build_story(journal), tmp_path)
