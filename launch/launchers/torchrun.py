"""Ranks of torch.distributed through torchrun, started once on every host."""

import signal

from collbench.collectives.errors import UsageError

from ..job import Job
from .base import as_text

__all__ = ["FACTORY", "TITLE", "Torchrun"]

TITLE = "starts ranks of torch, here or run once on each of --hosts"
_PORT = 29400


class Torchrun:
    """One agent per host; agents rendezvous at the first host of the job."""

    name = "torchrun"
    stop_signal = signal.SIGTERM
    hides_status = True
    only_here = False
    whole_lines = False
    containers = False
    script_name = None

    def command(self, job: Job) -> list[str]:
        """The program and its arguments; the same on every host."""
        if job.needs_mpi:
            raise UsageError("launcher torchrun cannot start MPI ranks: use mpirun or slurm")
        return [job.python, "-m", "torch.distributed.run", *self._rendezvous(job),
                "--nproc-per-node", str(job.ranks_per_node), "-m", "collbench.rank", *job.arguments()]

    def script(self, job: Job) -> str:
        """The command as a line for a shell, and where to run it."""
        where = f"# on each of: {' '.join(job.hosts)}\n" if job.nodes > 1 else ""
        return where + as_text(self.command(job))

    def _rendezvous(self, job: Job) -> list[str]:
        if job.nodes == 1:
            return ["--standalone"]
        if not job.hosts:
            raise UsageError(f"torchrun over {job.nodes} nodes: name them with --hosts, the rendezvous host first")
        return ["--nnodes", str(job.nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{job.hosts[0]}:{_PORT}",
                "--rdzv-id", job.name]


FACTORY = Torchrun
