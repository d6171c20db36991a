"""The hosts that a scheduler has lent to this shell, if there are several."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from collbench.collectives.errors import UsageError
from collbench.collectives.ranks.slurm_nodelist import expand_counts, expand_nodes

__all__ = ["Allocation", "find_allocation"]

_HOST_FILES = {"PBS": "PBS_NODEFILE", "LSF": "LSB_DJOB_HOSTFILE"}       # one line a slot

_LONGEST = 64 << 20         # characters; a device has no end


class Allocation(NamedTuple):
    """Hosts in the scheduler's order; `slots` is how many ranks each may have, None where nobody said."""

    scheduler: str
    hosts: tuple[str, ...]
    slots: int | None
    cores: int | None

    @property
    def launcher(self) -> str:
        """What starts ranks across it."""
        return "srun" if self.scheduler == "Slurm" else "mpirun"

    def spread(self, ranks: int) -> tuple[str, ...]:
        """The most hosts, the first ones, over which so many ranks spread evenly."""
        count = next(n for n in range(min(len(self.hosts), ranks), 0, -1) if ranks % n == 0)
        return self.hosts[:count]


def find_allocation(environment: Mapping[str, str] = os.environ) -> Allocation | None:
    """Of several hosts; None on one host, in an allocation or not. UsageError when it cannot be read."""
    if "SLURM_JOB_ID" in environment:
        found = _slurm(environment)
    else:
        scheduler = next((name for name, variable in _HOST_FILES.items() if environment.get(variable)), None)
        found = _host_file(scheduler, Path(environment[_HOST_FILES[scheduler]])) if scheduler else None
    return found if found and len(found.hosts) > 1 else None


def _slurm(environment: Mapping[str, str]) -> Allocation:
    hosts = expand_nodes(environment.get("SLURM_JOB_NODELIST", ""))
    cores = expand_counts(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    tasks = expand_counts(environment.get("SLURM_TASKS_PER_NODE", ""))
    slots = min(tasks, default=1)       # 1 is also what nobody asked for
    return Allocation("Slurm", hosts, slots if slots > 1 else None, min(cores, default=None))


def _host_file(scheduler: str, path: Path) -> Allocation:
    try:
        with path.open(encoding="utf-8") as file:
            counts = Counter(file.read(_LONGEST).split())
    except OSError as error:
        raise UsageError(f"{_HOST_FILES[scheduler]}={path}: {error.strerror}; is the job over?") from None
    except ValueError:
        raise UsageError(f"{_HOST_FILES[scheduler]}={path}: not a text file of host names, one line a slot") from None
    return Allocation(scheduler, tuple(counts), min(counts.values(), default=None), None)
