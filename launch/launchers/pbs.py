"""PBS (OpenPBS, PBS Professional): a job script that people can read and edit, and the command that submits it.

Within the job, mpirun starts the ranks of either transport on the hosts in $PBS_NODEFILE.
"""

from collbench.collectives.errors import UsageError

from ..batch_script import BatchLauncher, BatchSystem
from ..job import Job
from .mpirun import Mpirun, find_mpirun, mpirun_slots

__all__ = ["FACTORY", "TITLE", "Pbs", "find_pbs"]

TITLE = "submits a job script with qsub"


class Pbs(BatchLauncher):
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "pbs"
    script_name = "job.pbs"

    def __init__(self, mpirun: Mpirun) -> None:
        """`mpirun` starts the ranks on the nodes."""
        self.mpirun = mpirun

    def command(self, job: Job) -> list[str]:
        """What submits the script; the log is kept beside it."""
        if ":" in str(job.out):
            raise UsageError(f"--out {job.out}: qsub takes what precedes a colon for a host")
        return ["qsub", "-o", f"{job.out}/", self.path(job)]

    def system(self, job: Job) -> BatchSystem:
        """Names, and how ranks start."""
        return BatchSystem("qsub SCRIPT", "#PBS", "PBS_JOBID", "PBS_JOBNAME", "PBS_O_WORKDIR",
                           '$(wc -l < "$PBS_NODEFILE")', *mpirun_slots(self.mpirun, "PBS_NODEFILE"))

    def directives(self, job: Job) -> list[str]:
        """What the batch system is asked for."""
        each = job.ranks_per_node
        time = [] if job.time_limit_s is None else [f"-l walltime={_clock(job.time_limit_s)}"]
        named = (("q", job.partition), ("A", job.account))
        return [f"-N {job.name}", f"-l select={job.nodes}:ncpus={each}:mpiprocs={each}", *time,
                *(f"-{option} {value}" for option, value in named if value), *job.directives, "-j oe", "-r y"]


def find_pbs() -> Pbs:
    """With the mpirun of this host. UsageError if there is none."""
    return Pbs(find_mpirun())


def _clock(seconds: float) -> str:
    """HH:MM:SS."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


FACTORY = find_pbs
