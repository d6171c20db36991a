"""Any accelerator on PCI, from sysfs alone: the fallback for devices without a probe of their own."""

from .. import host
from ..host_files import ProbeAnswer, System
from ..model import DeviceInfo

__all__ = ["LAST", "find"]

LAST = True     # runs only if no other probe finds a device
_VENDORS = {0x10DE: "NVIDIA", 0x1002: "AMD", 0x8086: "Intel", 0x19E5: "Huawei", 0x1DA3: "Habana", 0x1D0F: "Amazon",
            0x1ED5: "Moore Threads"}


def find(system: System) -> ProbeAnswer | None:
    """Devices of these classes, ordered by PCI address."""
    devices: list[DeviceInfo] = []
    for path in sorted((system.root / "sys/bus/pci/devices").glob("*")):
        where = f"sys/bus/pci/devices/{path.name}"
        kind, vendor = system.number(f"{where}/class") or 0, system.number(f"{where}/vendor") or 0
        if kind >> 8 in host.ACCELERATOR_CLASSES and vendor in _VENDORS:
            model = system.number(f"{where}/device") or 0
            devices.append(DeviceInfo(index=len(devices), name=f"{_VENDORS[vendor]} {vendor:04x}:{model:04x}",
                                      identity=path.name, bus=path.name, numa=host.numa_of(system, path.name),
                                      pcie_Bps=host.pcie_Bps(system, path.name)))
    if not devices:
        return None
    links = [["X" if a is b else host.pci_relation(system, a.bus, b.bus, (a.numa, b.numa)) for b in devices]
             for a in devices]
    return ProbeAnswer(devices, links, [])
