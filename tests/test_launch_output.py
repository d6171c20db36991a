"""What the commands write for programs: documented JSON, CSV, and nothing else on standard output."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collbench.analysis.text.json_text import DOCUMENTS, json_rows
from collbench.collectives.records.journal import read_journal
from collbench.launch.cli import cli

ROOT = Path(__file__).parent.parent
HEAD = "system,library,collective,dtype,n_ranks,message_bytes,time_us\n"
WITH_JSON = [name for name in cli.list_commands(None)
             if any("--json" in option.opts for option in cli.get_command(None, name).params)]
RUN = ("run", "--ranks", 2, "--device", "cpu", "--ops", "AllReduce", "--sizes", "1K", "-n", 6, "-w", 2)


@pytest.fixture
def some(tmp_path):
    """a.csv and b.csv: an all_reduce of 8 H100 over two rank counts, the second 5 % slower."""
    for name, factor in (("a", 1.0), ("b", 1.05)):
        rows = [f"H100 SXM {name},NCCL 2.27,allreduce,float32,{ranks},{size},{factor * (10 * ranks + size / 4e5):.3f}"
                for ranks in (2, 4, 8) for size in (1 << 20, 1 << 26)]
        (tmp_path / f"{name}.csv").write_text(HEAD + "\n".join(rows) + "\n")


def documented():
    """The row of docs/json.md for each document: the commands and the text that names its fields."""
    rows = re.findall(r"^\| (.*?) \| `collbench (\w+)` \| (.*) \|$", (ROOT / "docs" / "json.md").read_text(), re.M)
    return {document: (set(re.findall(r"`(\w+)`", commands)), fields) for commands, document, fields in rows}


def printed(done, document):
    """The document that a command printed, after a comparison of its fields with the documentation."""
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert (found["document"], found["schema"]) == (f"collbench {document}", DOCUMENTS[document])
    text = documented()[document][1]
    page = (ROOT / "docs" / "report.md").read_text() if document == "report" else text
    if document == "check":
        page += documented()["compare"][1]
    assert not [name for name in found if name not in ("document", "schema") and f"`{name}`" not in page]
    return found


def test_every_command_with_json_has_a_documented_form():
    rows = documented()
    assert set(rows) == set(DOCUMENTS)
    assert set().union(*(commands for commands, _ in rows.values())) == set(WITH_JSON)


@pytest.mark.parametrize(("words", "document"), [
    (("extrapolate", "a.csv", "--to", "72"), "extrapolate"), (("project", "a.csv"), "project"),
    (("report", "a.csv"), "report"), pytest.param(("backtest", "a.csv"), "backtest", marks=pytest.mark.slow),
    (("domains", "nvl72"), "domains"), pytest.param(("compare", "a.csv", "b.csv"), "compare", marks=pytest.mark.slow),
    pytest.param(("check", "--data", "a.csv", "--baseline", "b.csv"), "check", marks=pytest.mark.slow)],
    ids=lambda value: value if isinstance(value, str) else "")
def test_json_is_all_that_standard_output_has(collbench, some, words, document):
    found = printed(collbench(*words, "--json", "-"), document)
    rows = [value for name, value in found.items() if name in ("predictions", "projections", "points", "cases",
                                                               "expected", "domains")]
    assert len(rows) == 1
    assert rows[0]


def test_metrics_are_all_that_standard_output_has(collbench, some, tmp_path):
    done = collbench("report", "a.csv", "--openmetrics", "-")
    assert done.stdout.startswith("# ")
    assert done.stdout.endswith("# EOF\n")
    assert not (tmp_path / "-").exists()
    both = collbench("report", "a.csv", "--openmetrics", "-", "--json", "-")
    assert (both.returncode, both.stdout, both.stderr.count("\n")) == (2, "", 1)


def test_rows_keep_every_digit_and_what_is_unknown_is_null():
    frame = pd.DataFrame({"time_s": [3.059375e-12, np.nan], "ranks": [8.0, np.nan], "op": ["x", None]})
    rows = json_rows(frame, whole=("ranks",))
    assert rows == [{"time_s": 3.059375e-12, "ranks": 8, "op": "x"}, {"time_s": None, "ranks": None, "op": None}]


@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_what_is_measured_is_all_that_standard_output_has(collbench, tmp_path):
    done = collbench(*RUN, "--csv", "-", "--json", "points.json")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["op"] for row in rows} == {"noop", "all_reduce"}
    assert {row["samples"] for row in rows} == {"6"}
    assert "all_reduce" in done.stderr, "the table is on standard error"
    assert not (tmp_path / "results" / "latest").exists(), "that is the last bench"
    points = json.loads((tmp_path / "points.json").read_text())
    assert (points["document"], points["schema"]) == ("collbench run", 1)
    assert [point["time_s"] for point in points["points"]] == pytest.approx([float(row["time_s"]) for row in rows])


def test_two_documents_on_standard_output_are_refused_before_anything_starts(collbench, tmp_path):
    done = collbench(*RUN, "--json", "-", "--csv", "-")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["domains"], ["domains", "--json", "-"], ["--help"]], ids=" ".join)
def test_a_reader_that_has_read_enough_is_no_error(words):
    command = subprocess.Popen([Path(sys.executable).parent / "collbench", *words], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    command.stdout.close()
    said = command.stderr.read()
    assert (command.wait(240), said) == (141, b"")


@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_no_mpi_job(tmp_path):
    """Open MPI's mpirun aborts the job once some ten writes to its output have failed."""
    words = ("run", "--transport", "mpi", "--ranks", "2", "--ops", "all", "-b", "64", "-e", "64", "--in-order",
             "-n", "6", "-w", "2", "--out", tmp_path / "r")
    command = subprocess.Popen([Path(sys.executable).parent / "collbench", *words], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    command.stdout.close()
    said = command.stderr.read()
    assert (command.wait(240), said) == (141, b"")
    _, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert len(records) > 20
    assert {record.status for record in records} == {"ok"}
