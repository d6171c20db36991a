"""The launchers, and which one starts which transport here."""

import shlex
import signal
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol

from ..job import Job

__all__ = ["LAUNCHERS", "Launcher", "as_text", "launcher_for", "open_launcher"]

# Name -> module of this folder and what makes the launcher there. UsageError when it is not on this machine.
LAUNCHERS: Mapping[str, tuple[str, str]] = {
    "local": ("local", "Local"),
    "torchrun": ("torchrun", "Torchrun"),
    "mpirun": ("mpirun", "find_mpirun"),
    "slurm": ("slurm", "find_slurm"),
    "srun": ("srun", "find_srun"),
}


class Launcher(Protocol):
    """Knows how ranks are started; pure functions from a job to a command, or to a script.

    `stop_signal`, sent to the started process, reaches every rank and leaves them to end in order. A launcher that
    `hides_status` ends with a status of its own then, whatever that of the ranks was.
    """

    name: str
    stop_signal: signal.Signals
    hides_status: bool

    def command(self, job: Job) -> list[str]:
        """The program and its arguments. UsageError where this launcher cannot start such a job."""

    def script(self, job: Job) -> str:
        """What a person can paste or submit: the command as a shell takes it, or a whole script."""


def as_text(command: list[str]) -> str:
    """One line for a shell, with what `run_job` adds to the environment."""
    return f"PYTHONSAFEPATH=1 {shlex.join(command)}\n"


def open_launcher(name: str) -> Launcher:
    """The launcher of this name. UsageError when this machine does not have it."""
    module, maker = LAUNCHERS[name]
    make: Callable[[], Launcher] = getattr(import_module(f".{module}", __package__), maker)
    return make()


def launcher_for(transport: str) -> Launcher:
    """The launcher that needs nothing but this host."""
    return open_launcher("mpirun" if transport == "mpi" else "local")
