"""The hosts that a scheduler has allocated to this shell, and how many ranks to start by default."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from collbench.collectives.errors import UsageError
from collbench.collectives.ranks.slurm_nodelist import expand_counts, expand_nodes

if TYPE_CHECKING:
    from collbench.collectives.topology import Accelerators

__all__ = ["Allocation", "default_ranks", "find_allocation", "ranks_per_host"]

_HOST_FILES = {"PBS": "PBS_NODEFILE", "LSF": "LSB_DJOB_HOSTFILE"}       # one line per slot

_FEWEST_CPU_RANKS = 8                    # enough for a curve of three rank counts
_MAX_CPU_RANKS, _MAX_CPU_RANKS_ANYWHERE = 32, 384        # on one host, on several
_LONGEST = 64 << 20         # characters to read at most: a device file never ends


class Allocation(NamedTuple):
    """Hosts in the scheduler's order; `slots` is the number of ranks per host, None if unknown; likewise `cores`."""

    scheduler: str
    hosts: tuple[str, ...]
    slots: int | None
    cores: int | None

    @property
    def launcher(self) -> str:
        """Name of the launcher that starts ranks across it."""
        return "srun" if self.scheduler == "Slurm" else "mpirun"

    def spread(self, ranks: int) -> tuple[str, ...]:
        """The first hosts, as many as possible such that `ranks` divide evenly among them."""
        count = next(n for n in range(min(len(self.hosts), ranks), 0, -1) if ranks % n == 0)
        return self.hosts[:count]


def find_allocation(environment: Mapping[str, str] = os.environ) -> Allocation | None:
    """An allocation of several hosts; None on a single host. UsageError if it cannot be read."""
    found: Allocation | None
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
    slots = min(tasks, default=1)       # 1 is also the default of Slurm
    return Allocation("Slurm", hosts, slots if slots > 1 else None, min(cores, default=None))


def _host_file(scheduler: str, path: Path) -> Allocation:
    try:
        with path.open(encoding="utf-8") as file:
            counts = Counter(file.read(_LONGEST).split())
    except OSError as error:
        raise UsageError(f"{_HOST_FILES[scheduler]}={path}: {error.strerror}; is the job over?") from None
    except ValueError:
        raise UsageError(f"{_HOST_FILES[scheduler]}={path}: not a text file of host names, one line per slot") from None
    return Allocation(scheduler, tuple(counts), min(counts.values(), default=None), None)


def ranks_per_host(devices: "Accelerators | None", allocation: Allocation | None = None) -> int:
    """How many ranks every command starts on a host unless told otherwise.

    One per accelerator. On CPUs one per core, rounded down to a power of two, from 8 to 32; in an allocation of several
    hosts as many as the scheduler was asked for, else one per core, and at most 384 on all hosts together.
    """
    if devices:
        return devices.count
    from collbench.collectives.topology import usable_cores
    if allocation:
        cores = allocation.cores or len(usable_cores())
        return allocation.slots or min(cores, max(1, _MAX_CPU_RANKS_ANYWHERE // len(allocation.hosts)))
    return min(_MAX_CPU_RANKS, max(_FEWEST_CPU_RANKS, 1 << int(math.log2(len(usable_cores())))))


def default_ranks(devices: "Accelerators | None", allocation: Allocation | None = None) -> int:
    """`ranks_per_host` on every host of the allocation."""
    return ranks_per_host(devices, allocation) * (len(allocation.hosts) if allocation else 1)
