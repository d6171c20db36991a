"""Schedulers that give each rank a single device: ranks of a host then cannot map each other's memory.

Slurm's --gpus-per-task binds by cgroup, so CUDA IPC fails and libraries copy through host memory without saying so
(SchedMD bug 17793; open-mpi/ompi 11949, NVIDIA/nccl 1066, NVIDIA/nccl-tests 300). In containers under Pyxis with
ENROOT_RESTRICT_DEV some ranks may get no device at all (NVIDIA/pyxis 73).
"""

from collbench.collectives.errors import UsageError
from collbench.collectives.ranks.rendezvous import find_place

from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 45
_ASKED_FOR = ("SLURM_GPUS_PER_TASK", "SLURM_GPU_BIND", "SLURM_TRES_PER_TASK")


def examine(request: CheckRequest) -> list[CheckResult]:
    """Whether this job binds ranks to devices; nothing if it does not."""
    asked = next((f"{name}={request.environment[name]}" for name in _ASKED_FOR if _binds(name, request.environment.get(
        name, ""))), None) if "SLURM_JOB_ID" in request.environment else None
    try:
        place = find_place(request.environment)
    except UsageError:      # contradicting variables are reported when ranks start
        place = None
    local = place.local_size or 1 if place else 1
    alone = local > 1 and request.accelerators is not None and request.accelerators[1] == 1
    if not (asked or alone):
        return []
    why = asked or f"this is one of {local} ranks on its host, but it sees a single device"
    return [CheckResult(level="warning", what="device binding",
                        found=f"{why}: ranks of a host cannot map each other's memory (CUDA IPC), and libraries then "
                              "copy through host memory",
                        do="ask for devices per node (--gpus-per-node=N) without --gpus-per-task and --gpu-bind: each "
                           "rank takes the device of its local rank")]


def _binds(name: str, value: str) -> bool:
    if name == "SLURM_TRES_PER_TASK":
        return "gpu" in value
    return value not in ("", "none", "0")
