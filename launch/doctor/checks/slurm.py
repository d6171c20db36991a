"""Slurm: whether its programs and its controller are there, and what srun can start."""

import re
import shutil

from ..check_api import Asked, Finding
from ..subprocess_probe import output

__all__ = ["ORDER", "examine"]

ORDER = 50
_LIMIT_S = 5


def examine(asked: Asked) -> list[Finding]:
    """The client programs, the controller, the job that this is in."""
    job = asked.environment.get("SLURM_JOB_ID")
    srun = shutil.which("srun", path=asked.environment.get("PATH"))
    if srun is None:
        if job:
            return [Finding(level="error", what="Slurm", found=f"this is job {job}, but there is no srun on the PATH",
                            do="put Slurm's programs on the PATH of the job")]
        return [Finding(level="ok", what="Slurm", found="not here, and not needed on one host")]
    unasked, version = output([srun, "--version"], asked.environment, _LIMIT_S)
    version = srun if unasked else version.strip()
    status, nodes = output(["sinfo", "--noheader", "--format=%D %T"], asked.environment, _LIMIT_S)
    if status:
        return [Finding(level="error" if job else "note", what="Slurm",
                        found=f"{version} is installed, but no controller answers",
                        do="ask sinfo on this host; without one use torchrun or mpirun")]
    _, kinds = output([srun, "--mpi=list"], asked.environment, _LIMIT_S)
    names = re.findall(r"^\s*(?:srun:)?\s*((?:pmi|cray|none)\w*)\s*$", kinds, re.MULTILINE)
    states = ", ".join(line.strip() for line in nodes.splitlines() if line.strip())
    finding = Finding(level="ok", what="Slurm", found=f"{version}, nodes: {states}; srun --mpi knows "
                      f"{', '.join(names) or 'nothing'}" + (f"; this is job {job}" if job else ""),
                      facts={"mpi": names, "job": job})
    if not any(name.startswith("pm") for name in names):
        return [finding, Finding(level=asked.lack("mpi") if "mpi" in asked.transports else "note", what="Slurm",
                                 found="srun cannot start MPI ranks (no pmix, no pmi2)",
                                 do="use mpirun inside the allocation")]
    return [finding]
