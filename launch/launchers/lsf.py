"""LSF: a job script that people can read and edit, and the command that submits it.

Within the job, mpirun starts the ranks of either transport on the hosts in $LSB_DJOB_HOSTFILE.
"""

from collbench.collectives.errors import UsageError

from ..batch_script import BatchLauncher, BatchSystem
from ..job import Job
from .mpirun import Mpirun, find_mpirun, mpirun_slots

__all__ = ["FACTORY", "TITLE", "Lsf", "find_lsf"]

TITLE = "submits a job script with bsub"


class Lsf(BatchLauncher):
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "lsf"
    script_name = "job.lsf"

    def __init__(self, mpirun: Mpirun) -> None:
        """`mpirun` starts the ranks on the nodes."""
        self.mpirun = mpirun

    def command(self, job: Job) -> list[str]:
        """What submits the script; the log is kept beside it.

        bsub reads the directives of a script only from standard input, unless the site has LSB_BSUB_PARSE_SCRIPT; so
        they are passed as well.
        """
        if "%" in str(job.out):
            raise UsageError(f"--out {job.out}: bsub replaces what follows a % in the name of a log")
        words = [word for line in self.directives(job) for word in line.split(" ", 1)]
        return ["bsub", "-o", f"{job.out}/job-%J.log", *words, "bash", self.path(job)]

    def system(self, job: Job) -> BatchSystem:
        """Names, and how ranks start."""
        return BatchSystem("bsub < SCRIPT", "#BSUB", "LSB_JOBID", "LSB_JOBNAME", "LS_SUBCWD",
                           '$(wc -l < "$LSB_DJOB_HOSTFILE")', *mpirun_slots(self.mpirun, "LSB_DJOB_HOSTFILE"))

    def directives(self, job: Job) -> list[str]:
        """What the batch system is asked for."""
        time = [] if job.time_limit_s is None else [f"-W {max(1, -(-int(job.time_limit_s) // 60))}"]
        named = (("q", job.partition), ("P", job.account))
        return [f"-J {job.name}", f"-n {job.ranks}", f"-R span[ptile={job.ranks_per_node}]", *time,
                *(f"-{option} {value}" for option, value in named if value), *job.directives, "-r"]


def find_lsf() -> Lsf:
    """With the mpirun of this host. UsageError if there is none."""
    return Lsf(find_mpirun())


FACTORY = find_lsf
