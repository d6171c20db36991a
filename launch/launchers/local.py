"""Ranks of torch.distributed on this host, forked from one process."""

import signal

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text

__all__ = ["FACTORY", "TITLE", "Local"]

TITLE = "forks ranks of torch on this host"


class Local:
    """No external launcher: one process imports torch and forks the ranks."""

    name = "local"
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = True
    whole_lines = False
    containers = False
    script_name = None

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        if job.nodes > 1:
            raise UsageError(f"launcher local starts ranks on this host only, not on {job.nodes}: "
                             "use torchrun, mpirun or a batch system")
        if job.needs_mpi:
            raise UsageError("launcher local cannot start MPI ranks: use mpirun or slurm")
        return [job.python, "-m", "collbench.collectives.program.fork", str(job.ranks), *job.arguments()]

    def script(self, job: Job) -> str:
        """The command as a line for a shell."""
        return as_text(self.command(job))


FACTORY = Local
