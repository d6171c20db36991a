"""LSF: a job script that people can read and edit, and the command that submits it.

Within the job, mpirun starts the ranks of either transport on the hosts in $LSB_DJOB_HOSTFILE.
"""

import signal

from collbench.collectives.errors import UsageError

from ..batch_script import BatchSystem, batch_script
from ..job import Job
from .mpirun import Mpirun, find_mpirun, mpirun_slots

__all__ = ["FACTORY", "TITLE", "Lsf", "find_lsf"]

TITLE = "submits a job script with bsub"


class Lsf:
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "lsf"
    stop_signal = signal.SIGTERM
    hides_status = False
    only_here = False
    whole_lines = False
    containers = False
    script_name = "job.lsf"

    def __init__(self, mpirun: Mpirun) -> None:
        """`mpirun` starts the ranks on the nodes."""
        self.mpirun = mpirun

    def command(self, job: Job) -> list[str]:
        """What submits the script, which bsub would read from standard input otherwise; the log is kept beside it."""
        if "%" in str(job.out):
            raise UsageError(f"--out {job.out}: bsub replaces what follows a % in the name of a log")
        path = str(job.out / self.script_name)
        return ["bsub", "-o", f"{job.out}/job-%J.log", path if path.startswith("/") else f"./{path}"]

    def script(self, job: Job) -> str:
        """The complete script."""
        system = BatchSystem("bsub SCRIPT", "#BSUB", "LSB_JOBID", "LSB_JOBNAME", "LS_SUBCWD",
                             '$(wc -l < "$LSB_DJOB_HOSTFILE")', *mpirun_slots(self.mpirun, "LSB_DJOB_HOSTFILE"))
        return batch_script(job, system, self._directives(job))

    def _directives(self, job: Job) -> list[str]:
        time = [] if job.time_limit_s is None else [f"-W {max(1, -(-int(job.time_limit_s) // 60))}"]
        named = (("q", job.partition), ("P", job.account))
        return [f"-J {job.name}", f"-n {job.ranks}", f"-R span[ptile={job.ranks_per_node}]", *time,
                *(f"-{option} {value}" for option, value in named if value), *job.directives, "-r"]


def find_lsf() -> Lsf:
    """With the mpirun of this host. UsageError if there is none."""
    return Lsf(find_mpirun())


FACTORY = find_lsf
