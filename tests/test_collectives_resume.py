"""Resuming a journal: exactly the missing cases are measured, and runs with different settings are not mixed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from collbench.collectives.records.journal import read_journal

SWEEP = ("--transport", "mpi", "--ranks", 2, "--ops", "all_reduce,all_gather", "--sizes", "64,1K,16K", "--case-seconds",
         "0.05", "--precision", "0", "--seed", "3")


def _cases(journal):
    _, records, _ = read_journal(journal)
    return [record.case for record in records]


@pytest.mark.slow
@pytest.mark.needs("mpi")
@pytest.mark.ranks
def test_a_killed_run_resumes_and_ends_with_the_cases_of_an_undisturbed_one(collbench, tmp_path):
    whole = collbench("run", *SWEEP, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    words = [sys.executable, "-m", "collbench.launch.cli", "run", *map(str, SWEEP), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "cut" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (journal.exists() and len(journal.read_bytes().splitlines()) > 4):
        time.sleep(0.02)
    subprocess.run(["pkill", "-KILL", "-f", "--", f"--out {tmp_path / 'cut'}"], check=False)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with journal.open("r+b") as file:        # and the last line is cut as well
        file.truncate(journal.stat().st_size - 20)
    before = _cases(journal)
    assert 0 < len(before) < len(_cases(tmp_path / "whole" / "journal.jsonl"))
    done = collbench("run", *SWEEP, "--out", tmp_path / "cut", "--resume")
    assert done.returncode == 0, done.stderr
    assert f"resume: {len(set(before))} of " in done.stdout
    after = _cases(journal)
    assert sorted(map(str, after)) == sorted(map(str, _cases(tmp_path / "whole" / "journal.jsonl")))
    assert after[:len(before)] == before
    again = collbench("run", *SWEEP, "--out", tmp_path / "cut", "--resume")
    assert again.returncode == 0
    assert "nothing was left to measure" in again.stdout
    assert _cases(journal) == after


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_a_journal_with_other_settings_is_refused_without_resume_anyway(collbench, tmp_path):
    words = ("run", "--transport", "torch", "--ranks", 2, "--ops", "barrier", "--case-seconds", "0.05",
             "--group-ranks", 2, "--out", tmp_path)
    assert collbench(*words, "--resume").returncode == 0          # nothing there yet: it simply starts
    refused = collbench(*words, "--resume", "--min-samples", 7)
    assert refused.returncode == 2
    assert "min_samples was 5, is 7" in refused.stderr
    assert "--resume-anyway" in refused.stderr
    assert "Traceback" not in refused.stderr
    mixed = collbench(*words, "--resume-anyway", "--min-samples", 7)
    assert mixed.returncode == 0
    assert "nothing was left to measure" in mixed.stdout


@pytest.mark.slow
@pytest.mark.needs("torch")
@pytest.mark.ranks
def test_the_devices_that_a_container_was_given_are_no_other_setting(collbench, tmp_path, monkeypatch):
    words = ("run", "--transport", "torch", "--ranks", 2, "--ops", "barrier", "--case-seconds", "0.05",
             "--group-ranks", 2, "--out", tmp_path, "--resume")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "GPU-1")
    assert collbench(*words).returncode == 0
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "GPU-2")
    assert "nothing was left to measure" in collbench(*words).stdout
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert "CUDA_LAUNCH_BLOCKING was None, is 1" in collbench(*words).stderr


def test_bench_refuses_resume_without_out(collbench):
    done = collbench("bench", "--resume")
    assert done.returncode == 2
    assert "--out" in done.stderr
