"""Bind a process to the cores next to its accelerator, so that pinned memory is allocated there.

On a host of two sockets, copies between device and memory of the other socket share the link between the sockets and
are slower; without binding, the operating system decides from run to run.
"""

import os
from typing import NamedTuple

from . import host
from .accelerators import usable_cores
from .host_files import System

__all__ = ["CpuBinding", "bind_near"]


class CpuBinding(NamedTuple):
    """What was done, for the record.

    Args:
        numa: NUMA node of the accelerator; None if unknown.
        cores: the cores that this process may use now.
        unbound: why the binding was left as it was; None if it was changed.
    """

    numa: int | None
    cores: list[int]
    unbound: str | None

    def words(self) -> str:
        """One phrase: the node and its cores, or why the process is not bound."""
        return (f"not bound: {self.unbound}" if self.unbound else
                f"bound to {len(self.cores)} cores of NUMA node {self.numa}")


def bind_near(bus: str | None, system: System = System()) -> CpuBinding:       # noqa: B008  (a tuple of constants)
    """Bind the calling thread, and threads that it starts later, to the NUMA node of the PCI device `bus`.

    Call it before memory is allocated. Only cores that the process may already use are kept, so a narrower binding by
    the launcher stands. `bus` is an address as in sysfs, `0000:c1:00.0`. Never raises.
    """
    mine = usable_cores()
    if bus is None:
        return CpuBinding(None, mine, "the PCI address of the device is unknown")
    numa = host.numa_of(system, bus)
    near = [core for node in host.numa_nodes(system) if node.number == numa for core in node.cores]
    if numa is None or not near:
        return CpuBinding(numa, mine, f"sysfs has no cores near {bus}")
    both = sorted({*mine} & {*near})
    if not both:
        return CpuBinding(numa, mine, f"this process may use no core of NUMA node {numa}")
    if both == mine:
        return CpuBinding(numa, mine, f"all its cores are of NUMA node {numa} already")
    try:
        os.sched_setaffinity(0, both)
    except (AttributeError, OSError) as error:      # no such call on this system, or a sandbox forbids it
        return CpuBinding(numa, mine, f"sched_setaffinity: {error}")
    return CpuBinding(numa, both, None)
