"""AMD GPUs, through the topology that the kernel's compute driver (KFD) shows in sysfs: links, dies and partitions.

Files as in linux/kfd_sysfs.h and drivers/gpu/drm/amd/amdkfd/kfd_topology.c: a node for each GPU, or for each partition
of one, with a file `properties` of names and numbers, and one such file for each link to another node.
"""

import re
from typing import NamedTuple

from .. import host
from ..host_files import ProbeAnswer, System
from ..model import DeviceInfo

__all__ = ["find"]

_NODES = "sys/class/kfd/kfd/topology/nodes"
_XGMI = 11          # HSA_IOLINK_TYPE_XGMI; PCI Express is 2
_AMD = 0x1002
# Names by PCI device number (PCI ID Repository, pci-ids.ucw.cz); VF is a virtual function.
_NAMES = {0x738C: "MI100", 0x738E: "MI100", 0x7408: "MI250X", 0x740C: "MI250X/MI250", 0x740F: "MI210",
          0x74A0: "MI300A", 0x74A1: "MI300X", 0x74A2: "MI308X", 0x74A5: "MI325X", 0x74A9: "MI300X HF",
          0x74B5: "MI300X VF", 0x74B9: "MI325X VF", 0x74BD: "MI300X HF", 0x75A0: "MI350X", 0x75A3: "MI355X"}
# Bytes per second of one link and direction: `link_Bps` of these systems in analysis/domains/domains.toml. The driver's
# own max_bandwidth is one number for several generations.
_LINK_BPS = {"MI300X": 64e9, "MI325X": 64e9, "MI350X": 76.5e9, "MI355X": 76.5e9}


class _Node(NamedTuple):
    """A GPU or a partition of one; `peers`: numbers of the nodes that it has an xGMI link to."""

    number: int
    model: int
    unique: int
    bus: str
    partition: int
    peers: frozenset[int]


def find(system: System) -> ProbeAnswer | None:
    """GPUs in the order of the driver, which is that of HIP; None without the driver or a GPU."""
    nodes = [node for number in _numbers(system) if (node := _node(system, number)) is not None]
    if not nodes:
        return None
    cards = list(dict.fromkeys(node.bus for node in nodes))
    split = len(cards) < len(nodes)
    devices = [_device(system, index, node, nodes, cards.index(node.bus) if split else None)
               for index, node in enumerate(nodes)]
    links = [[_relation(system, nodes, devices, a, b) for b in range(len(nodes))] for a in range(len(nodes))]
    return ProbeAnswer(devices, links, [])


def _numbers(system: System) -> list[int]:
    return sorted(int(path.name) for path in (system.root / _NODES).glob("[0-9]*"))


def _node(system: System, number: int) -> _Node | None:
    """None for a node without a GPU, for graphics, and for a GPU that this container may not use: it has no properties.
    """
    known = _properties(system, f"{_NODES}/{number}/properties")
    if not known.get("simd_count") or known.get("vendor_id") != _AMD:
        return None
    # In partitioned GPUs, bits 28 to 31 of the location are the number of the partition.
    place, domain = known.get("location_id", 0), known.get("domain", 0)
    bus = f"{domain:04x}:{place >> 8 & 0xff:02x}:{place >> 3 & 0x1f:02x}.{place & 7:x}"
    kind = system.number(f"sys/bus/pci/devices/{bus}/class")
    if kind is not None and kind >> 8 not in host.ACCELERATOR_CLASSES:
        return None
    return _Node(number, known.get("device_id", 0), known.get("unique_id", 0), bus, place >> 28, _peers(system, number))


def _peers(system: System, number: int) -> frozenset[int]:
    where = f"{_NODES}/{number}/io_links"
    links = (_properties(system, f"{where}/{path.name}/properties") for path in (system.root / where).glob("[0-9]*"))
    return frozenset(link.get("node_to", -1) for link in links if link.get("type") == _XGMI)


def _properties(system: System, path: str) -> dict[str, int]:
    return {name: int(value) for name, value in
            re.findall(r"^(\w+) (\d+)$", system.text(path) or "", re.MULTILINE)}


def _device(system: System, index: int, node: _Node, nodes: list[_Node], package: int | None) -> DeviceInfo:
    model = _NAMES.get(node.model)
    buses = {other.bus for other in nodes if other.number in node.peers} - {node.bus}
    rate = _LINK_BPS.get(model.partition(" ")[0]) if model else None
    unique = f"GPU-{node.unique:016x}" if node.unique else None
    return DeviceInfo(
        index=index, name=f"AMD Instinct {model}" if model else f"AMD {_AMD:04x}:{node.model:04x}",
        identity=f"{unique} partition {node.partition}" if unique and package is not None else unique,
        bus=node.bus, numa=host.numa_of(system, node.bus), package=package, fabric="xGMI" if buses else None,
        links=len(buses) or None, rate_Bps=rate * len(buses) if rate and buses else None,
        switched=False if buses else None, pcie_Bps=host.pcie_Bps(system, node.bus))


def _relation(system: System, nodes: list[_Node], devices: list[DeviceInfo], a: int, b: int) -> str:
    """`XGMI`, as `rocm-smi --showtopotype` prints it; `GPU` for partitions of one GPU; otherwise the PCI path."""
    if a == b:
        return "X"
    if devices[a].bus == devices[b].bus:
        return "GPU"
    if nodes[b].number in nodes[a].peers:
        return "XGMI"
    return host.pci_relation(system, devices[a].bus, devices[b].bus, (devices[a].numa, devices[b].numa))
