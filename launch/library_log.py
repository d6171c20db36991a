"""A short start of the ranks with the communication library's own log, before the job that is measured.

A library reads its log settings once in a process, and a log slows it: so the log is that of another start, of which
nothing is timed. The data path (transports, channels, algorithms) then becomes part of the record.
"""

import shutil
from pathlib import Path

import msgspec

from collbench.collectives import library_log
from collbench.collectives.errors import CollbenchError, UsageError, write_error

from .job import Job
from .job import may_log as has_log
from .launchers.base import Launcher
from .supervise import run_job, was_stopped

__all__ = ["DIRECTORY", "has_log", "log_library"]

DIRECTORY = "library-log"       # beside the journal
_NOT_RECORDED = "the data path is not recorded"
_LIMIT_S = 180.0        # a case has 120 s, since communicators alone may take a minute


def log_library(launcher: Launcher, job: Job) -> tuple[int, Path | None]:
    """Start the ranks of `job` for the log; returns the status if a signal stopped that, else 0, and where the log is.

    Says in one line what the log tells, or why there is none. A start that fails stops nothing. A single rank has
    nobody to talk to, and is not started.
    """
    if job.ranks < 2:
        return 0, None
    directory = job.out / DIRECTORY
    config = msgspec.structs.replace(job.config, library_log_to=directory)
    shutil.rmtree(directory, ignore_errors=True)        # of an earlier start, perhaps on other hosts
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _say(f"warning: {directory}: {error.strerror}: {_NOT_RECORDED}")
        return 0, None
    variables = library_log.environment(directory)
    try:
        status = run_job(launcher, msgspec.structs.replace(job, config=config, time_limit_s=_LIMIT_S), variables)
    except CollbenchError as error:
        _say(f"warning: the start with the communication library's log failed: {error}: {_NOT_RECORDED}")
        return 0, None
    if was_stopped(status):
        return status, None
    facts = library_log.read(directory)
    if facts is not None:
        _say(facts.words())
        return 0, directory
    if status == UsageError.exit_status:
        return 0, None      # the job that is measured will say why
    if status:
        _say(f"warning: the start with the communication library's log ended with status {status}: {_NOT_RECORDED}; "
             f"its output is in {directory}")
    else:
        _say(f"note: {_why_silent(variables)}: {_NOT_RECORDED}")
    return 0, None


def _why_silent(variables: dict[str, str]) -> str:
    """Variables that the user set are kept, even where the log is lost by them."""
    kept = sorted(set(library_log.environment(Path(), {})) - set(variables))
    set_by_user = f" ({', '.join(kept)}, as set in the environment)" if kept else ""
    return f"the communication library wrote no log that collbench can read{set_by_user}"


def _say(text: str) -> None:
    write_error(f"collbench: {text}")
