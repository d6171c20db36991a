"""Several jobs at once, one per pair of nodes, each with its own output and time limit; nothing is left behind.

`supervise` runs one job in the foreground of a terminal. Here nobody watches a single job: what a launcher says goes to
a file, and a job that fails is a result.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from collbench.collectives.errors import CollbenchError, write_error

from ..job import Job
from ..launchers.base import Launcher

__all__ = ["OUTPUT_FILE", "TIMED_OUT", "Ended", "last_lines", "run_side_by_side"]

OUTPUT_FILE = "output.log"
TIMED_OUT = 124
_LOOK_S = 0.1
_GRACE_S = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(NamedTuple):
    """A job after its end.

    Args:
        status: of its launcher; None if that could not be started, and `why` says the reason.
        stopped: a signal to this process may have ended it.
    """

    job: Job
    status: int | None
    wall_s: float
    why: str = ""
    stopped: bool = False


class _Running(NamedTuple):
    job: Job
    process: subprocess.Popen[bytes]
    begin: float


def run_side_by_side(launcher: Launcher, jobs: Sequence[Job], on_end: Callable[[Ended], None],
                     variables: Mapping[str, str]) -> int:
    """Start all jobs, wait until all have ended, and call `on_end` for each as soon as it has.

    The first signal lets all ranks stop after their case, the second ends the jobs.

    Args:
        variables: of the environment of the launchers, in addition to those of this process.

    Returns:
        The number of the signal that stopped the jobs, or 0.
    """
    running: list[_Running] = []
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if not received:
            write_error("\ncollbench: stopping after the current cases; once more ends them at once")
        received.append(number)
    previous = {number: signal.signal(number, forward) for number in _SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN}      # as under nohup
    try:
        for job in jobs:
            started = _start(launcher, job, variables)
            if isinstance(started, Ended):
                on_end(started)
            else:
                running.append(started)
        told = 0
        while running:
            if len(received) > told:
                number = launcher.stop_signal if told == 0 else signal.SIGKILL
                for one in running:
                    _signal(one, number, group=told > 0)
                told = len(received)
            running = [one for one in running if not _ended(one, on_end, bool(received))]
            time.sleep(_LOOK_S)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for one in running:     # an error: a full disk, for instance
            _end(one)
    return received[0] if received else 0


def _start(launcher: Launcher, job: Job, variables: Mapping[str, str]) -> _Running | Ended:
    try:
        command = launcher.command(job)
        job.out.mkdir(parents=True, exist_ok=True)
        with (job.out / OUTPUT_FILE).open("wb") as output:
            process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, env={**os.environ, **job.variables, **variables})
    except CollbenchError as error:
        return Ended(job, None, 0.0, str(error))
    except OSError as error:
        return Ended(job, None, 0.0, f"{error.filename or job.out}: {error.strerror}")
    return _Running(job, process, time.monotonic())


def _ended(one: _Running, on_end: Callable[[Ended], None], stopped: bool) -> bool:
    """Whether a job has ended; one beyond its time limit is ended."""
    status = one.process.poll()
    wall_s = time.monotonic() - one.begin
    if status is None:
        if one.job.time_limit_s is None or wall_s < one.job.time_limit_s:
            return False
        _end(one)
        status = TIMED_OUT
    _signal(one, signal.SIGKILL, group=True)        # what the launcher has left
    on_end(Ended(one.job, 128 - status if status < 0 else status, wall_s, stopped=stopped))
    return True


def _end(one: _Running) -> None:
    """Let the launcher end its ranks on other hosts; kill it if it does not."""
    _signal(one, signal.SIGTERM, group=True)
    with suppress(subprocess.TimeoutExpired):
        one.process.wait(_GRACE_S)
    _signal(one, signal.SIGKILL, group=True)
    one.process.wait()


def _signal(one: _Running, number: int, group: bool = False) -> None:
    with suppress(ProcessLookupError):
        if group:
            os.killpg(one.process.pid, number)
        else:
            one.process.send_signal(number)


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last lines of a text file that are not empty; none if it cannot be read."""
    with suppress(OSError):
        lines = path.read_bytes().decode("utf-8", "replace").splitlines()
        return tuple([line for line in lines if line.strip()][-count:])
    return ()
