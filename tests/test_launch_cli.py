"""The command line as a user meets it: the main job to its report, help with examples, one line for every mistake."""

import json
import subprocess
import sys

import pytest

from collbench.collectives.records.journal import read_journal
from collbench.launch.cli import cli

SUBCOMMANDS = cli.list_commands(None)


@pytest.mark.needs("torch")
@pytest.mark.needs("mpi")
@pytest.mark.ranks
def test_the_main_job_measures_extrapolates_and_reports(collbench, tmp_path):
    done = collbench("bench", "--profile", "smoke", "--budget", 14, "--ranks", 4, "--json", "points.json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    latest = tmp_path / "results" / "latest"
    runs, records, warnings = read_journal(latest / "journal.jsonl")
    assert warnings == []
    assert {run.transport for run in runs.values()} == {"torch", "mpi"}
    assert {record.status for record in records} == {"ok", "unsupported"}
    page = (latest / "report.html").read_text()
    for word in ("72", "384", "extrapolated", "software path"):
        assert word in page
    points = json.loads((tmp_path / "points.json").read_text())
    assert {point["mode"] for point in points} == {"isolated", "streamed"}
    assert all(point["time_s"] > 0 for point in points)
    said = collbench("summary", latest, "--ops", "all_reduce")
    assert said.returncode == 0, said.stderr
    assert "all_reduce, measured, 4 ranks" in said.stdout
    unknown = collbench("summary", latest, "--ops", "all_reduce,nope")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("collbench: --ops nope: not in")
    predicted = json.loads(collbench("extrapolate", latest, "--to", "72,384", "--json", "-").stdout)
    assert {row["ranks"] for row in predicted} >= {72, 384}
    wanted = {"system", "op", "algorithm", "dtype", "message_bytes", "ranks", "time_s", "time_lo_s", "time_hi_s",
              "level", "busbw_Bps", "kind", "reason", "distance", "domain"}
    assert all(wanted <= set(row) for row in predicted)
    for row in predicted:
        if row["kind"] == "extrapolated":
            assert row["time_lo_s"] <= row["time_s"] <= row["time_hi_s"]
        elif row["kind"] == "refused":
            assert row["reason"]
            assert row["time_s"] is None


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_every_subcommand_shows_an_example(collbench, command):
    done = collbench(command, "--help")
    assert done.returncode == 0
    assert f"collbench {command}" in done.stdout.partition("Example:")[2]


def test_help_imports_nothing_heavy():
    probe = ("import sys\nfrom collbench.launch.cli import cli\n"
             "assert all(cli.get_command(None, name) for name in cli.list_commands(None))\n"
             "heavy = {'numpy', 'pandas', 'scipy', 'torch', 'mpi4py', 'vl_convert', 'rich'} & set(sys.modules)\n"
             "sys.exit(', '.join(heavy) or 0)")
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [
    ("run", "--ops", "all_redcue"), ("run", "-b", "0"), ("run", "-b", "2M", "-e", "1M"), ("run", "-f", "1"),
    ("run", "-f", "nan"), ("run", "-f", "2", "-i", "8"), ("run", "--dtypes", "float31"), ("run", "--redops", "xor"),
    ("run", "--group-ranks", "2,x"), ("run", "--group-ranks", "0"), ("run", "--ranks", "0"), ("run", "--budget", "0"),
    ("run", "--case-seconds", "-1"), ("run", "--precision", "2"), ("run", "--nonsense"), ("run", "--ops", ""),
    ("bench", "--ranks", "1"), ("bench", "--budget", "soon"), ("bench", "--transport", "pigeon"),
    ("extrapolate", "nowhere"), ("extrapolate", ".", "--to", "1"), ("extrapolate", ".", "--to", "many"),
    ("report", "nowhere"), ("report", "nowhere", "-o", "x"), ("nothing",)])
def test_a_mistake_is_said_and_nothing_is_started(collbench, tmp_path, words):
    done = collbench(*words)
    assert done.returncode == 2, done
    assert done.stderr.startswith("collbench: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stranger", ["launch.py", "analysis/__init__.py", "collectives/__init__.py"])
def test_a_users_own_modules_of_the_same_names_change_nothing(tmp_path, stranger):
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("raise SystemExit('a stranger was imported')")
    for words in (["-m", "collbench", "domains"], ["-m", "collbench.rank", "--help"]):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
