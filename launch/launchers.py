"""Which launcher starts which transport."""

import signal
from typing import Protocol

from .job import Job

__all__ = ["Launcher", "launcher_for"]


class Launcher(Protocol):
    """Knows how ranks are started; a pure function from a job to a command.

    `stop_signal`, sent to the started process, reaches every rank and leaves them to end in order.
    """

    name: str
    stop_signal: signal.Signals

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""


def launcher_for(transport: str) -> Launcher:
    """The launcher that needs nothing but this host."""
    if transport == "mpi":
        from .mpirun import find_mpirun
        return find_mpirun()
    from .local import Local
    return Local()
