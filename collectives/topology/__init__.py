"""Which scale-up domain is this? Accelerators, what joins them, and the host around them, found rather than asked for.

A kind of accelerator that tells of itself is one file in `sources`, found by its folder.
"""

from .accelerators import Accelerators, find_accelerators, usable_cores
from .discover import describe, domain_of_rank
from .model import Device, Network, NumaNode, Tier, Topology

__all__ = ["Accelerators", "Device", "Network", "NumaNode", "Tier", "Topology", "describe", "domain_of_rank",
           "find_accelerators", "usable_cores"]
