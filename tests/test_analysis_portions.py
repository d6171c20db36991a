"""A large journal read by several processes says what it says when one reads it."""

import os
import sys

import pandas as pd
import pytest

from collbench.analysis.frames import chunks
from collbench.analysis.frames.background import run_in_child
from collbench.analysis.frames.load import load
from collbench.analysis.report import story
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.records.journal import Journal
from collbench.collectives.records.record import Clock, Policy, Record, Run, Timing


def run(number):
    return Run(schema=1, id=f"run{number}", started="", transport="mpi", library="x", device="cpu", world=2,
               clock=Clock(kind="shared"), policy=Policy(), sweep=Sweep(ops=(), sizes=(), ranks=()), command=(),
               provenance={})


def record(number, size, status="ok"):
    elapsed = [[1000 + size % 97 + sample, 1100 + sample] for sample in range(8)]
    timing = Timing(mode="isolated", calls=1, warmup=1, begin_ns=[[0] * 8, [3] * 8], precision=None,
                    elapsed_ns=list(map(list, zip(*elapsed, strict=True))), stopped_by="time")
    return Record(run=f"run{number}", case=Case(op="all_gather", ranks=2, bytes=size, dtype="int8"), status=status,
                  timings=(timing,) if status == "ok" else ())


@pytest.fixture
def journal(tmp_path):
    """Three runs, one with a case measured twice, a failure, a blank line and a damaged one."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as out:
        for number in range(3):
            out.extend([run(number), *(record(number, 2 * size) for size in range(1, 30)), record(number, 8),
                        record(number, 80, "failed")])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:70], b"\n", lines[70][:50] + b"\n", *lines[71:]]))
    return path


def test_processes_together_read_what_one_reads(journal, monkeypatch):
    alone = load(journal)
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", 5000)
    monkeypatch.setattr(chunks.os, "sched_getaffinity", lambda pid: range(3))
    assert chunks._processes(journal) == 3
    together = load(journal)
    for name in ("points", "records", "lateness"):
        pd.testing.assert_frame_equal(getattr(together, name), getattr(alone, name))
    assert together.runs == alone.runs
    assert together.warnings == alone.warnings
    assert ":72: line skipped" in alone.warnings[0]


@pytest.mark.parametrize("count", [1, 2, 5, 1000])
def test_portions_are_whole_lines_and_know_the_runs_before_them(journal, count):
    found = [chunks.chunk_of(journal, *cut) for cut in chunks._cuts(journal, count)]
    assert 1 <= len(found) <= count
    assert [portion.end for portion in found] == [*(portion.begin for portion in found[1:]), None]
    text = journal.read_bytes()
    for portion in found:
        before = text[:portion.begin]
        assert before.count(b"\n") + 1 == portion.line
        assert not before or before.endswith(b"\n")
        assert len(portion.runs) == before.count(b'{"line":"run"')


def test_a_child_returns_its_result_and_the_parent_computes_it_if_the_child_dies():
    here = os.getpid()
    one, raises = run_in_child(os.getpid), run_in_child(lambda: int("x"))
    dies = run_in_child(lambda: os.getpid() == here or os._exit(9))
    assert one() == one()
    assert (one() != here) == (sys.platform.startswith("linux") and len(os.sched_getaffinity(0)) > 1)
    with pytest.raises(ValueError, match="'x'"):
        raises()
    assert dies() is True


def test_many_points_tell_the_same_story(journal, monkeypatch):
    alone = story.build_story(journal, page=True)
    monkeypatch.setattr(story, "_MANY_POINTS", 0)
    beside = story.build_story(journal, page=True)
    pd.testing.assert_frame_equal(beside.predictions, alone.predictions)
    pd.testing.assert_frame_equal(beside.page.predictions, alone.page.predictions)
    pd.testing.assert_frame_equal(beside.page.curve, alone.page.curve)


def test_of_very_many_series_only_those_shown_are_predicted_and_that_is_said(journal, monkeypatch):
    everything = story.build_story(journal, page=True)
    assert not [finding for finding in everything.findings if "predicts them all" in finding.words]
    monkeypatch.setattr(story, "_MOST_SERIES", 0)
    few = story.build_story(journal, page=True)
    pd.testing.assert_frame_equal(few.page.predictions, few.predictions)
    assert set(few.predictions["ranks"]) == set(everything.page.predictions["ranks"])
    assert [finding.severity for finding in few.findings if "predicts them all" in finding.words] == ["note"]
