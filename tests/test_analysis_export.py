"""Exports for other tools read back to the same numbers."""

import csv
import io
import json
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collbench.analysis.compare import compare, match, sides
from collbench.analysis.compare import show as compare_show
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.export import FORMATS, export
from collbench.analysis.frames.load import load
from collbench.analysis.importers import LogHints, import_logs
from collbench.analysis.links import as_text
from collbench.analysis.projection import project
from collbench.analysis.projection import show as projection_show
from collbench.analysis.report import html, terminal
from collbench.analysis.report.story import build_story
from collbench.analysis.text.safe_console import Screen
from collbench.analysis.text.safe_csv import to_csv, unescape
from collbench.collectives.cases.case import Case, Sweep
from collbench.collectives.errors import printable
from collbench.collectives.records.journal import Journal, read_lines
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Record, Run, Timing

ROOT = Path(__file__).parent.parent
SOURCE = """system,library,op,dtype,ranks,ranks_per_node,message_bytes,time_us,variant,statistic,mode,redop,algorithm
fabric,NCCL 2.28.7,all_reduce,float32,8,4,1048576,123.456789,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,8,4,1048576,234.5,in-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,8,4,2097152,1e6,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_reduce,float32,16,4,2097152,333.25,out-of-place,mean over ranks,streamed,sum,Ring
fabric,NCCL 2.28.7,all_gather,bfloat16,8,4,1048576,77.125,out-of-place,mean over ranks,streamed,,
fabric,NCCL 2.28.7,alltoall,float16,8,4,65536,0.03125,out-of-place,mean over ranks,streamed,,
fabric,NCCL 2.28.7,broadcast,int8,8,4,1048577,55.5,,mean over ranks,streamed,,
fabric,NCCL 2.28.7,sendrecv,float64,8,4,1048576,55.5,,mean over ranks,streamed,,
fabric,MPI x,barrier,,8,4,0,3.5,,mean over ranks,isolated,,
fabric,MPI x,ping_pong,byte,2,1,1024,1.5,,mean over ranks,isolated,,
fabric,MPI x,bi_bandwidth,byte,2,1,1024,1.5,,mean over ranks,streamed,,
"""
KEYS = ["op", "ranks", "message_bytes", "time_s"]


@pytest.fixture
def loaded(tmp_path):
    path = tmp_path / "source.csv"
    path.write_text(SOURCE)
    return load(path)


def read_back(tmp_path, text, suffix="txt"):
    path = tmp_path / f"exported.{suffix}"
    path.write_text(text)
    return load(path).points.sort_values(KEYS).reset_index(drop=True)


def same(read, points, rtol=1e-8):
    wanted = points.sort_values(KEYS).reset_index(drop=True)
    assert read[KEYS[:3]].to_dict() == wanted[KEYS[:3]].to_dict()
    assert np.allclose(read["time_s"], wanted["time_s"], rtol=rtol, atol=0)
    assert np.allclose(read["busbw_Bps"], wanted["busbw_Bps"], rtol=rtol, equal_nan=True)


@pytest.mark.parametrize("form", ["nccl-tests", "json"])
def test_nccl_tests_reads_back(loaded, tmp_path, form):
    text, lost = export(loaded, form)
    kept = loaded.points[~loaded.points["op"].isin(["barrier", "ping_pong", "bi_bandwidth"])]
    kept = kept[kept["dtype"] != "byte"]
    read = read_back(tmp_path, text)
    same(read, kept, 2e-4 if form == "nccl-tests" else 1e-8)        # five digits
    assert set(read["library"]) == {"NCCL 2.28.7"}
    assert "3 of 11 points left out" in lost[0]
    assert sorted(read["place"].dropna().unique()) == ["in-place", "out-of-place"]
    assert set(read["ranks_per_node"]) == {4}
    assert set(read["dtype"]) == set(kept["dtype"])


def test_each_library_has_a_file_of_nccl_tests_and_is_read_back_as_itself(collbench, tmp_path):
    head = "system,transport,library,collective,dtype,n_ranks,message_bytes,time_us,time_kind,mode"
    rows = [f"here,{transport},{library},allreduce,float32,4,{size},{time_us},slowest rank,streamed"
            for transport, library, factor in (("mpi", "Open MPI 5.0.11", 1), ("torch", '"gloo, torch 2.13.0+cpu"', 9))
            for size, time_us in ((1 << 10, 0.31234 * factor), (1 << 13, 12.345 * factor), (1 << 16, 98765.4 * factor))]
    (tmp_path / "both.csv").write_text("\n".join([head, *rows]) + "\n")
    refused = collbench("export", "both.csv", "--format", "nccl-tests")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "FILE-gloo" in refused.stderr
    done = collbench("export", "both.csv", "--format", "nccl-tests", "-o", "mine.log")
    assert done.returncode == 0, done.stderr
    parts = [load(tmp_path / name) for name in ("mine-open-mpi-5.0.11.log", "mine-gloo.log")]
    assert not any(part.warnings for part in parts)
    read = pd.concat([part.points for part in parts], ignore_index=True)
    wanted = load(tmp_path / "both.csv").points
    for column in ("library", "transport", "time_kind", "op", "ranks", "message_bytes"):
        assert read[column].tolist() == wanted[column].tolist(), column
    assert read["time_s"].tolist() == pytest.approx(wanted["time_s"].tolist(), rel=2e-5)
    shown = (tmp_path / "mine-gloo.log").read_text()
    assert "step: 8(factor)" in shown
    widths = {len(line) for line in shown.splitlines() if line.strip()[:1].isdigit()}
    assert len(widths) == 1, "the columns are aligned"


def test_json_has_the_keys_of_nccl_tests(loaded):
    documents = [json.loads(line) for line in export(loaded, "json")[0].splitlines()]
    assert all({"version", "args", "config", "results", "out_of_bounds", "average_bus_bandwidth"} <= document.keys()
               for document in documents)
    assert {document["args"][0] for document in documents} == {"all_reduce_perf", "all_gather_perf", "alltoall_perf",
                                                              "broadcast_perf", "sendrecv_perf"}
    assert not any("env" in document for document in documents)


def test_osu_reads_back(loaded, tmp_path):
    text, lost = export(loaded, "osu")
    points = loaded.points
    kept = points[(points["op"] != "send_recv") & (points["place"] != "in-place")]
    same(read_back(tmp_path, text), kept)
    assert "2 of 11 points left out" in lost[0]
    assert "# OSU MPI Allgather Latency Test" in text
    assert "131072 " in text


def test_osu_reads_back_rates_over_pairs_and_fans(tmp_path):
    rows = [f"fabric,MPI x,{op},byte,8,1,{size},{time},mean over ranks,streamed,{traffic}"
            for op, size, time, traffic in (("message_rate", 1024, 1.5, ""), ("incast", 7168, 1.5, "fan"),
                                            ("outcast", 7168, 2.5, "fan"), ("outcast", 3072, 2.5, "fan:3"))]
    (tmp_path / "source.csv").write_text(
        "system,library,op,dtype,ranks,ranks_per_node,message_bytes,time_us,statistic,mode,traffic\n"
        + "\n".join(rows) + "\n")
    points = load(tmp_path / "source.csv").points
    text, lost = export(load(tmp_path / "source.csv"), "osu")
    same(read_back(tmp_path, text), points[points["traffic"] != "fan:3"])
    assert "1 of 4 points left out" in lost[0]
    assert "# [ pairs: 4 ] [ window size: 64 ]" in text
    assert "1024    " in text, "the size of the message to each, not of all"


def test_csv_reads_back_whole(loaded, tmp_path):
    text, lost = export(loaded, "csv")
    assert not lost
    read = read_back(tmp_path, text, "csv")
    same(read, loaded.points)
    wanted = loaded.points.sort_values(KEYS).reset_index(drop=True)
    for column in ("system", "library", "algorithm", "variant", "statistic", "mode", "place", "redop", "time_kind",
                   "transport", "dtype", "source"):
        assert read[column].fillna("").tolist() == wanted[column].fillna("").tolist(), column
    assert export(load(tmp_path / "exported.csv"), "csv")[0] == text


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.text(
    "'\"=+-@\t\r\n #,;1.5e", max_size=6)


def is_formula(cell):
    """Whether a spreadsheet may evaluate the cell; signed numbers are not formulas."""
    number = re.fullmatch(r"[+-][0-9.]+(e[+-]?[0-9]+)?", cell, re.IGNORECASE)
    return cell[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") and not number


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(["=cmd|' /C calc'!A0", "@SUM(1)", "-2+3", "+1", "'-5", "''=x", "\tx", " =1", "a\rb", "#x", "-1.5"])
def test_text_is_never_a_formula_and_reads_back(texts):
    written = to_csv(pd.DataFrame({"number": -1.5, "text": texts, "none": None}))
    rows = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert not any(is_formula(cell) for row in rows for cell in row)
    assert [row[0] for row in rows] == ["-1.5"] * len(texts)
    assert [unescape(row[1]) for row in rows] == texts


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(), st.integers(-2**63, 2**63 - 1),
                          st.booleans() | st.integers() | st.floats() | st.none()), min_size=1, max_size=4))
@example([(0.1, 1, True), (float("nan"), 2, 1.0), (float("inf"), 3, 1)])
def test_any_number_reads_back_exactly(rows):
    floats, whole, mixed = (list(column) for column in zip(*rows, strict=True))
    written = to_csv(pd.DataFrame({"floats": floats, "whole": whole, "mixed": pd.Series(mixed, dtype=object)}))
    read = list(zip(*list(csv.reader(io.StringIO(written)))[1:], strict=True))
    np.testing.assert_array_equal([float(cell or "nan") for cell in read[0]], floats)
    assert read[1:] == [tuple(map(str, whole)), tuple("" if pd.isna(value) else str(value) for value in mixed)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS.filter(str.strip), min_size=3, max_size=3))
@example(["=HYPERLINK(\"http://x\")", "+1 2\r\n3", "# no comment"])
@example(["0", "NaN", "00"])
def test_untrusted_names_survive_a_tidy_csv_unchanged(loaded, tmp_path, texts):
    """In the file they are as they were; read again, they are as every text that is read: safe to show."""
    names = dict(zip(("system", "algorithm", "source"), texts, strict=True))
    points = loaded.points.assign(**names)
    text, _ = export(type(loaded)(points, loaded.records, loaded.runs), "csv")
    cells = [*csv.DictReader(io.StringIO(text, newline=""))]
    assert not any(is_formula(cell) for row in cells for cell in (*row, *row.values()))
    assert [{unescape(row[name]) for row in cells} for name in names] == [{value} for value in names.values()]
    names = {name: printable(value) for name, value in names.items()}
    read = read_back(tmp_path, text, "csv")
    assert len(read) == len(points)
    for name, value in names.items():
        assert set(read[name]) == {value}, name
    tidy = load(tmp_path / "exported.csv").points
    assert set(tidy["system"]) == {names["system"]}
    assert set(tidy["algorithm"]) == {names["algorithm"]}


def test_every_csv_is_written_in_one_place():
    """Only safe_csv writes CSV files; charts embed data that no spreadsheet opens, and the cells of a list of calls are
    numbers and checked names.
    """
    sources = [path for room in ("analysis", "launch", "collectives") for path in (ROOT / room).rglob("*.py")]
    writers = {path.name for path in sources if re.search(r"\.to_csv\(|csv\.(Dict)?[wW]riter", path.read_text())}
    assert writers <= {"safe_csv.py", "chart.py", "call_files.py"}


HOSTILE = "\x1b[2J\x1b]0;x\x07</script><script>alert(1)</script>[red]\u202e=1+1"


def a_hostile_journal(folder):
    """A run in which every name is hostile; a slow link makes the report name hosts, too."""
    rng = random.Random(1)
    run = Run(schema=SCHEMA, id="r", started="", transport="torch", library=HOSTILE, device=HOSTILE, world=4,
              clock=Clock(kind="shared"), policy=Policy(), command=(HOSTILE,),
              sweep=Sweep(ops=("all_reduce", "links"), sizes=(1024,), ranks=(2, 4)),
              provenance={"host": HOSTILE, "cluster": HOSTILE, "hosts": [HOSTILE] * 4, "cores": [1] * 4,
                          "versions": {HOSTILE: HOSTILE}})
    cases = [Case(op="all_reduce", ranks=ranks, bytes=size, dtype="float32", redop="sum")
             for ranks in (2, 4) for size in (1024, 1 << 20)]
    cases += [Case(op=op, ranks=4, bytes=1024, dtype="float32", traffic=f"round-{number}")
              for op in ("link_latency", "link_bandwidth") for number in (1, 2, 3)]
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(run)
        for case in cases:
            timings = tuple(Timing(mode=mode, calls=1, warmup=1, begin_ns=None, precision=None, stopped_by="time",
                                   elapsed_ns=[[rng.randrange(900, 1100) * case.ranks for _ in range(9)]
                                               for _ in range(case.ranks)]) for mode in ("isolated", "streamed"))
            journal.append(Record(run="r", case=case, status="ok", asked_bytes=case.bytes, timings=timings,
                                  notes=(HOSTILE,), reproduce=HOSTILE))
        journal.append(Record(run="r", case=Case(op="barrier", ranks=4, bytes=0), status="failed", reason=HOSTILE))
    return folder


def test_hostile_names_are_escaped_on_terminals_in_pages_and_in_exports(tmp_path):
    """Names of hosts, libraries, devices, systems and algorithms, in every output."""
    folder = a_hostile_journal(tmp_path)
    shown = io.StringIO()
    console = Screen(file=shown, width=150, force_terminal=True, color_system=None)
    story = build_story(folder, page=True)
    terminal.show(story, console, verbose=True)
    terminal.show_predictions(story.predictions, console)
    compared = compare(match(sides(str(folder)), sides(str(folder))))
    compare_show.show(compared, console)
    domains = load_domains()
    projection_show.show(project(story.points, ["nvl72"], domains, None, False, None, {}), [], domains, console)
    assert "alert(1)" in shown.getvalue()
    texts = [shown.getvalue(), *(printable(as_text(matrix), keep="\n") for matrix in story.links),
             *(export(story.loaded, form)[0] for form in ("nccl-tests", "osu"))]
    for text in texts:
        assert text.replace("\n", "").isprintable(), ascii(text)
    for page in (html.render(story, []), compare_show.page(compared, HOSTILE, HOSTILE)):
        assert "<script>alert" not in page
        assert "alert(1)" in page


@pytest.mark.parametrize("form", FORMATS)
def test_no_points_export_to_no_rows(loaded, form):
    empty = type(loaded)(loaded.points.iloc[:0], loaded.records, loaded.runs)
    assert len(export(empty, form)[0].splitlines()) <= 1


def test_exported_log_imports_into_a_journal(loaded, tmp_path):
    path = tmp_path / "exported.log"
    path.write_text(export(loaded, "nccl-tests")[0])
    import_logs([path], tmp_path / "j.jsonl", LogHints(system="fabric"))
    assert len(list(read_lines(tmp_path / "j.jsonl", []))) > 8
    same(load(tmp_path / "j.jsonl").points.sort_values(KEYS).reset_index(drop=True), load(path).points)
