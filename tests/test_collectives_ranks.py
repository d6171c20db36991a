"""Real ranks: gloo processes and mpirun, as a user would start them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collectives import catalog
from collectives.records import read_journal

pytestmark = pytest.mark.ranks
TRANSPORTS = [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("torch", "mpi")]
QUICK = ("--case-seconds", 0.01, "--min-samples", 3)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_operation_over_2_and_4_ranks_in_both_modes(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 4, "--ops", "all", "-b", 96, "-e", "6K", "-f", 64,
                     "--out", "r", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    runs, records, warnings = read_journal(tmp_path / "r" / "journal.jsonl")
    assert warnings == []
    assert {record.status for record in records} == {"ok", "unsupported"} or transport == "mpi"
    ok = [record for record in records if record.status == "ok"]
    assert {(r.case.op, r.case.ranks) for r in ok} == {(op, n) for op in catalog.OPERATIONS for n in (2, 4)}
    for record in ok:
        assert [timing.mode for timing in record.timings] == ["isolated", "streamed"]
        assert record.case.op == "noop" or record.verification.checks > 0
        assert record.verification is None or record.verification.wrong == 0
    assert next(iter(runs.values())).clock.kind == "shared"
    assert json.loads((tmp_path / "r" / "run.json").read_text())["runs"][0]["transport"] == transport


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_element_type_and_reduce_operation_is_right_or_refused(collbench, tmp_path, transport):
    done = collbench("run", "--transport", transport, "--ranks", 3, "--ops", "all_reduce,all_gather,reduce_scatter",
                     "-b", "1K", "-e", "1K", "--dtypes", "all", "--redops", "all", "--group-ranks", 3, "--modes",
                     "isolated", "--out", "r", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    _, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert {r.status for r in records} == {"ok", "unsupported"}
    assert all(r.reason for r in records if r.status == "unsupported")
    right = {(r.case.op, r.case.dtype, r.case.redop) for r in records if r.status == "ok"}
    for dtype in ("float32", "float64", "int8", "int32", "int64"):
        for redop in ("sum", "prod", "min", "max"):
            assert ("all_reduce", dtype, redop) in right
    assert {dtype for op, dtype, _ in right if op == "all_gather"} == set(catalog.DTYPES)


@pytest.mark.needs("torch")
def test_torchrun_starts_the_rank_program(tmp_path):
    torchrun = Path(sys.executable).parent / "torchrun"
    if not torchrun.exists():
        pytest.skip("SKIPPED: no torchrun beside this Python")
    done = subprocess.run([torchrun, "--standalone", "--nproc-per-node", "2", "-m", "collectives", "--ops",
                           "all_reduce", "-b", "64", "-e", "64", "--out", tmp_path / "r", "--case-seconds", "0.01"],
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    _, records, _ = read_journal(tmp_path / "r" / "journal.jsonl")
    assert [record.case.op for record in records] == ["all_reduce", "noop", "all_reduce"]


@pytest.fixture
def long_job(tmp_path):
    """Two gloo ranks that have measured a few cases of many; the process that forked them, and their journal."""
    job = subprocess.Popen([sys.executable, "-m", "collectives.fork", "2", "--ops", "all", "--out", str(tmp_path / "r"),
                            "--case-seconds", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "r" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count('"status":"ok"') > 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield job, journal
    job.kill()


@pytest.mark.needs("torch")
def test_a_killed_rank_ends_the_job_and_keeps_what_was_measured(long_job):
    job, journal = long_job
    ranks = subprocess.run(["ps", "-o", "pid=", "--ppid", str(job.pid)], capture_output=True, text=True,
                           check=True).stdout.split()
    subprocess.run(["kill", "-KILL", ranks[-1]], check=True)
    _, errors = job.communicate(timeout=30)
    assert job.returncode in (128 + signal.SIGKILL, 1)
    assert "died of SIGKILL" in errors or "collbench: rank 0" in errors
    _, records, warnings = read_journal(journal)
    assert warnings == []
    assert sum(record.status == "ok" for record in records) > 3
    left = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(ranks)], capture_output=True, text=True, check=False)
    assert left.stdout.strip("Z \n") == ""


@pytest.mark.needs("torch")
def test_told_to_stop_it_ends_at_the_next_case_with_everything_saved(long_job):
    job, journal = long_job
    job.terminate()
    output, errors = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGTERM, errors
    assert "told to stop" in output
    assert read_journal(journal)[2] == []
