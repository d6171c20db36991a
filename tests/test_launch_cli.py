"""The command line as a user meets it: the main job to its report, help with examples, one line for every mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from collbench.analysis.importers import importers
from collbench.collectives.cases.catalog import DTYPES, GROUPS, OPERATIONS, REDOPS
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import MODES
from collbench.launch.cli import cli, main
from collbench.launch.commands import domains as domains_command

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "hgx-h100-8.csv"
COMMAND = str(Path(sys.executable).parent / "collbench")
SUBCOMMANDS = cli.list_commands(None)


@pytest.mark.needs("torch")
@pytest.mark.needs("mpi")
@pytest.mark.ranks
def test_the_main_job_measures_extrapolates_and_reports(collbench, tmp_path):
    done = collbench("bench", "--profile", "smoke", "--budget", 14, "--ranks", 4, "--json", "-")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    latest = tmp_path / "results" / "latest"
    runs, records, warnings = read_journal(latest / "journal.jsonl")
    assert warnings == []
    assert {run.transport for run in runs.values()} == {"torch", "mpi"}
    assert {record.status for record in records} <= {"ok", "unsupported"}
    page = (latest / "report.html").read_text()
    for word in ("72", "384", "extrapolated", "software path"):
        assert word in page
    points = json.loads(done.stdout)["points"]
    assert "report: " in done.stderr
    assert {point["mode"] for point in points} == {"isolated", "streamed"}
    assert all(point["time_s"] > 0 for point in points)
    said = collbench("summary", latest, "--ops", "all_reduce")
    assert said.returncode == 0, said.stderr
    counts = {point["ranks"] for point in points if point["op"] == "all_reduce"}     # a busy machine drops the largest
    assert any(f"all_reduce, measured, {ranks} ranks" in said.stdout for ranks in counts)
    unknown = collbench("summary", latest, "--ops", "all_reduce,nope")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("collbench: --ops nope: not in")
    predicted = json.loads(collbench("extrapolate", latest, "--to", "72,384", "--json", "-").stdout)["predictions"]
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


def test_the_short_helps_are_whole_and_in_sections(collbench):
    shown = collbench("--help", COLUMNS="80").stdout
    assert [line for line in shown.splitlines() if re.fullmatch(r"[A-Z]\w+:", line)] == [
        "Options:", "Measure:", "Read:", "Forecast:", "Gate:", "Manage:"]
    for name in SUBCOMMANDS:
        short = cli.get_command(None, name).short_help
        assert re.search(rf"^  {name} +{re.escape(short)}$", shown, re.MULTILINE), "on one line"


def test_the_values_of_options_are_in_the_help(collbench):
    shown = " ".join(collbench("run", "--help").stdout.partition("Values:")[2].split())
    for name in (*OPERATIONS, *GROUPS, *DTYPES, *REDOPS, *MODES):
        assert name in shown


@pytest.mark.parametrize(("words", "meant"), [
    ("run --ops all_redcue", "did you mean all_reduce?"), ("run -d flaot32", "did you mean float32?"),
    ("run --transport nccl", "--transport torch --backend nccl"), ("bench --transport OpenMPI", "--transport mpi"),
    ("project {} --domain nvl27", "did you mean"), ("run -o xor", "there are all, sum, prod, min, max, avg")])
def test_a_wrong_name_is_answered_with_the_right_one(collbench, words, meant):
    done = collbench(*words.format(EXAMPLE).split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert meant in done.stderr


@pytest.mark.parametrize(("typed", "offered"), [
    ("run --ops all_reduce,all_g", "all_reduce,all_gather"), ("project x --domain nvl", "nvl72"),
    ("domains cm", "cm384"), ("extrapolate x --ops red", "reduce_scatter"), ("bench --backend gl", "gloo"),
    ("exp", "export")])
def test_the_shell_completes_commands_and_values(collbench, typed, offered):
    done = collbench(_COLLBENCH_COMPLETE="bash_complete", COMP_WORDS=f"collbench {typed}",
                     COMP_CWORD=str(len(typed.split())))
    assert f"plain,{offered}" in done.stdout.splitlines(), done.stderr


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
    ("report", "nowhere"), ("report", "nowhere", "-o", "x"), ("nothing",), ("run", "--samples", "0")])
def test_a_mistake_is_said_and_nothing_is_started(collbench, tmp_path, words):
    done = collbench(*words)
    assert done.returncode == 2, done
    assert done.stderr.startswith("collbench: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_help_of_import_lists_every_tool(collbench):
    titles = {module.TITLE for module in importers()}
    text = "".join(collbench("import", "--help").stdout.split())       # lines may break within a title
    assert len(titles) > 10
    assert not [title for title in titles if title.replace(" ", "") not in text]


@pytest.mark.parametrize("words", [("run", "--ops", "nope"), ("report", "nowhere")])
def test_a_traceback_is_shown_on_request_only(collbench, words):
    for value, shown in (("", False), ("1", True)):
        done = collbench(*words, COLLBENCH_TRACEBACK=value)
        assert done.returncode == 2
        assert ("Traceback (most recent call last)" in done.stderr) == shown
        assert done.stderr.splitlines()[-1].startswith("collbench: ")


@pytest.mark.parametrize("value", ["", "1"])
def test_a_bug_of_ours_is_one_line_with_a_status_of_its_own(monkeypatch, capsys, value):
    """1 would read as "slower" to a gate."""
    monkeypatch.setenv("COLLBENCH_TRACEBACK", value)
    monkeypatch.setattr(domains_command.command, "callback", lambda **values: {}["a key"])
    with pytest.raises(SystemExit) as end:
        main(["domains"])
    assert end.value.code == 70
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("collbench: internal error: KeyError: 'a key' [test_launch_cli.py:")
    assert ("Traceback (most recent call last)" in said) == bool(value)


@pytest.mark.parametrize("value", ["", "1"])
def test_the_rank_program_shows_a_traceback_on_request_only(tmp_path, value):
    environment = {**os.environ, "COLLBENCH_TRACEBACK": value}
    for words in (["--config", "nowhere"], ["--ops", "barrier"]):
        done = subprocess.run([sys.executable, "-m", "collbench.rank", *words], cwd=tmp_path, capture_output=True,
                              text=True, env=environment, check=False)
        assert done.returncode == 2, done.stderr
        assert "collbench: " in done.stderr
        assert ("Traceback (most recent call last)" in done.stderr) == bool(value)


@pytest.mark.parametrize("stranger", ["launch.py", "analysis/__init__.py", "collectives/__init__.py"])
def test_a_users_own_modules_of_the_same_names_change_nothing(tmp_path, stranger):
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("raise SystemExit('a stranger was imported')")
    for words, printed in ((["-m", "collbench", "domains"], "nvl72"),
                           (["-m", "collbench.rank", "--help"], "--transport")):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert printed in done.stdout


@pytest.mark.slow
def test_cards_that_the_user_states_take_the_place_of_those_assumed(collbench, tmp_path):
    """Of one host of 8 GPUs: twice the cards, twice the bandwidth between hosts."""
    sizes = [1 << 28, 1 << 30]
    times = {(ranks, size): 20 + 2e6 * (ranks - 1) / ranks * size / 4e11 for ranks in (2, 4, 8) for size in sizes}
    rows = [f"H100 SXM,NCCL 2.27,allreduce,float32,{ranks},{ranks},{size},{time_us}"
            for (ranks, size), time_us in times.items()]
    head = "system,library,collective,dtype,n_ranks,ranks_per_node,message_bytes,time_us"
    (tmp_path / "one.csv").write_text("\n".join([head, *rows]) + "\n")
    rates = []
    for words in ((), ("--nic", "8x400G"), ("--nic", "8x200G"), ("--nic", "4x100G")):
        done = collbench("extrapolate", "one.csv", "--to", "128", *words, "--json", "-")
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["predictions"]
        rates.append(max(row["busbw_Bps"] for row in rows if row["kind"] == "extrapolated"))
    assert rates[0] == rates[1]
    assert rates[2] == pytest.approx(rates[1] / 2, rel=0.1)
    assert rates[3] == pytest.approx(rates[1] / 8, rel=0.2)
    refused = collbench("extrapolate", "one.csv", "--nic", "fast")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--nic 'fast'" in refused.stderr


@pytest.mark.parametrize(("words", "status"), [(("domains",), 1), (("domains", "--json", "-"), 2)])
def test_a_full_disk_behind_standard_output_is_one_line(words, status):
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == status
    assert re.fullmatch(r"collbench: standard output:? cannot be written: No space left on device\n", done.stderr)
