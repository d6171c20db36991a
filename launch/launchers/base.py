"""The protocol that every launcher follows."""

import shlex
import signal
from typing import Protocol

from ..job import Job

__all__ = ["Launcher", "as_text"]


class Launcher(Protocol):
    """Pure functions from a job to a command, or to a script.

    Attributes:
        name: value of `--launcher`.
        stop_signal: the started process passes it on to every rank, and ranks then stop in order.
        hides_status: it ends with a status of its own, whatever that of the ranks was.
        only_here: it starts ranks on this host and nowhere else, so that they can read files of this host.
        whole_lines: it passes on the output of ranks line by line, so that a progress bar would not show.
        containers: it can start ranks in a container.
    """

    name: str
    stop_signal: signal.Signals
    hides_status: bool
    only_here: bool
    whole_lines: bool
    containers: bool

    @property
    def script_name(self) -> str | None:
        """For a batch system, the file in the results' directory that `command` submits, once it has been written.

        None for a launcher that starts the ranks itself.
        """

    def command(self, job: Job) -> list[str]:
        """The program and its arguments. UsageError if this launcher cannot start such a job."""

    def script(self, job: Job) -> str:
        """What a person can paste or submit: the command as a line for a shell, or a complete script."""


def as_text(command: list[str]) -> str:
    """One line for a shell, with what `run_job` adds to the environment."""
    return f"PYTHONSAFEPATH=1 {shlex.join(command)}\n"
