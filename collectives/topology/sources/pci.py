"""Any accelerator that sits on PCI, from sysfs alone: for what no vendor's own tool was asked about."""

from .. import host
from ..host_files import Asked, System
from ..model import Device

__all__ = ["LAST", "find"]

LAST = True     # asked when no other source knows anything
_VENDORS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel", 0x19E5: "Huawei", 0x1DA3: "Habana", 0x1D0F: "Amazon",
            0x1ED5: "Moore Threads"}
# PCI Code and ID Assignment Specification: 3D controller, other display controller, processing accelerator.
_CLASSES = (0x0302, 0x0380, 0x1200)


def find(system: System) -> Asked | None:
    """Devices of these classes, in the order of their addresses."""
    devices = []
    for path in sorted((system.root / "sys/bus/pci/devices").glob("*")):
        where = f"sys/bus/pci/devices/{path.name}"
        kind, vendor = system.number(f"{where}/class") or 0, system.number(f"{where}/vendor") or 0
        if kind >> 8 in _CLASSES and vendor in _VENDORS:
            model = system.number(f"{where}/device") or 0
            devices.append(Device(index=len(devices), name=f"{_VENDORS[vendor]} {vendor:04x}:{model:04x}",
                                  identity=path.name, bus=path.name, numa=host.numa_of(system, path.name),
                                  pcie_Bps=host.pcie_Bps(system, path.name)))
    if not devices:
        return None
    links = [["X" if a is b else host.pci_relation(system, a.bus, b.bus, (a.numa, b.numa)) for b in devices]
             for a in devices]
    return Asked(devices, links, [])
