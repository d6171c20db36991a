"""`collbench check`: exit statuses on logs and on journals of real ranks, some with wrong results."""

import json

import pytest

from collbench.collectives.cases.case import Sweep
from collbench.collectives.options import RunConfig
from collbench.collectives.program.sweep import run_sweep
from collbench.collectives.records.journal import Journal, read_journal
from collbench.collectives.records.record import Policy, Record
from collbench.collectives.transports.loopback import run_ranks

HEAD = "system,library,collective,algorithm,dtype,n_ranks,ranks_per_node,message_bytes,time_us\n"
LAUNCHES = 4


def log(path, factor, op="all_reduce"):
    """A log with one point, which is enough for the exit status."""
    path.write_text(HEAD + f"x,y,{op},,float32,4,2,65536,{655 * factor}\n")
    return path


def measured(folder, fault=None):
    """A journal of a few launches of ranks in this process."""
    folder.mkdir()
    sweep = Sweep(ops=("all_gather", "all_reduce"), sizes=(1024,), ranks=(2,), places=(False,))
    policy = Policy(alignment="barrier", case_s=0.05, min_samples=5, max_samples=30, modes=("isolated",))
    request = RunConfig(transport="loopback", sweep=sweep, policy=policy, journal=folder / "journal.jsonl",
                      display="quiet")
    for _ in range(LAUNCHES):
        run_ranks(2, lambda transport, place: run_sweep(request, transport, place), fault)
    return folder


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("healthy") / "run")


def test_check_passes_and_refuses_what_is_not_comparable(collbench, tmp_path):
    baseline, now = log(tmp_path / "healthy.csv", 1.0), log(tmp_path / "now.csv", 1.001)
    done = collbench("check", "--baseline", baseline, "--data", now, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == 0
    other = log(tmp_path / "other.csv", 1.0, op="broadcast")
    assert collbench("check", "--baseline", baseline, "--data", other).returncode == 2
    assert collbench("check", "--baseline", "missing.jsonl").returncode == 2
    same = collbench("check", "--baseline", baseline, "--data", baseline)
    assert (same.returncode, "on both sides" in same.stderr) == (2, True)


def test_check_saves_a_baseline(collbench, tmp_path):
    now = log(tmp_path / "now.csv", 1.0)
    assert collbench("check", "--data", now, "--save", "kept.csv").returncode == 0
    assert (tmp_path / "kept.csv").read_text() == now.read_text()


def test_a_wrong_result_fails_the_check_whatever_its_time(collbench, tmp_path, healthy):
    def flip(case, rank, recv):
        if case.op == "all_gather" and rank == 1:
            recv[recv.size // 2] ^= 0x04
    done = collbench("check", "--baseline", healthy, "--data", measured(tmp_path / "now", flip))
    assert done.returncode == 1, done.stderr
    assert "all_gather" in done.stderr
    assert "wrong in 4 of 4 launches" in done.stderr


def test_one_failed_launch_is_reported_and_the_others_decide(collbench, tmp_path, healthy):
    runs, records, _ = read_journal(measured(tmp_path / "now") / "journal.jsonl")
    for failing, status in ((1, 0), (2, 1)):
        path = tmp_path / f"{failing}.jsonl"
        with Journal(path) as journal:
            journal.extend(runs.values())
            journal.extend(_failed(record) if record.run in list(runs)[:failing] and record.case.op == "all_reduce"
                           else record for record in records)
        done = collbench("check", "--baseline", healthy, "--data", path, "--max-slowdown", 1000)
        assert done.returncode == status, done.stderr
        assert f"failed in {failing} of 4 launches" in done.stderr


def _failed(record: Record) -> Record:
    return Record(run=record.run, case=record.case, status="failed", reason="made to")
