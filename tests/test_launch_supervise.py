"""What happens around the ranks: launchers, whole jobs and `collbench` itself are stopped, held or killed.

`--every-fault` runs all combinations, otherwise one of each kind.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from collbench.collectives.cases.case import Sweep
from collbench.collectives.errors import CollbenchError
from collbench.collectives.ranks.processes import job_members
from collbench.collectives.records.journal import Journal, read_journal
from collbench.collectives.records.record import SCHEMA, Clock, Policy, Run
from collbench.collectives.watchdog.ending import FAULT
from collbench.launch import supervise
from collbench.launch.bench import conclude
from collbench.launch.job import Job
from collbench.launch.job_tmpdir import job_tmpdir, remove_abandoned
from collbench.launch.kept_journal import KeptJournal
from collbench.launch.launchers.local import Local
from collbench.launch.workload import Workload

pytestmark = [pytest.mark.ranks, pytest.mark.needs("torch", "mpi")]
COMMAND = str(Path(sys.executable).parent / "collbench")
LIMIT_S = 4
LAUNCH = {"local": ("run", "--transport", "torch", "--ranks", "2"),
          "mpirun": ("run", "--transport", "mpi", "--ranks", "2"),
          "torchrun": ("launch", "--launcher", "torchrun", "--transport", "torch", "--ranks-per-node", "2")}
SWEEP = ("--ops", "all_reduce,all_gather,barrier", "--sizes", "64,1K,16K,64K", "--case-limit", str(LIMIT_S))
PTRACE_ATTACH = 16
RUN = Run(schema=SCHEMA, id="r1", started="2026-01-01T00:00:00+00:00", transport="mpi", library="L", device="cpu",
          world=2, clock=Clock(kind="shared"), policy=Policy(), command=("x",), provenance={},
          sweep=Sweep(ops=("all_reduce",), sizes=(64,), ranks=(2,)))


def wait_until(true, wait_s=240):
    deadline = time.monotonic() + wait_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def job(tmp_path, temporary):
    """Start a job and wait for its first records; the process, its launcher, its ranks and the journal."""
    started, rooms = [], []

    def start(launcher, case_s=0.3):
        journal = tmp_path / "r" / "journal.jsonl"
        process = subprocess.Popen([COMMAND, *LAUNCH[launcher], *SWEEP, "--case-seconds", str(case_s), "--out",
                                    journal.parent], env={**os.environ, "TMPDIR": str(temporary)}, text=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        started.append(process)
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 2)
        (room,) = temporary.glob("collbench-job-*")
        rooms.append(room)
        members = job_members(-1, f"TMPDIR={room}")
        parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in members}
        (first,) = [pid for pid in members if parents[pid] == process.pid]
        return process, first, sorted(pid for pid in members if parents[pid] == first), journal
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
    for room in rooms:
        assert job_members(-1, f"TMPDIR={room}") == {}


def faults(*rows):
    """The first row always, the rest with `--every-fault`."""
    return [rows[0], *(pytest.param(*row, marks=pytest.mark.every_fault) for row in rows[1:])]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "stopped"), faults(
    ("mpirun", "ranks"), ("local", "launcher"), ("mpirun", "launcher"), ("torchrun", "launcher"), ("local", "ranks"),
    ("torchrun", "ranks"), ("local", "all"), ("mpirun", "all"), ("torchrun", "all")))
def test_a_job_of_which_all_that_could_end_it_is_stopped_is_ended(job, launcher, stopped):
    process, first, ranks, journal = job(launcher)
    for pid in ([first] if stopped != "ranks" else []) + (ranks if stopped != "launcher" else []):
        os.kill(pid, signal.SIGSTOP)
    _, said = process.communicate(timeout=240)
    assert process.returncode == FAULT, said
    line = said.splitlines()[-1]
    assert line.startswith("collbench: nothing has happened for ")
    assert "stopped by a signal" in line
    assert line.endswith(f"the job ends; everything measured is in {journal}")
    assert read_journal(journal)[2] == []


@pytest.mark.slow
def test_a_launcher_that_takes_long_to_start_its_ranks_has_not_outlived_them(tmp_path, monkeypatch, capfd):
    """It may import their library from a busy disk; one that stays although they have ended does not keep the job."""
    rank = f"{sys.executable} -c 'import time; time.sleep(2)' collbench.rank"
    late, lingering = f"sleep 2; {rank}; true", f"{rank}; sleep 300; true"
    monkeypatch.setattr(supervise, "_QUIET_S", 0.2)
    monkeypatch.setattr(supervise, "_LOOK_S", 0.2)
    job = Job(config=Workload().config("torch", tmp_path / "r", on_device=False), ranks=1)
    for script, status, said in ((late, 0, ""), (lingering, FAULT, "has not ended, though all its ranks have")):
        launcher = Local()
        monkeypatch.setattr(launcher, "command", lambda job, script=script: ["bash", "-c", script])
        assert supervise.run_job(launcher, job) == status
        assert said in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("held", [1, pytest.param(0, marks=pytest.mark.every_fault)])
def test_a_rank_that_a_debugger_holds_is_named_and_the_job_ends(job, held):
    process, _, ranks, journal = job("local")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(ctypes.c_long(PTRACE_ATTACH), ctypes.c_long(ranks[held]), None, None):
        pytest.skip(f"SKIPPED: ptrace: {os.strerror(ctypes.get_errno())}")
    _, said = process.communicate(timeout=240)
    assert process.returncode == FAULT, said
    named = re.search(rf"rank {held} \(pid {ranks[held]} on \S+, held by a debugger \(pid {os.getpid()}\), did", said)
    assert named or (held == 0 and "rank 0 does not answer (reported by rank 1)" in said), said     # it has the GIL
    assert f"collbench: rank {held} (pid {ranks[held]}) was killed, but a debugger (pid {os.getpid()}) holds it" in said
    assert read_journal(journal)[2] == []


@pytest.mark.parametrize(("launcher", "killed"), faults(
    ("mpirun", "ranks"), ("local", "launcher"), ("mpirun", "launcher"), ("torchrun", "launcher"), ("local", "ranks"),
    ("torchrun", "ranks")))
def test_a_job_whose_ranks_or_launcher_are_killed_ends_with_a_line_that_says_why(job, launcher, killed):
    process, first, ranks, journal = job(launcher)
    for pid in ranks if killed == "ranks" else [first]:
        os.kill(pid, signal.SIGKILL)
    _, said = process.communicate(timeout=240)
    assert process.returncode in (1, FAULT) if launcher == "torchrun" else process.returncode == FAULT, said
    why = "died of SIGKILL: the job ends" if killed == "launcher" or launcher == "local" else "no rank has said why"
    assert re.search(rf"^collbench: .*{why}", said, re.M), said
    assert read_journal(journal)[2] == []


@pytest.mark.parametrize(("launcher", "name"), faults(
    ("mpirun", "KILL"), ("local", "SEGV"), ("mpirun", "SEGV"), ("torchrun", "SEGV"), ("local", "KILL"),
    ("torchrun", "KILL")))
def test_a_killed_collbench_takes_its_job_and_its_files_along(job, temporary, launcher, name):
    """By then nobody could stop it or would show its results."""
    process, _, _, journal = job(launcher)
    process.send_signal(getattr(signal, f"SIG{name}"))
    process.wait(240)
    wait_until(lambda: not list(temporary.iterdir()))
    assert read_journal(journal)[2] == []


@pytest.mark.parametrize(("launcher", "name"), faults(
    ("local", "INT"), ("local", "HUP"), ("local", "QUIT"), ("mpirun", "INT"), ("mpirun", "HUP"),
    ("mpirun", "QUIT"), ("torchrun", "HUP")))
def test_ctrl_c_and_a_closed_terminal_stop_the_job_after_the_current_case(job, launcher, name):
    process, _, _, journal = job(launcher)
    process.send_signal(getattr(signal, f"SIG{name}"))
    _, said = process.communicate(timeout=240)
    assert process.returncode == 128 + (signal.SIGINT if name == "INT" else signal.SIGTERM), said
    assert read_journal(journal)[2] == []


def test_directories_that_nobody_uses_are_removed_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    abandoned, other = tmp_path / "collbench-job-1", tmp_path / "mine"
    for folder in abandoned, other:
        folder.mkdir()
        os.utime(folder, (0, 0))
    with job_tmpdir(one_host=True) as own:
        assert not abandoned.exists()
        os.utime(own["TMPDIR"], (0, 0))
        assert remove_abandoned(tmp_path) == []
        assert Path(own["TMPDIR"]).is_dir()
    assert list(tmp_path.iterdir()) == [other]


def test_doctor_removes_what_killed_jobs_left(collbench, tmp_path):
    abandoned = tmp_path / "collbench-job-1"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    done = collbench("doctor", TMPDIR=str(tmp_path))
    assert not abandoned.exists()
    assert f"of killed jobs, removed: {abandoned}" in done.stdout


def in_a_network_of_its_own(tmp_path, script):
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("SKIPPED: network namespaces need root and unshare")
    return subprocess.run(["unshare", "-n", "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True,
                          timeout=240, check=False)


def test_a_host_without_loopback_says_what_to_do(tmp_path):
    done = in_a_network_of_its_own(tmp_path, f"{COMMAND} {' '.join(LAUNCH['local'])} --ops barrier --out r")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "collbench: ranks of this host cannot meet at 127.0.0.1: Network is unreachable; set up its loopback "
        "interface: ip link set lo up"]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "status"), faults(("mpirun", FAULT), ("local", FAULT), ("torchrun", FAULT)))
def test_a_loopback_that_goes_down_at_the_end_does_not_keep_the_job(tmp_path, launcher, status):
    """The ranks end themselves: with this rendezvous limit, the parent would wait for more than ten minutes."""
    done = in_a_network_of_its_own(tmp_path, f"""
ip link set lo up
{COMMAND} {' '.join((*LAUNCH[launcher], *SWEEP))} --place in --rendezvous-seconds 200 --case-seconds 0.1 \\
    --out r & job=$!
while kill -0 $job && ! [ "$(wc -l < r/journal.jsonl)" -ge 11 ]; do sleep 0.01; done 2>/dev/null
ip link set lo down
wait $job""")
    assert done.returncode in (0, 1, status), done.stderr       # 0: all ranks had left; 1: mpirun noticed first
    runs, records, warnings = read_journal(tmp_path / "r" / "journal.jsonl")
    assert (len(runs), warnings) == (1, [])
    assert {record.status for record in records} <= {"ok", "unsupported"}


def remove_folder(path):
    shutil.rmtree(path.parent)


def start_another(path):
    """As rank 0 does in a second start of the ranks, if the journal of the first one is gone by then."""
    path.unlink()
    with Journal(path) as journal:
        journal.append(msgspec.structs.replace(RUN, id="r2"))


@pytest.mark.parametrize(("take", "runs"), [(Path.unlink, {"r1"}), (remove_folder, {"r1"}),
                                            (start_another, {"r1", "r2"})])
def test_a_journal_that_no_rank_has_open_is_not_lost(tmp_path, capfd, take, runs):
    path = tmp_path / "r" / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
    kept = KeptJournal(path)
    assert kept.look() == path.stat().st_size
    take(path)
    kept.end()
    found, _, warnings = read_journal(path)
    assert (set(found), warnings) == (runs, [])
    assert capfd.readouterr().err == (f"collbench: warning: {path}: it was removed or renamed during the run; what was "
                                      "in it was written there again\n")


@pytest.mark.parametrize("content", [None, "mine\n"])
def test_a_journal_that_others_own_is_left_alone(tmp_path, capfd, content):
    """Rank 0 wrote it again with all that was in it, or saved a copy of its own elsewhere."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(RUN)
    kept = KeptJournal(path)
    kept.look()
    before = path.read_bytes()
    path.unlink()
    path.write_bytes(content.encode() if content else before + before)
    after = path.read_bytes()
    kept.end()
    assert path.read_bytes() == after
    assert capfd.readouterr().err == ""


def test_a_run_json_that_cannot_be_written_is_one_line(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(RUN)
    (tmp_path / "run.json").mkdir()
    with pytest.raises(CollbenchError, match=f"{tmp_path}/run.json: cannot be written: Is a directory; what was "
                                             f"measured is in {tmp_path}/journal.jsonl"):
        conclude(tmp_path)
    assert not (tmp_path / "run.part").exists()
