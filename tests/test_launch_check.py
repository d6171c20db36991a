"""`collbench check`: exit statuses on logs and on journals of real ranks, some with wrong results."""

import json
from xml.etree import ElementTree

import msgspec
import pytest

from collbench.analysis.compare.gate import Gate, check
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


def scaled(healthy, path, factor):
    """The journal of other runs in which every call took `factor` times as long."""
    runs, records, _ = read_journal(healthy / "journal.jsonl")
    with Journal(path) as journal:
        journal.extend(msgspec.structs.replace(run, id=f"{run.id}x{factor:g}") for run in runs.values())
        journal.extend(msgspec.structs.replace(record, run=f"{record.run}x{factor:g}", digests=(), timings=tuple(
            msgspec.structs.replace(timing, elapsed_ns=[[round(factor * ns) for ns in rank] for rank in
                                                        timing.elapsed_ns]) for timing in record.timings))
            for record in records)
    return path


def test_a_machine_that_is_slower_in_everything_never_passes(tmp_path, healthy):
    """By how much the launches of this test scatter depends on the machine: twice as slow is noticed, or unclear."""
    for factor, statuses in ((1, {0, 4}), (1.5, {0, 1, 4}), (2, {1, 4}), (3, {1, 4}), (1000, {1})):
        found = check(str(healthy), str(scaled(healthy, tmp_path / f"{factor}.jsonl", factor)), Gate(0.1))
        assert found.status in statuses, (factor, found.words)
        assert found.comparison.together["ratio"].item() == pytest.approx(factor, rel=1e-3)
        assert any("a slowdown is noticed from" in words for words in found.words)
        if found.status == 0:
            assert factor < found.comparison.together["noticed"].item() <= 2


def launches(folder, name, factor, scatter):
    """Six launches of two sizes whose times grow from launch to launch, `scatter` in all; their names."""
    for launch in range(6):
        rows = [f"x,y,all_reduce,,float32,4,2,{size},{size / 100 * factor * scatter**(launch / 5)}\n"
                for size in (1024, 65536)]
        (folder / f"{name}{launch}.csv").write_text(HEAD + "".join(rows))
    return ",".join(f"{name}{launch}.csv" for launch in range(6))


@pytest.mark.slow
def test_cannot_tell_is_a_status_of_its_own_and_ci_systems_see_it(collbench, tmp_path, monkeypatch):
    quiet, noisy = launches(tmp_path, "a", 1.0, 1.01), launches(tmp_path, "b", 1.0, 40.0)
    named = ("--ops", "all_reduce", "--sizes", "1K,64K", "--max-slowdown", "10")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    ci = ("--github", "--junit", "out.xml", "--markdown", "out.md")
    done = collbench("compare", noisy, launches(tmp_path, "c", 1.3, 40.0), *named, *ci)
    assert done.returncode == 4, done.stderr
    assert "cannot tell: a slowdown of 2x would not have been noticed" in done.stderr
    assert "::warning title=collbench compare%3A cannot tell::" in done.stdout
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "0", "3")
    assert (tmp_path / "step.md").read_text() == (tmp_path / "out.md").read_text()
    assert collbench("compare", noisy, "c0.csv,c1.csv", *named, "--allow-inconclusive").returncode == 0
    done = collbench("compare", quiet, launches(tmp_path, "d", 1.3, 1.01), *named, *ci)
    assert done.returncode == 1, done.stderr
    assert "::error title=collbench compare%3A failed::" in done.stdout
    assert "all 2 cases of csv together: 1.30x the time of the baseline" in done.stderr
    suite = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "3", "0")
    assert "| all_reduce 64 KiB" in (tmp_path / "out.md").read_text()


def test_a_slowdown_that_a_second_measurement_does_not_confirm_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    baseline, slow = launches(tmp_path, "a", 1.0, 1.01), launches(tmp_path, "b", 1.5, 1.01)
    first = check(baseline, slow, Gate(0.1))
    assert (first.status, len(first.slow)) == (1, 3)
    passed = check(baseline, launches(tmp_path, "c", 1.001, 1.01), Gate(0.1), first.slow)
    assert passed.status == 0
    assert "did not confirm it" in passed.words[-1]
    assert check(baseline, launches(tmp_path, "d", 1.4, 1.01), Gate(0.1), first.slow).status == 1
    assert check(baseline, slow, Gate(0.1), frozenset({"another case"})).status == 0
    noisy = check(launches(tmp_path, "e", 1.0, 40.0), launches(tmp_path, "f", 1.3, 40.0), Gate(0.1, notice=1000))
    assert noisy.status == 0


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
    runs, records, _ = read_journal(scaled(healthy, tmp_path / "now.jsonl", 1))
    for failing, status in ((1, 0), (2, 1)):
        path = tmp_path / f"{failing}.jsonl"
        with Journal(path) as journal:
            journal.extend(runs.values())
            journal.extend(_failed(record) if record.run in list(runs)[:failing] and record.case.op == "all_reduce"
                           else record for record in records)
        done = collbench("check", "--baseline", healthy, "--data", path, "--allow-inconclusive")
        assert done.returncode == status, done.stderr
        assert f"failed in {failing} of 4 launches" in done.stderr


def _failed(record: Record) -> Record:
    return Record(run=record.run, case=record.case, status="failed", reason="made to")
