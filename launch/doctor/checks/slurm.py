"""Slurm: its programs, its controller, and which PMIs srun supports."""

import re
import shutil

from ..check_api import CheckRequest, CheckResult
from ..subprocess_probe import output

__all__ = ["ORDER", "examine"]

ORDER = 50
_LIMIT_S = 5


def examine(request: CheckRequest) -> list[CheckResult]:
    """The client programs, the controller, and the current job."""
    job = request.environment.get("SLURM_JOB_ID")
    srun = shutil.which("srun", path=request.environment.get("PATH"))
    if srun is None:
        if job:
            return [CheckResult(level="error", what="Slurm", found=f"this is job {job}, but srun is not on the PATH",
                                do="put the Slurm programs on the PATH of the job")]
        return [CheckResult(level="ok", what="Slurm", found="not installed, and not needed on one host")]
    unasked, version = output([srun, "--version"], request.environment, _LIMIT_S)
    version = srun if unasked else version.strip()
    status, nodes = output(["sinfo", "--noheader", "--format=%D %T"], request.environment, _LIMIT_S)
    if status:
        return [CheckResult(level="error" if job else "note", what="Slurm",
                            found=f"{version} is installed, but no controller responds",
                            do="run sinfo on this host; without a controller use torchrun or mpirun")]
    _, kinds = output([srun, "--mpi=list"], request.environment, _LIMIT_S)
    names = re.findall(r"^\s*(?:srun:)?\s*((?:pmi|cray|none)\w*)\s*$", kinds, re.MULTILINE)
    states = ", ".join(line.strip() for line in nodes.splitlines() if line.strip())
    finding = CheckResult(level="ok", what="Slurm", found=f"{version}, nodes: {states}; srun --mpi supports "
                          f"{', '.join(names) or 'nothing'}" + (f"; this is job {job}" if job else ""),
                          facts={"mpi": names, "job": job})
    if not any(name.startswith("pm") for name in names):
        return [finding, CheckResult(level=request.lack("mpi") if "mpi" in request.transports else "note", what="Slurm",
                                     found="srun cannot start MPI ranks (no pmix, no pmi2)",
                                     do="use mpirun inside the allocation")]
    return [finding]
