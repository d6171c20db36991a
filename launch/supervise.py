"""The only module that starts jobs: time limit, signals, faults, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from collbench.collectives.errors import FaultError
from collbench.collectives.ranks.host_limits import why_too_little_shared
from collbench.collectives.ranks.processes import STATUS_FILE, living_members
from collbench.collectives.records.journal import unseal
from collbench.collectives.records.record import FAULT_NOTE, Record, Run

from .job import Job
from .job_tmpdir import scratch
from .launchers.base import Launcher

__all__ = ["FAULT", "STOPPED", "TIMED_OUT", "run_job", "run_through_faults"]

FAULT = FaultError.exit_status      # the case that the rank was in is in the journal
TIMED_OUT = 124
STOPPED = 128 + signal.SIGTERM      # told to, by either signal; everything measured is saved
_GRACE_S = 10.0
_MOST_RESTARTS = 100
_CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)     # as a launcher passes them on
# MPICH's gives the bare number; those of all ranks in one, bit by bit, and it kills the ranks that are left.
_BARE_CRASHES = {*_CRASHES, *(number | signal.SIGKILL for number in _CRASHES)}


def run_job(launcher: Launcher, job: Job) -> int:
    """Start `job`, wait for it, return its exit status; TIMED_OUT when the time limit ended it.

    On SIGINT or SIGTERM the ranks are asked to stop in order; told again, the job is ended. Its whole process group is
    gone when this returns.
    """
    if job.nodes == 1 and "mpi" in job.transports and (reason := why_too_little_shared(job.ranks)):
        print(f"collbench: warning: {reason}", file=sys.stderr, flush=True)
    with scratch(one_host=job.nodes == 1) as own:
        said = Path(own["TMPDIR"]) / "status" if launcher.hides_status and "TMPDIR" in own else None
        own |= {STATUS_FILE: str(said)} if said else {}
        status = _run(launcher, job, {**os.environ, "PYTHONSAFEPATH": "1", **own})
        return (_said(said) or status) if status == 1 else status


def _run(launcher: Launcher, job: Job, environment: dict[str, str]) -> int:
    """Our exit status of the job; signals are passed on meanwhile, and its process group is gone afterwards."""
    journal = _journal(job)
    begin = _size(journal)
    process = subprocess.Popen(launcher.command(job), start_new_session=True, stdin=subprocess.DEVNULL,
                               env=environment)

    def pass_on(number: int, frame: FrameType | None) -> None:
        if told:
            _signal(process, signal.SIGTERM)
        else:
            process.send_signal(launcher.stop_signal)
        told.append(number)
    told: list[int] = []
    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait(job.time_limit_s)
    except subprocess.TimeoutExpired:
        print(f"collbench: the job did not end within {job.time_limit_s:.0f} s; ending it", file=sys.stderr)
        _end(process)
        return TIMED_OUT
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end_group(process)
    if told and launcher.hides_status:
        return STOPPED
    status = 128 - status if status < 0 else status
    if not told and (status - 128 in _CRASHES or status in _BARE_CRASHES):
        return FAULT
    return FAULT if status not in (0, 2, FAULT, STOPPED) and _faulted(journal, begin) else status


def run_through_faults(launcher: Launcher, job: Job) -> int:
    """As `run_job`, but when a fault ended the job, start the ranks again for the cases that are left.

    A case that hung or failed is not tried again. Returns FAULT in the end when there was any. Gives up when a start
    left nothing new in the journal.
    """
    journal, begin = _journal(job), _size(_journal(job))
    status = run_job(launcher, job)
    faults, seen = 0, begin
    while status == FAULT and faults < _MOST_RESTARTS and _faulted(journal, seen):
        seen, faults = _size(journal), faults + 1
        runs = ",".join(dict.fromkeys(line.id for line in _lines(journal, begin) if isinstance(line, Run)))
        print(f"collbench: starting the ranks again for the cases that are left ({faults} given up)", file=sys.stderr,
              flush=True)
        status = run_job(launcher, msgspec.structs.replace(job, arguments=(*job.arguments, "--settled", runs)))
    return FAULT if faults and status == 0 else status


def _said(path: Path | None) -> int | None:
    """The status that the first rank to go left behind."""
    try:
        return int(path.read_text()) if path else None
    except (OSError, ValueError):
        return None


def _journal(job: Job) -> Path | None:
    """Where the ranks of `job` write; None where it cannot be told."""
    words = job.words()
    at = max((index for index, word in enumerate(words[:-1]) if word == "--out"), default=None)
    return None if at is None else Path(words[at + 1]) / "journal.jsonl"


def _size(journal: Path | None) -> int:
    try:
        return journal.stat().st_size if journal else 0
    except OSError:
        return 0


def _lines(journal: Path | None, begin: int) -> list[Run | Record]:
    """What was added to a journal after its first `begin` bytes."""
    if journal is None or _size(journal) <= begin:
        return []
    lines = []
    with journal.open("rb") as file:
        file.seek(begin)
        for raw in file:
            with suppress(ValueError):      # a line that was cut is no word on anything
                lines.append(unseal(raw))
    return lines


def _faulted(journal: Path | None, begin: int) -> bool:
    """Whether the last line that a job added is of a case in which a rank hung, died or failed."""
    added = _lines(journal, begin)
    return bool(added) and isinstance(added[-1], Record) and FAULT_NOTE in added[-1].notes


def _end(process: subprocess.Popen) -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _end_group(process: subprocess.Popen) -> None:
    """Kill what is left of the job, and wait until it is gone: a killed process takes a moment to end."""
    _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + _GRACE_S
    while living_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(process: subprocess.Popen, number: int) -> None:
    """To every process of the job; one that is gone already needs nothing."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
