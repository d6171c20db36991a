"""Topology discovery: accelerators, the links between them, the scale-up domain, and the host.

A kind of accelerator is supported by one probe, a module in `sources`; all modules in that folder are used.
"""

from .accelerators import Accelerators, accelerators_present, find_accelerators, usable_cores
from .affinity import CpuBinding, bind_near
from .discover import describe
from .model import DeviceInfo, LinkTier, Network, NumaNode, Topology

__all__ = ["Accelerators", "CpuBinding", "DeviceInfo", "LinkTier", "Network", "NumaNode", "Topology",
           "accelerators_present", "bind_near", "describe", "find_accelerators", "usable_cores"]
