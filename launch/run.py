"""The only module that starts jobs: time limit, signals, and nothing left behind."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

from .job import Job
from .launchers import Launcher

__all__ = ["STOPPED", "TIMED_OUT", "run_job"]

TIMED_OUT = 124
STOPPED = 128 + signal.SIGTERM      # told to, by either signal; everything measured is saved
_GRACE_S = 10.0


def run_job(launcher: Launcher, job: Job) -> int:
    """Start `job`, wait for it, return its exit status; TIMED_OUT when the time limit ended it.

    On SIGINT or SIGTERM the ranks are asked to stop in order; told again, the job is ended. Its whole process group is
    gone when this returns.
    """
    process = subprocess.Popen(launcher.command(job), start_new_session=True, stdin=subprocess.DEVNULL,
                               env={**os.environ, "PYTHONSAFEPATH": "1"})

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
        _signal(process, signal.SIGKILL)
    return 128 - status if status < 0 else status


def _end(process: subprocess.Popen) -> None:
    _signal(process, signal.SIGTERM)
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen, number: int) -> None:
    """To every process of the job; one that is gone already needs nothing."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
