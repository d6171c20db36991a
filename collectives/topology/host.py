"""The host itself, from sysfs: NUMA nodes, caches, network adapters, and the place of devices in the PCI tree."""

import re
from pathlib import Path

from .host_files import System
from .model import Network, NumaNode

__all__ = ["ACCELERATOR_CLASSES", "cache_bytes", "networks", "numa_nodes", "numa_of", "pci_path", "pci_relation",
           "pcie_Bps"]

# PCI Code and ID Assignment Specification: 3D controller, other display controller, processing accelerator.
ACCELERATOR_CLASSES = (0x0302, 0x0380, 0x1200)
# Usable bytes per second of one lane and direction, after line coding (PCI Express Base Specification: 8b/10b up to
# 5 GT/s, 128b/130b up to 32 GT/s; at 64 GT/s flits of 256 bytes hold 236 of transactions).
_LANE_BPS = {2.5: 2.5e9 * 8 / 10 / 8, 5.0: 5e9 * 8 / 10 / 8, 8.0: 8e9 * 128 / 130 / 8, 16.0: 16e9 * 128 / 130 / 8,
             32.0: 32e9 * 128 / 130 / 8, 64.0: 64e9 * 236 / 256 / 8}
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def numa_nodes(system: System) -> list[NumaNode]:
    """NUMA nodes with their cores; a single node if the kernel reports none."""
    nodes = []
    for path in sorted((system.root / "sys/devices/system/node").glob("node[0-9]*"), key=_trailing_number):
        where = f"sys/devices/system/node/{path.name}"
        memory = re.search(r"MemTotal:\s+(\d+) kB", system.text(f"{where}/meminfo") or "")
        nodes.append(NumaNode(number=_trailing_number(path), cores=_listed(system.text(f"{where}/cpulist") or ""),
                              memory_bytes=int(memory[1]) * 1024 if memory else None))
    if not nodes:
        cores = _listed(system.text("sys/devices/system/cpu/online") or "")
        nodes = [NumaNode(number=0, cores=cores)] if cores else []
    return nodes


def cache_bytes(system: System) -> int | None:
    """The largest cache of the first core; all cores are assumed equal."""
    sizes = [system.text(f"sys/devices/system/cpu/cpu0/cache/{path.name}/size") for path in
             (system.root / "sys/devices/system/cpu/cpu0/cache").glob("index[0-9]*")]
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    known = [int(match[1]) * scale.get(match[2], 1) for size in sizes if (match := re.fullmatch(r"(\d+)([KMG]?)", size
                                                                                              or ""))]
    return max(known, default=None)


def networks(system: System) -> list[Network]:
    """InfiniBand and RoCE ports, and network interfaces of physical adapters."""
    found = []
    for port in sorted((system.root / "sys/class/infiniband").glob("*/ports/*/rate")):
        card = port.parts[-4]
        rate = re.match(r"([\d.]+) Gb/sec", system.text(str(port.relative_to(system.root))) or "")
        found.append(Network(name=f"{card}:{port.parts[-2]}", kind="infiniband",
                             rate_Bps=float(rate[1]) * 1e9 / 8 if rate else None,
                             numa=_node(system.number(f"sys/class/infiniband/{card}/device/numa_node"))))
    for path in sorted((system.root / "sys/class/net").glob("*")):
        if (path / "device").exists():
            speed = system.number(f"sys/class/net/{path.name}/speed")       # Mbit/s; -1 if unknown
            found.append(Network(name=path.name, kind="ethernet",
                                 rate_Bps=speed * 1e6 / 8 if speed and speed > 0 else None,
                                 numa=_node(system.number(f"sys/class/net/{path.name}/device/numa_node"))))
    return found


def pcie_Bps(system: System, bus: str) -> float | None:
    """Rate of a slot per direction, at its maximum speed and width, since idle links run slower."""
    where = f"sys/bus/pci/devices/{bus}"
    speed = re.match(r"([\d.]+) GT/s", system.text(f"{where}/max_link_speed") or "")
    width = system.number(f"{where}/max_link_width")
    rate = _LANE_BPS.get(float(speed[1])) if speed else None
    return rate * width if rate and width and width < 255 else None


def pci_path(system: System, bus: str) -> list[str]:
    """Addresses from the root port down to the device; [] if there is no such device."""
    path = system.root / "sys/bus/pci/devices" / bus
    if not path.exists():
        return []
    parts = path.resolve().parts
    return [part for part in parts if _PCI_ADDRESS.fullmatch(part) or part.startswith("pci")]


def pci_relation(system: System, one: str | None, other: str | None, numa: tuple[int | None, int | None]) -> str:
    """The path between two devices, in the terms of `nvidia-smi topo -m`: PIX, PXB, PHB, NODE, SYS.

    PIX: one PCIe switch; PXB: several switches; PHB: the host bridge; NODE, SYS: within or between NUMA nodes.
    """
    first, second = (pci_path(system, bus) if bus else [] for bus in (one, other))
    shared = sum(1 for a, b in zip(first, second, strict=False) if a == b)
    if not first or not second or not shared:
        return "SYS" if None in numa or numa[0] != numa[1] else "NODE"
    if shared == 1:     # only the host bridge
        return "PHB"
    between = len(first) + len(second) - 2 * shared - 2      # bridges below the last common one
    return "PIX" if between <= 2 else "PXB"


def numa_of(system: System, bus: str | None) -> int | None:
    """NUMA node of a PCI device; None if unknown."""
    return _node(system.number(f"sys/bus/pci/devices/{bus}/numa_node")) if bus else None


def _node(number: int | None) -> int | None:
    return number if number is not None and number >= 0 else None


def _trailing_number(path: Path) -> int:
    digits = re.search(r"\d+$", path.name)
    return int(digits[0]) if digits else -1


def _listed(text: str) -> list[int]:
    """Expand `0-3,8`."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
