"""The only module that starts jobs: time limit, signals, faults, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, MappingProxyType

import msgspec

from collbench.collectives.errors import FaultError, UsageError
from collbench.collectives.ranks.host_limits import why_too_little_shared
from collbench.collectives.ranks.processes import STATUS_FILE, living_members
from collbench.collectives.records.journal import Line, unseal
from collbench.collectives.records.record import FAULT_NOTE, Record, Run

from .job import Job
from .job_tmpdir import job_tmpdir
from .launchers.base import Launcher

__all__ = ["FAULT", "STOPPED", "TIMED_OUT", "run_job", "run_through_faults", "submit"]

FAULT = FaultError.exit_status      # the case that failed is in the journal
TIMED_OUT = 124
STOPPED = 128 + signal.SIGTERM      # stopped by either signal, with everything measured saved
_GRACE_S = 10.0
_MOST_RESTARTS = 100
_CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)     # as a launcher passes them on
# Hydra returns the bare signal numbers of all ranks combined by OR, and kills the remaining ranks.
_BARE_CRASHES = {*_CRASHES, *(number | signal.SIGKILL for number in _CRASHES)}


def run_job(launcher: Launcher, job: Job, variables: Mapping[str, str] = MappingProxyType({})) -> int:
    """Start the ranks, wait for them, and return the exit status; TIMED_OUT if the time limit ended them.

    `variables` are added to the environment of the launcher, which passes them on at least to ranks on this host.

    The first SIGINT or SIGTERM asks the ranks to stop after the current case, the second ends the job. Its whole
    process group is gone when this returns.
    """
    if job.nodes == 1 and job.needs_mpi and (reason := why_too_little_shared(job.ranks)):
        print(f"collbench: warning: {reason}", file=sys.stderr, flush=True)
    with job_tmpdir(one_host=job.nodes == 1) as own:
        status_file = Path(own["TMPDIR"]) / "status" if launcher.hides_status and "TMPDIR" in own else None
        own |= {STATUS_FILE: str(status_file)} if status_file else {}
        if launcher.only_here and "TMPDIR" in own:
            job = msgspec.structs.replace(job, config_file=Path(own["TMPDIR"]) / "config.json")
            job.rank_config.write(Path(own["TMPDIR"]) / "config.json")
        status = _run(launcher, job, {**os.environ, **variables, "PYTHONSAFEPATH": "1", **own})
        return (_recorded_status(status_file) or status) if status == 1 else status


def _run(launcher: Launcher, job: Job, environment: dict[str, str]) -> int:
    """The exit status of the job; forwards signals meanwhile, and ends its process group afterwards."""
    begin = _size(job.config.journal)
    process = subprocess.Popen(launcher.command(job), start_new_session=True, stdin=subprocess.DEVNULL,
                               env=environment)

    def forward(number: int, frame: FrameType | None) -> None:
        if received:
            _signal(process, signal.SIGTERM)
        else:
            process.send_signal(launcher.stop_signal)
        received.append(number)
    received: list[int] = []
    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait(job.time_limit_s)
    except subprocess.TimeoutExpired:
        print(f"collbench: the job did not finish within {job.time_limit_s:.0f} s; ending it", file=sys.stderr)
        _end(process)
        return TIMED_OUT
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end_group(process)
    if received and launcher.hides_status:
        return STOPPED
    status = 128 - status if status < 0 else status
    if not received and (status - 128 in _CRASHES or status in _BARE_CRASHES):
        return FAULT
    return FAULT if status not in (0, 2, FAULT, STOPPED) and _faulted(job.config.journal, begin) else status


def run_through_faults(launcher: Launcher, job: Job) -> int:
    """As `run_job`, but if a fault ended the job, restart the ranks for the remaining cases.

    A case that hung or failed is not repeated. Returns FAULT in the end if there was any. Gives up when a start added
    nothing to the journal.
    """
    journal = job.config.journal
    begin = _size(journal)
    status = run_job(launcher, job)
    faults, seen = 0, begin
    while status == FAULT and faults < _MOST_RESTARTS and _faulted(journal, seen):
        seen, faults = _size(journal), faults + 1
        runs = tuple(dict.fromkeys(line.id for line in _lines(journal, begin) if isinstance(line, Run)))
        print(f"collbench: restarting the ranks for the remaining cases ({faults} given up)", file=sys.stderr,
              flush=True)
        config = msgspec.structs.replace(job.config, settled=runs)
        status = run_job(launcher, msgspec.structs.replace(job, config=config))
    return FAULT if faults and status == 0 else status


def submit(launcher: Launcher, job: Job) -> int:
    """Write the script of `job` into the directory of its results and submit it; the status of the submission.

    UsageError if the batch system is not on this machine or the script cannot be written.
    """
    command = launcher.command(job)
    if shutil.which(command[0]) is None:
        raise UsageError(f"no {command[0]} on the PATH: jobs cannot be submitted from this machine")
    path = job.out / str(launcher.script_name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(launcher.script(job))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def _recorded_status(path: Path | None) -> int | None:
    """The status that the first rank to exit recorded."""
    try:
        return int(path.read_text()) if path else None
    except (OSError, ValueError):
        return None


def _size(journal: Path) -> int:
    try:
        return journal.stat().st_size
    except OSError:
        return 0


def _lines(journal: Path, begin: int) -> list[Line]:
    """What was added to a journal after its first `begin` bytes."""
    if _size(journal) <= begin:
        return []
    lines = []
    with journal.open("rb") as file:
        file.seek(begin)
        for raw in file:
            with suppress(ValueError):      # a truncated line
                lines.append(unseal(raw))
    return lines


def _faulted(journal: Path, begin: int) -> bool:
    """Whether the last line that a job added is of a case in which a rank hung, died or failed."""
    added = _lines(journal, begin)
    return bool(added) and isinstance(added[-1], Record) and FAULT_NOTE in added[-1].notes


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the job and wait until it is gone: a killed process takes a moment to end."""
    _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + _GRACE_S
    while living_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To every process of the job; one that has ended is fine."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
