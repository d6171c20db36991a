"""Which launcher starts which transport."""

from typing import Protocol

from .job import Job

__all__ = ["Launcher", "launcher_for"]


class Launcher(Protocol):
    """Knows how ranks are started; a pure function from a job to a command."""

    name: str

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""


def launcher_for(transport: str) -> Launcher:
    """The launcher that needs nothing but this host."""
    if transport == "mpi":
        from .mpirun import find_mpirun
        return find_mpirun()
    from .local import Local
    return Local()
