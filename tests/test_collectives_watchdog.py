"""Ranks that hang, die, crash or fail, at every phase and over every launcher: the job ends and says why.

Faults are put in from outside: a `sitecustomize` on PYTHONPATH wraps one function of the rank program on rank 1 (or 0),
and does there what a broken machine would do.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from collectives.records import read_journal
from collectives.watchdog import FAULT, _write
from collectives.whereabouts import not_there

LIMIT_S = 4
MEETING_S = 10
HOOK = '''
import os, signal, sys, time
if any("collectives" in word for word in sys.orig_argv):
    from collectives import measure, sweep, timing, transports
    kind, phase, victim, after = os.environ["TEST_FAULT"].split()
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
    def before(function):
        def wrapped(*arguments, **named):
            act()
            return function(*arguments, **named)
        return wrapped
    if phase == "verify":
        measure._trial = before(measure._trial)
    elif phase == "warm-up":
        timing._warm_up = before(timing._warm_up)
    elif phase == "timed":
        sampled, first = timing.time_samples, before(timing.time_samples)
        def time_samples(inspector, *others):
            return (sampled if inspector.case.op == "noop" else first)(inspector, *others)
        timing.time_samples = time_samples
    elif phase == "gather":
        sweep._ENCODE = before(sweep._ENCODE)
    elif phase == "rendezvous":
        transports.open_transport = before(transports.open_transport)
    elif phase == "finalize":
        opened = transports.open_transport
        def open_transport(*arguments):
            transport = opened(*arguments)
            transport.close = before(transport.close)
            return transport
        transports.open_transport = open_transport
'''
LAUNCH = {"local": ("run", "--transport", "torch", "--ranks", 3),
          "mpirun": ("run", "--transport", "mpi", "--ranks", 3),
          "torchrun": ("launch", "--launcher", "torchrun", "--transport", "torch", "--ranks-per-node", 3)}
SWEEP = ("--ops", "all_reduce", "--sizes", "64,1K,16K", "--group-ranks", 3, "--in-order", "--place", "out",
         "--case-seconds", 0.02, "--min-samples", 2)


@pytest.fixture
def spoilt(collbench, tmp_path, temporary):
    """Run a job with a fault in it; the finished process and its journal."""
    def run(launcher, kind, phase, victim=1, after=0, *more):
        (tmp_path / "hook").mkdir()
        (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
        done = collbench(*LAUNCH[launcher], *SWEEP, "--place", "in" if launcher != "mpirun" else "out", *more,
                         "--case-limit", LIMIT_S, "--rendezvous-seconds", MEETING_S, "--out", tmp_path / "r",
                         PYTHONPATH=str(tmp_path / "hook"), TEST_FAULT=f"{kind} {phase} {victim} {after}",
                         TEST_FAULT_AT=str(tmp_path / "at"), TMPDIR=str(temporary))
        took_s = time.monotonic() - float((tmp_path / "at").read_text())
        assert took_s < (MEETING_S if phase == "rendezvous" else LIMIT_S) + 10, done.stderr
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


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize(("launcher", "kind", "phase", "after"), [
    ("local", "STOP", "timed", 2), ("local", "KILL", "gather", 2), ("local", "segfault", "verify", 2),
    ("local", "exception", "warm-up", 2), ("local", "hang", "verify", 1),
    ("torchrun", "STOP", "gather", 1), ("torchrun", "KILL", "timed", 2),
    ("mpirun", "STOP", "warm-up", 2), ("mpirun", "KILL", "verify", 1), ("mpirun", "exception", "timed", 2),
    ("mpirun", "hang", "gather", 1)])
def test_a_fault_on_one_rank_ends_the_job_and_names_it(spoilt, launcher, kind, phase, after):
    done, journal = spoilt(launcher, kind, phase, 1, after)
    assert done.returncode == FAULT, done.stderr
    _, records, warnings = read_journal(journal)
    assert warnings == []
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


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize(("launcher", "kind", "phase", "after"), [
    ("local", "STOP", "timed", 2), ("local", "KILL", "verify", 1), ("mpirun", "KILL", "timed", 2)])
def test_rank_0_itself_may_be_the_one(spoilt, launcher, kind, phase, after):
    done, journal = spoilt(launcher, kind, phase, 0, after)
    assert done.returncode == FAULT, done.stderr
    _, records, warnings = read_journal(journal)
    assert warnings == []
    assert records[-1].status == ("timeout" if kind == "STOP" else "failed")
    assert "rank 0" in records[-1].reason
    assert any(record.status == "ok" for record in records)


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize(("launcher", "kind", "phase"), [
    ("local", "KILL", "rendezvous"), ("mpirun", "KILL", "rendezvous"), ("local", "STOP", "finalize"),
    ("mpirun", "KILL", "finalize"), ("local", "STOP", "rendezvous")])
def test_outside_the_cases_it_ends_too(spoilt, launcher, kind, phase):
    done, journal = spoilt(launcher, kind, phase)
    assert done.returncode not in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    if phase == "finalize":
        assert done.returncode == FAULT
        _, records, warnings = read_journal(journal)
        assert warnings == []
        assert {record.status for record in records} <= {"ok", "unsupported"}
        assert sum(record.status == "ok" for record in records) == 4
    else:
        assert not journal.exists()


@pytest.mark.ranks
@pytest.mark.needs("torch", "mpi")
@pytest.mark.parametrize("launcher", ["local", "torchrun"])
def test_told_to_it_goes_on_with_the_next_case(spoilt, launcher):
    """Each start of rank 1 stops in its second case: one case is given up per start, none twice, none is missed."""
    done, journal = spoilt(launcher, "STOP", "verify", 1, 2, "--on-fault", "continue")
    runs, records, warnings = read_journal(journal)
    assert warnings == []
    assert done.returncode == FAULT, done.stderr
    assert "starting the ranks again" in done.stderr
    asked = [record.case for record in records]
    assert len(asked) == len(set(asked)) == 4
    assert [record.status for record in records].count("timeout") == 1
    assert len(runs) == 2


def test_who_is_not_where_the_others_are_is_missing():
    here = {"number": 3, "where": "timed", "calls": "all_reduce", "stack": "all_reduce (distributed_c10d.py:1)"}
    assert not_there({0: here, 1: here, 2: here}, range(3)) == set()
    assert not_there({0: here, 1: here, 2: {**here, "number": 2}}, range(3)) == {2}
    assert not_there({0: here, 1: {**here, "calls": "sleep", "stack": "sleep (x.py:1)"}}, range(2)) == {1}
    assert not_there({0: here, 1: here, 2: {**here, "where": "waiting"}}, range(2)) == set()


def test_what_a_peer_says_cannot_move_the_terminals_cursor(capfd):
    _write("a\x1b[2Jb\x07\nc")
    assert capfd.readouterr().err == "a\\x1b[2Jb\\x07\nc\n"
