"""Ranks as a step of the Slurm allocation that this process is in."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text
from .mpirun import find_mpirun

__all__ = ["FACTORY", "IMEX_CHANNELS", "TITLE", "Srun", "find_srun", "mpi_protocol"]

TITLE = "starts ranks in the Slurm allocation of this shell"
IMEX_CHANNELS = "/dev/nvidia-caps-imex-channels"        # without it no GPU maps the memory of one on another host


class Srun:
    """One job step; `mpi` is the PMI for MPI ranks, one of `srun --mpi=list`."""

    name = "srun"
    stop_signal = signal.SIGUSR1        # passed on to the ranks; SIGTERM would end srun itself
    hides_status = False
    only_here = False
    whole_lines = True
    containers = True
    script_name = None

    def __init__(self, mpi: str | None = None, inside_step: bool = False, has_pyxis: bool = True) -> None:
        """`inside_step`: this shell is itself a step, with which the ranks share the processors."""
        self.mpi, self.inside_step, self.has_pyxis = mpi, inside_step, has_pyxis

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        mpi = self.mpi if job.needs_mpi else "none"
        if mpi is None:
            raise UsageError("srun --mpi=list names neither pmix (for Open MPI) nor pmi2 (for MPICH): "
                             "this Slurm cannot start ranks of this MPI; use mpirun in the allocation")
        if job.container and not self.has_pyxis:
            raise UsageError(f"--container {job.container}: this srun has no --container-image: it needs the plugin "
                             "Pyxis")
        options = [f"--nodes={job.nodes}", f"--ntasks={job.ranks}", f"--ntasks-per-node={job.ranks_per_node}",
                   *([f"--nodelist={','.join(job.hosts)}"] if job.hosts else []), f"--mpi={mpi}",
                   "--kill-on-bad-exit=1", *(["--overlap"] if self.inside_step else []),
                   *_container_options(job, Path.cwd())]
        return ["srun", *options, job.python, "-m", "collbench.rank", *job.arguments()]

    def script(self, job: Job) -> str:
        """The command as a line for a shell."""
        return as_text(self.command(job))


def _container_options(job: Job, directory: Path) -> list[str]:
    """Options of Pyxis: the working directory and that of the results are the same inside as outside."""
    if job.container is None:
        return []
    out = directory / job.out
    within = out.is_relative_to(directory)
    mounts = [f"{directory}:{directory}", *([] if within else [f"{out}:{out}"]),
              *([f"{IMEX_CHANNELS}:{IMEX_CHANNELS}"] if os.path.exists(IMEX_CHANNELS) else []), job.container_mounts]
    return [f"--container-image={job.container}", f"--container-mounts={','.join(filter(None, mounts))}",
            f"--container-workdir={directory}", "--no-container-mount-home"]


def find_srun() -> Srun:
    """With the PMI that this Slurm and this MPI share. UsageError without srun."""
    if shutil.which("srun") is None:
        raise UsageError("no srun on the PATH: this machine is not part of a Slurm cluster")
    done = subprocess.run(["srun", "--mpi=list"], capture_output=True, text=True, timeout=60, check=False)
    known = set(re.findall(r"[\w.-]+", done.stdout + done.stderr))
    wanted = mpi_protocol()
    options = subprocess.run(["srun", "--help"], capture_output=True, text=True, timeout=60, check=False).stdout
    return Srun(wanted if wanted in known else None, "SLURM_STEP_ID" in os.environ, "--container-image" in options)


def mpi_protocol() -> str:
    """The value of `srun --mpi` for the MPI of this Python: PMIx for Open MPI, PMI-2 for MPICH and Intel MPI."""
    try:
        return "pmix" if find_mpirun().is_open_mpi else "pmi2"
    except UsageError:
        return "pmix"


FACTORY = find_srun
