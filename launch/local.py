"""Ranks of torch.distributed on this host, forked from one process."""

import signal
import sys

from .job import Job

__all__ = ["Local"]


class Local:
    """No launcher at all: one process imports torch and forks the ranks."""

    name = "local"
    stop_signal = signal.SIGTERM

    def command(self, job: Job) -> list[str]:
        """The program and its arguments."""
        return [sys.executable, "-m", "collectives.fork", str(job.ranks), *job.arguments]
