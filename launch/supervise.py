"""Starts a job in the foreground: time limit, signals, faults, and nothing left behind."""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType, MappingProxyType

import msgspec

from collbench.collectives.errors import FaultError, UsageError, write_error
from collbench.collectives.ranks.host_limits import why_too_little_shared
from collbench.collectives.ranks.processes import STATUS_FILE, job_members, kill, why_stopped
from collbench.collectives.records.journal import Line, unseal
from collbench.collectives.records.record import FAULT_NOTE, Record, Run

from .job import Job
from .job_tmpdir import job_tmpdir
from .kept_journal import KeptJournal
from .launchers.base import Launcher
from .relay import relayed_output

__all__ = ["FAULT", "TIMED_OUT", "run_job", "run_through_faults", "submit", "was_stopped"]

FAULT = FaultError.exit_status      # the case that failed is in the journal
TIMED_OUT = 124
_STOPPED = 128 + signal.SIGTERM     # of the ranks, whichever signal it was; everything measured is saved
_INTERRUPTED = 128 + signal.SIGINT  # Ctrl-C, as shells expect it
_GRACE_S = 10.0
_REAP_S = 1.0
_LOOK_S = 1.0
_QUIET_S = 15.0         # beyond the limit of a case, in which the watchdog of the ranks ends a job that does not move
_MOST_STEPS = 3         # each of start-up, a case or the end may take its whole limit; if all do, the watchdog is lost
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
_MOST_RESTARTS = 100
_SHOWN = 4
_ALONE = "has not ended, though all its ranks have"
_RANK_PROGRAMS = (b"collbench.rank", b"collbench.collectives.program.fork")
_CRASHES = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)     # as a launcher passes them on
# Hydra returns the bare signal numbers of all ranks combined by OR, and kills the remaining ranks.
_BARE_CRASHES = {*_CRASHES, *(number | signal.SIGKILL for number in _CRASHES)}


def run_job(launcher: Launcher, job: Job, variables: Mapping[str, str] = MappingProxyType({})) -> int:
    """Start the ranks, wait for them, and return the exit status; TIMED_OUT if the time limit ended them.

    If a signal stopped it (see `was_stopped`), the status is 130 for SIGINT, else 143.

    `variables`, and those of the job, are added to the environment of the launcher, which passes them on at least to
    ranks on this host.

    The first SIGINT, SIGTERM, SIGHUP or SIGQUIT asks the ranks to stop after the current case, the second ends the job.
    A job on this host that stands still, because launcher or ranks are stopped, is ended with status FAULT. All its
    processes are gone when this returns.
    """
    if job.nodes == 1 and job.needs_mpi and (reason := why_too_little_shared(job.ranks)):
        _say(f"warning: {reason}")
    with job_tmpdir(one_host=job.nodes == 1) as own:
        status_file = Path(own["TMPDIR"]) / "status" if "TMPDIR" in own else None
        own |= {STATUS_FILE: str(status_file)} if status_file else {}
        if sys.stdout.isatty():     # ranks cannot tell how wide the terminal is that their launcher prints to
            own["COLUMNS"] = str(shutil.get_terminal_size().columns)
            if job.config.display == "live" and launcher.whole_lines:
                job = msgspec.structs.replace(job, config=msgspec.structs.replace(job.config, display="lines"))
        if launcher.only_here and "TMPDIR" in own:
            job = msgspec.structs.replace(job, config_file=Path(own["TMPDIR"]) / "config.json")
            job.rank_config.write(Path(own["TMPDIR"]) / "config.json")
        with relayed_output() as output:
            status = _run(launcher, job, {**job.variables, **variables, "PYTHONSAFEPATH": "1", **own}, output)
        return (_recorded_status(status_file) or status) if status == 1 and launcher.hides_status else status


def was_stopped(status: int) -> bool:
    """Whether an exit status says that a signal stopped the job, with everything measured saved."""
    return status in (_STOPPED, _INTERRUPTED)


def _run(launcher: Launcher, job: Job, own: dict[str, str], output: int | None) -> int:
    """The exit status of the job; forwards signals meanwhile, and ends what is left of it afterwards.

    `own` are variables that it has in addition to those of this process.
    """
    environment = {**os.environ, **own}
    journal = KeptJournal(job.config.journal)
    begin = journal.look()
    process = subprocess.Popen(launcher.command(job), start_new_session=True, stdin=subprocess.DEVNULL,
                               stdout=output, env=environment)
    mark = f"TMPDIR={environment['TMPDIR']}" if job.nodes == 1 and "TMPDIR" in own else ""

    def forward(number: int, frame: FrameType | None) -> None:
        if received:
            _signal(process, signal.SIGTERM)
        else:
            write_error("\ncollbench: stopping after this case; once more ends it at once")
            process.send_signal(launcher.stop_signal)
        received.append(number)
    received: list[int] = []
    previous = {number: signal.signal(number, forward) for number in _SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN}      # as under nohup
    try:
        status = _wait(process, job, journal, mark)
    except subprocess.TimeoutExpired:
        _say(f"the job did not finish within {job.time_limit_s:.0f} s; ending it")
        _end(process)
        return TIMED_OUT
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _end_group(process, mark)
        journal.end()
    if status is None:
        return FAULT
    if status < 0 and not received:
        _say(f"the launcher (pid {process.pid}) died of {signal.Signals(-status).name}: the job ends; "
             f"{_whereabouts(job.config.journal)}")
        return FAULT
    # A rank that is not ready for the signal yet dies of it, and the launcher returns that as its status.
    stopped = (_STOPPED, 128 + launcher.stop_signal, *(-number for number in (*_SIGNALS, launcher.stop_signal)))
    if received and (status in stopped or launcher.hides_status):
        return _INTERRUPTED if received[0] == signal.SIGINT else _STOPPED
    status = 128 - status if status < 0 else status
    if status and not received and STATUS_FILE in own and not Path(own[STATUS_FILE]).exists():
        _say(f"the launcher ended with status {status}, and no rank has said why; {_whereabouts(job.config.journal)}")
    if not received and (status - 128 in _CRASHES or status in _BARE_CRASHES):
        return FAULT
    return FAULT if status not in (0, 2, FAULT, _STOPPED) and _faulted(job.config.journal, begin) else status


def _wait(process: subprocess.Popen[bytes], job: Job, journal: KeptJournal, mark: str) -> int | None:
    """The exit status of the launcher; None if the job stands still, which has been said.

    Ranks watch each other, but none of them runs if all are stopped, and nobody watches their launcher. TimeoutExpired
    at the job's time limit.
    """
    begin = looked = time.monotonic()
    quiet_s, size, seen, had_ranks = 0.0, -1, 0, False
    while (status := _wait_for(process, _LOOK_S)) is None:
        now = time.monotonic()
        if job.time_limit_s is not None and now - begin > job.time_limit_s:
            raise subprocess.TimeoutExpired(process.args, job.time_limit_s)
        # This process may have been stopped as well: only time in which it ran counts.
        quiet_s, looked = quiet_s + min(now - looked, 2 * _LOOK_S), now
        if (found := journal.look()) != size:
            quiet_s, size = 0.0, found
        limit_s = job.config.limit_s
        had_ranks = had_ranks or bool(mark and _has_ranks(process, job_members(process.pid, mark)))
        why = _why_it_stands_still(process, mark, had_ranks) if mark and quiet_s > _QUIET_S else None
        if why is None and mark and quiet_s > _QUIET_S + _MOST_STEPS * (limit_s + job.config.meeting_s):
            why = "no case has ended, and the ranks have not ended the job themselves"
        seen = seen + 1 if why else 0
        if why and seen > 2 and (quiet_s > limit_s + _QUIET_S or _ALONE in why):
            _say(f"nothing has happened for {quiet_s:.0f} s: {why}: the job ends; {_whereabouts(job.config.journal)}")
            return None
    return status


def _wait_for(process: subprocess.Popen[bytes], wait_s: float) -> int | None:
    """The exit status if the process ends in this time; sleeps until then."""
    try:
        file = os.pidfd_open(process.pid)
    except (AttributeError, OSError):       # not on Linux, or the process has been reaped
        with suppress(subprocess.TimeoutExpired):
            return process.wait(wait_s)
        return None
    try:
        select.select([file], [], [], wait_s)
    finally:
        os.close(file)
    return process.poll()


def _why_it_stands_still(process: subprocess.Popen[bytes], mark: str, had_ranks: bool) -> str | None:
    """Which processes of the job are stopped, or that the launcher has outlived its ranks; None if neither.

    A launcher that has not had ranks yet is importing their library, which may take minutes from a shared disk.
    """
    members = job_members(process.pid, mark)
    stopped = {pid: why for pid in members if (why := why_stopped(pid))}
    if had_ranks and process.pid in members and not _has_ranks(process, members):
        why = f", {stopped[process.pid]}," if process.pid in stopped else ""
        return f"the launcher (pid {process.pid}){why} {_ALONE}"
    words = [f"{'the launcher, ' if pid == process.pid else ''}pid {pid} is {why}" for pid, why in stopped.items()]
    return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "") or None


def _has_ranks(process: subprocess.Popen[bytes], members: Iterable[int]) -> bool:
    """Whether a rank is among the processes of a job; the program of a launcher may have the name of the ranks'."""
    for pid in members:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if pid != process.pid and any(name in command for name in _RANK_PROGRAMS):
                return True
    return False


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
        _say(f"restarting the ranks for the remaining cases ({faults} given up)")
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


def _whereabouts(journal: Path) -> str:
    return f"everything measured is in {journal}" if journal.exists() else "nothing was measured"


def _say(text: str) -> None:
    write_error(f"collbench: {text}")


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
    """Let ranks end in order, if they can; `_end_group` kills those that cannot."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)


def _end_group(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill what is left of the job and wait until it is gone: a killed process takes a moment to end."""
    _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + _GRACE_S
    while (left := job_members(process.pid, mark)) and time.monotonic() < deadline:
        kill(left)
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):       # one that a debugger holds
        process.wait(_REAP_S)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To every process of the job; one that has ended is fine."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
