"""Flux: a job script that people can read and edit, and the command that submits it.

Within the job, `flux run` starts the ranks of either transport; it provides PMI for those of MPI.
"""

from ..batch_script import BatchLauncher, BatchSystem
from ..job import Job

__all__ = ["FACTORY", "TITLE", "Flux"]

TITLE = "submits a job script with flux batch"

_SET_UP = """\
MASTER_ADDR=$(flux hostlist --nth=0 local)
export MASTER_ADDR"""
_STOP = "flux jobs --no-header --filter=running --format={id} | xargs -r flux job kill --signal=USR1"
_START = """\
local n=$1 nodes=$((($1 + per_node - 1) / per_node))
flux run --nodes="$nodes" --ntasks="$n" "${@:2}" &"""


class Flux(BatchLauncher):
    """Renders a job script, and submits it once it lies in the results' directory."""

    name = "flux"
    script_name = "job.flux"

    def command(self, job: Job) -> list[str]:
        """What submits the script; the log is kept beside it."""
        return ["flux", "batch", f"--output={str(job.out).replace('{', '{{')}/job-{{{{id}}}}.log", self.path(job)]

    def system(self, job: Job) -> BatchSystem:
        """Names, and how ranks start."""
        return BatchSystem("flux batch SCRIPT", "# flux:", "FLUX_ENCLOSING_ID", "jobname", "PWD",
                           "$(($(flux resource list --no-header --states=up --format='{nnodes}') * per_node))",
                           f"per_node={job.ranks_per_node}\njobname={job.name}", _SET_UP, _START, _STOP)

    def directives(self, job: Job) -> list[str]:
        """What the batch system is asked for."""
        time = [] if job.time_limit_s is None else [f"--time-limit={max(1, int(job.time_limit_s))}s"]
        named = (("queue", job.partition), ("bank", job.account))
        return [f"--job-name={job.name}", f"--nodes={job.nodes}", "--exclusive", *time,
                *(f"--{option}={value}" for option, value in named if value), *job.directives]


FACTORY = Flux
