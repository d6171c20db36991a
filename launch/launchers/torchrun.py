"""Ranks of torch.distributed through torchrun, started once on every host."""

import signal

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text

__all__ = ["Torchrun"]

_PORT = 29400


class Torchrun:
    """One agent a host; they meet at the first host of the job and share its ranks among themselves."""

    name = "torchrun"
    stop_signal = signal.SIGTERM
    hides_status = True

    def command(self, job: Job) -> list[str]:
        """The program and its arguments; the same on every host."""
        if "mpi" in job.transports:
            raise UsageError("launcher torchrun starts no ranks of MPI: use mpirun or slurm")
        return [job.python, "-m", "torch.distributed.run", *self._meeting(job),
                "--nproc-per-node", str(job.ranks_per_node), "-m", "collbench.rank", *job.words()]

    def script(self, job: Job) -> str:
        """The command as a shell takes it, and where to run it."""
        where = f"# on each of: {' '.join(job.hosts)}\n" if job.nodes > 1 else ""
        return where + as_text(self.command(job))

    def _meeting(self, job: Job) -> list[str]:
        if job.nodes == 1:
            return ["--standalone"]
        if not job.hosts:
            raise UsageError(f"torchrun over {job.nodes} nodes: name them with --hosts; the first is where they meet")
        return ["--nnodes", str(job.nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{job.hosts[0]}:{_PORT}",
                "--rdzv-id", job.name]
