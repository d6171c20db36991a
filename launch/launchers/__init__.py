"""Launchers, one module each, found by this folder: from a Job to a command line or a batch script.

A module has `TITLE`, a few words for the help, and `FACTORY`, which returns its launcher, or raises UsageError if this
machine lacks the programs.
"""

import pkgutil
from importlib import import_module

from collbench.collectives.transport_names import TRANSPORTS

from .base import Launcher

__all__ = ["LAUNCHERS", "launcher_for", "open_launcher", "titles"]

LAUNCHERS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base"))


def open_launcher(name: str) -> Launcher:
    """The launcher of this name. UsageError if this machine lacks it."""
    launcher: Launcher = import_module(f".{name}", __name__).FACTORY()
    return launcher


def titles() -> dict[str, str]:
    """What each launcher does, by its name."""
    return {name: str(import_module(f".{name}", __name__).TITLE) for name in LAUNCHERS}


def launcher_for(transport: str) -> Launcher:
    """The launcher that starts ranks of `transport` on this host alone."""
    return open_launcher("mpirun" if TRANSPORTS[transport].mpi_ranks else "local")
