"""Ranks of torch.distributed on this host, forked from one process."""

import signal

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text

__all__ = ["Local"]


class Local:
    """No launcher at all: one process imports torch and forks the ranks."""

    name = "local"
    stop_signal = signal.SIGTERM
    hides_status = False

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        if job.nodes > 1:
            raise UsageError(f"launcher local starts ranks on this host only, not on {job.nodes}: "
                             "torchrun, mpirun and slurm reach others")
        if "mpi" in job.transports:
            raise UsageError("launcher local starts no ranks of MPI: use mpirun or slurm")
        return [job.python, "-m", "collbench.collectives.program.fork", str(job.ranks), *job.words()]

    def script(self, job: Job) -> str:
        """The command as a shell takes it."""
        return as_text(self.command(job))
