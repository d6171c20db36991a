"""Ranks that hang, die, crash or fail, in every phase and with every launcher: the job ends and reports why.

Faults are injected from outside: a `sitecustomize` on PYTHONPATH hooks the phases that the rank program tells its
watchdog, and on rank 1 (or 0) does what a broken machine would do.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from collbench.collectives.errors import write_error
from collbench.collectives.records.journal import read_journal
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.ending import FAULT
from collbench.collectives.watchdog.position import Position, find_position, missing_ranks
from collbench.launch.launchers.mpirun import find_mpirun

LIMIT_S = 4
MEETING_S = 10
HOOK = '''
import os, signal, sys, time
if any(word in ("collbench.rank", "collbench.collectives.program.fork") for word in sys.orig_argv):
    from collbench.collectives import transports
    from collbench.collectives.watchdog.watchdog import Watchdog
    kind, wanted, victim, after = os.environ["TEST_FAULT"].split()
    calls = 0
    def act():
        global calls
        rank = os.environ.get("RANK") or os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK")
        calls += 1
        if rank != victim or calls <= int(after):
            return
        with open(os.environ["TEST_FAULT_AT"], "w") as file:
            file.write(str(time.monotonic()))
        if kind == "exception":
            raise OSError("the cable is out")
        if kind == "hang":
            time.sleep(1000)
        if kind == "segfault":
            import ctypes
            ctypes.string_at(0)
        os.kill(os.getpid(), getattr(signal, "SIG" + kind))
    opened, entered_case, entered_phase = transports.open_transport, Watchdog.enter_case, Watchdog.enter_phase
    def open_transport(*arguments):
        if wanted == "rendezvous":
            act()
        return opened(*arguments)
    op = None
    def enter_case(watch, case, number=0):
        global op
        op = case and case.op
        entered_case(watch, case, number)
    def enter_phase(watch, phase):
        if phase == wanted and (phase != "timed" or op != "noop"):
            act()
        entered_phase(watch, phase)
    transports.open_transport, Watchdog.enter_case, Watchdog.enter_phase = open_transport, enter_case, enter_phase
'''
LAUNCH = {"local": ("run", "--transport", "torch", "--ranks", 3),
          "mpirun": ("run", "--transport", "mpi", "--ranks", 3),
          "torchrun": ("launch", "--launcher", "torchrun", "--transport", "torch", "--ranks-per-node", 3)}
SWEEP = ("--ops", "all_reduce", "--sizes", "64,1K,16K", "--group-ranks", 3, "--in-order", "--place", "out",
         "--case-seconds", 0.02, "--min-samples", 2)


@pytest.fixture
def faulty_job(collbench, tmp_path, temporary):
    """Run a job with an injected fault; the finished process and its journal."""
    def run(launcher, kind, phase, victim=1, after=0, *more):
        (tmp_path / "hook").mkdir()
        (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
        done = collbench(*LAUNCH[launcher], *SWEEP, "--place", "in" if launcher != "mpirun" else "out", *more,
                         "--case-limit", LIMIT_S, "--rendezvous-seconds", MEETING_S, "--out", tmp_path / "r",
                         PYTHONPATH=str(tmp_path / "hook"), TEST_FAULT=f"{kind} {phase} {victim} {after}",
                         TEST_FAULT_AT=str(tmp_path / "at"), TMPDIR=str(temporary))
        took_s = time.monotonic() - float((tmp_path / "at").read_text())
        assert "--on-fault" in more or took_s < (MEETING_S if phase == "rendezvous" else LIMIT_S) + 10, done.stderr
        return done, tmp_path / "r" / "journal.jsonl"
    yield run
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        left = str(tmp_path / "r").encode() in words
        if left:
            os.kill(int(process.name), signal.SIGKILL)
        assert not left, f"an orphan: {words}"


# A selection that covers every kind, phase and launcher; `--every-fault` runs all combinations.
KINDS = ("STOP", "KILL", "segfault", "exception", "hang")
PHASES = ("rendezvous", "verify", "warm-up", "timed", "gather", "finalize")
CHOSEN = (("local", "KILL", "gather"), ("local", "segfault", "verify"), ("local", "exception", "warm-up"),
          ("local", "hang", "verify"), ("local", "KILL", "rendezvous"), ("mpirun", "STOP", "warm-up"),
          ("mpirun", "KILL", "verify"), ("mpirun", "exception", "timed"), ("mpirun", "KILL", "rendezvous"),
          ("mpirun", "KILL", "finalize"))
CHOSEN_SLOW = (("local", "STOP", "rendezvous"), ("local", "STOP", "finalize"), ("torchrun", "STOP", "gather"),
               ("torchrun", "KILL", "finalize"), ("mpirun", "hang", "gather"))


def pytest_generate_tests(metafunc):
    every = metafunc.config.getoption("--every-fault")
    if "phase" in metafunc.fixturenames:
        metafunc.parametrize(("launcher", "kind", "phase"),
                             itertools.product(LAUNCH, KINDS, PHASES) if every else
                             [*CHOSEN, *(pytest.param(*fault, marks=pytest.mark.slow) for fault in CHOSEN_SLOW)])
    elif "restarted" in metafunc.fixturenames:
        metafunc.parametrize("restarted", ["local", "torchrun"] if every else ["local"])


def no_rank_is_left(launcher, kind):
    """MPICH's mpiexec kills all ranks as soon as one is killed, so no rank is left to report the case."""
    return launcher == "mpirun" and kind in ("KILL", "segfault") and not find_mpirun().is_open_mpi


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
def test_a_fault_on_one_rank_ends_the_job_and_names_it(faulty_job, launcher, kind, phase):
    done, journal = faulty_job(launcher, kind, phase, 1, {"rendezvous": 0, "verify": 1, "finalize": 0}.get(phase, 2))
    assert launcher == "torchrun" or "Traceback" not in done.stderr     # torchrun shows its own
    if phase == "rendezvous":
        assert done.returncode in (1, FAULT), done.stderr       # an exception there is an ordinary error
        assert not journal.exists()
        return
    assert done.returncode == FAULT, done.stderr
    _, records, warnings = read_journal(journal)
    assert warnings == []
    if no_rank_is_left(launcher, kind):
        assert "(signal " in done.stdout
        return
    if phase == "finalize":
        assert [record.status for record in records].count("ok") == 4
        assert {record.status for record in records} <= {"ok", "unsupported"}
        return
    last = records[-1]
    assert last.status == ("timeout" if kind in ("STOP", "hang") else "failed"), last
    assert "rank 1 (pid " in last.reason
    assert last.timings == ()
    assert last.case.label() in done.stderr
    assert all(record.status in ("ok", "unsupported") for record in records[:-1])
    assert any(record.status == "ok" for record in records[:-1])
    if kind == "STOP":
        assert "stopped by a signal" in last.reason
    if kind == "hang":
        assert "act (sitecustomize.py" in done.stderr
    if kind == "exception":
        assert "the cable is out" in last.reason


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize(("launcher", "kind", "at"), [
    ("local", "STOP", "timed"), ("local", "KILL", "verify"), ("mpirun", "KILL", "timed")])
def test_a_fault_on_rank_0_is_reported_by_another_rank(faulty_job, launcher, kind, at):
    done, journal = faulty_job(launcher, kind, at, 0, 1)
    assert done.returncode == FAULT, done.stderr
    _, records, warnings = read_journal(journal)
    assert warnings == []
    if no_rank_is_left(launcher, kind):
        assert "(signal " in done.stdout
        return
    assert records[-1].status == ("timeout" if kind == "STOP" else "failed")
    assert "rank 0" in records[-1].reason
    assert any(record.status == "ok" for record in records)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
def test_on_fault_continue_resumes_with_the_next_case(faulty_job, restarted):
    """Rank 1 stops in the third case of the first start: only that case is given up, and no case is missed."""
    done, journal = faulty_job(restarted, "STOP", "verify", 1, 2, "--on-fault", "continue")
    runs, records, warnings = read_journal(journal)
    assert warnings == []
    assert done.returncode == FAULT, done.stderr
    assert "restarting the ranks for the remaining cases" in done.stderr
    asked = [record.case for record in records]
    assert len(asked) == len(set(asked)) == 4
    assert [record.status for record in records].count("timeout") == 1
    assert len(runs) == 2


def test_an_ended_rank_unlinks_its_shared_memory():
    """Also segments that a peer has created, which may be dead; a launcher such as srun removes none of them."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", delete=False) as shared, \
            tempfile.NamedTemporaryFile(dir="/dev/shm") as only_read:
        for file in (shared, only_read):
            file.write(bytes(4096))
            file.flush()
        done = subprocess.run([sys.executable, "-c", f"""
import mmap, os
from collbench.collectives.ranks.processes import end_process
shared = mmap.mmap(os.open({shared.name!r}, os.O_RDWR), 0)
only_read = mmap.mmap(os.open({only_read.name!r}, os.O_RDONLY), 0, access=mmap.ACCESS_READ)
end_process({FAULT})"""], check=False)
        assert done.returncode == FAULT
        assert not Path(shared.name).exists()
        assert Path(only_read.name).exists()


def test_ranks_that_are_not_where_the_others_wait_are_missing():
    here = Position(3, "timed", "all_reduce", "all_reduce (distributed_c10d.py:1)", communicates=True)
    assert missing_ranks({0: here, 1: here, 2: here}, range(3)) == set()
    assert missing_ranks({0: here, 1: here, 2: here._replace(number=2)}, range(3)) == {2}
    assert missing_ranks({0: here, 1: here._replace(function="sleep", communicates=False)}, range(2)) == {1}
    assert missing_ranks({0: here, 1: here, 2: here._replace(phase="gather")}, range(2)) == set()


def test_a_rank_in_a_communication_call_is_recognised():
    """Another thread inspects the main thread, which waits, and then releases it."""
    seen = []

    def look_and_release(release):
        time.sleep(0.05)
        seen.append(find_position(1, "timed"))
        release()

    def waiting_in(enter, release):
        watcher = threading.Thread(target=look_and_release, args=(release,))
        watcher.start()
        enter()
        watcher.join()
        return seen.pop()
    exchanged, elsewhere = threading.Event(), threading.Event()

    def program(transport, place):
        communicator = transport.communicator(2)
        if place.rank == 1:
            exchanged.wait()
            return communicator.barrier()
        return waiting_in(communicator.barrier, exchanged.set)
    position = run_ranks(2, program)
    assert position.communicates, position
    assert "barrier (loopback.py" in position.stack
    assert not waiting_in(elsewhere.wait, elsewhere.set).communicates


def test_the_text_of_a_peer_cannot_move_the_cursor_of_the_terminal(capfd):
    write_error("a\x1b[2Jb\x07\nc")
    assert capfd.readouterr().err == "a\\x1b[2Jb\\x07\nc\n"


def test_an_exception_in_a_thread_of_a_rank_is_one_line():
    done = subprocess.run([sys.executable, "-c", """
import threading
from collbench.collectives.watchdog.ending import report_threads
def fail():
    raise OSError("the cable\\nis out")
report_threads(3)
thread = threading.Thread(target=fail, name="helper")
thread.start()
thread.join()
"""], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"collbench: rank 3 \(pid \d+\): in thread 'helper': OSError: the cable \[<string>:5\]\n",
                        done.stderr), done.stderr


@pytest.mark.parametrize(("expected_s", "status"), [(0.0, FAULT), (1.5, 0)], ids=["not expected", "expected"])
def test_a_case_that_is_expected_to_take_long_is_not_hung(tmp_path, expected_s, status):
    """Over two ranks, the limit is 0.3 s and the case takes 1.5 s."""
    done = subprocess.run([sys.executable, "-c", f"""
import time
from pathlib import Path
from collbench.collectives.cases.case import Case
from collbench.collectives.transports.loopback import run_ranks
from collbench.collectives.watchdog.ending import StartGuard
from collbench.collectives.watchdog.watchdog import Watchdog
def program(transport, place):
    guard = StartGuard(60, place.rank)
    watch = Watchdog(place.rank, 2, 0.3, Path("journal.jsonl"), guard)
    watch.expect({expected_s})
    watch.join(transport.communicator(2), True, None)
    watch.enter_case(Case(op="barrier", ranks=2, bytes=0), 1)
    time.sleep(1.5)
    watch.enter_case(None)
    watch.leave()
run_ranks(2, program)
"""], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240)
    assert done.returncode == status, done.stderr
    assert ("did not end within 0 s" in done.stderr) == (status == FAULT)


@pytest.mark.slow
@pytest.mark.parametrize(("again", "status"), [(True, 0), (False, FAULT)], ids=["renewed", "not renewed"])
def test_each_step_of_the_start_has_the_whole_time(again, status):
    """Three steps of 1.5 s each, with a limit of 4 s."""
    done = subprocess.run([sys.executable, "-c", f"""
import time
from collbench.collectives.watchdog.ending import StartGuard
guard = StartGuard(4.0, 2)
for _ in range(3):
    time.sleep(1.5)
    if {again}:
        guard.renew()
guard.disarm()
"""], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == status, done.stderr
    assert ("rank 2 (pid" in done.stderr and "did not start within 4 s" in done.stderr) == (status == FAULT)
