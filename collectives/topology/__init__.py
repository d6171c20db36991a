"""Which scale-up domain is this? Accelerators, what joins them, and the host around them, found rather than asked for.

A kind of accelerator that tells of itself is one file in `sources`, found by its folder.
"""

from .find import describe, domain_of_rank
from .found import Device, Network, NumaNode, Tier, Topology
from .here import Accelerators, find_accelerators, usable_cores

__all__ = ["Accelerators", "Device", "Network", "NumaNode", "Tier", "Topology", "describe", "domain_of_rank",
           "find_accelerators", "usable_cores"]
