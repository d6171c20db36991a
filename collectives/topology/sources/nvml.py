"""NVIDIA: NVML through its Python bindings (pip install nvidia-ml-py), where the driver is.

The fabric's cluster and clique say which GPUs of which hosts are in one NVLink partition: that is how the trays of an
NVL72 are known to belong together (NVML API reference, nvmlDeviceGetGpuFabricInfoV).
"""

import ctypes
import uuid
from collections.abc import Callable
from types import ModuleType

from .. import host
from ..host_files import Asked, System
from ..model import Device

__all__ = ["find"]

# Bytes per second of one link and direction, by NVLink version (NVLink tables of the vendor's architecture papers: 20,
# 25, 25, 25, 50 GB/s). What NVML prints is the signalling rate, 6 % more.
_LINK_BPS = {1: 20e9, 2: 25e9, 3: 25e9, 4: 25e9, 5: 50e9}
_VERSIONS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}       # nvmlNvlinkVersion_t counts minor versions too
_LEVELS = {0: "INT", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
_COMPLETED = 3      # NVML_GPU_FABRIC_STATE_COMPLETED
_SWITCH = 2         # NVML_NVLINK_DEVICE_TYPE_SWITCH


def find(system: System) -> Asked | None:
    """Every GPU that the driver knows, visible to torch or not."""
    if not any((system.root / "dev").glob("nvidia[0-9]*")):
        return None
    nvml = system.load("pynvml")
    if nvml is None:
        return Asked([], [], ["NVIDIA devices are here, but not nvidia-ml-py: NVLink was not asked for "
                              "(pip install 'collbench[nvidia]')"])
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Asked([], [], [f"NVML: {error}"])
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        devices = [_device(system, nvml, handle, index) for index, handle in enumerate(handles)]
        peers = [_peers(nvml, handle) for handle in handles]
        links = [[_relation(nvml, handles, devices, peers, a, b) for b in range(len(devices))]
                 for a in range(len(devices))]
        return Asked(devices, links, [])
    finally:
        nvml.nvmlShutdown()


def _told(nvml: ModuleType, ask: Callable[[], object]) -> object | None:
    """The answer, or None where this device or driver has none: NVML and its bindings say so by exceptions."""
    try:
        return ask()
    except (nvml.NVMLError, AttributeError):
        return None


def _device(system: System, nvml: ModuleType, handle: object, index: int) -> Device:
    bus = _bus(nvml.nvmlDeviceGetPciInfo(handle))
    up = _links_up(nvml, handle)
    version = _version(nvml, handle, up)
    rate = _LINK_BPS.get(version)
    kinds = {_told(nvml, lambda link=link: nvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)) for link in up}
    return Device(
        index=index, name=_text(nvml.nvmlDeviceGetName(handle)), identity=_text(nvml.nvmlDeviceGetUUID(handle)),
        bus=bus, numa=host.numa_of(system, bus), domain=_fabric(nvml, handle),
        fabric=None if not up else f"NVLink {version}" if version else "NVLink",
        links=len(up) or None, rate_Bps=rate * len(up) if rate and up else None,
        switched=_SWITCH in kinds if up and kinds != {None} else None, pcie_Bps=host.pcie_Bps(system, bus))


def _bus(info: object) -> str:
    """As sysfs writes it: NVML has eight digits of the PCI domain, and capitals."""
    domain, _, rest = _text(info.busId).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _links_up(nvml: ModuleType, handle: object) -> list[int]:
    return [link for link in range(nvml.NVML_NVLINK_MAX_LINKS)
            if _told(nvml, lambda link=link: nvml.nvmlDeviceGetNvLinkState(handle, link))]


def _version(nvml: ModuleType, handle: object, up: list[int]) -> int | None:
    number = _told(nvml, lambda: nvml.nvmlDeviceGetNvLinkVersion(handle, up[0])) if up else None
    return _VERSIONS.get(number)


def _peers(nvml: ModuleType, handle: object) -> dict[str, int]:
    """Links to each GPU that they lead to directly, by PCI address."""
    counts: dict[str, int] = {}
    for link in _links_up(nvml, handle):
        info = _told(nvml, lambda link=link: nvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link))
        if info is not None:
            counts[_bus(info)] = counts.get(_bus(info), 0) + 1
    return counts


def _fabric(nvml: ModuleType, handle: object) -> str | None:
    """`cluster.clique` where the GPU has joined a fabric that has a name; a single HGX board's has none (all zero)."""
    def ask() -> object:
        info = nvml.c_nvmlGpuFabricInfoV_t()
        nvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
        return info
    info = _told(nvml, ask)
    if info is None or info.state != _COMPLETED or info.status != 0:
        return None
    cluster = uuid.UUID(bytes=bytes(info.clusterUuid))
    return f"{cluster}.{info.cliqueId}" if cluster.int else None


def _relation(nvml: ModuleType, handles: list, devices: list[Device], peers: list[dict[str, int]], a: int,
              b: int) -> str:
    """`NV18` for so many links between two GPUs, over switches or directly; else where they meet on PCI."""
    if a == b:
        return "X"
    direct = peers[a].get(devices[b].bus or "", 0)
    if direct:
        return f"NV{direct}"
    if devices[a].switched and devices[b].switched:
        return f"NV{min(devices[a].links, devices[b].links)}"
    level = _told(nvml, lambda: nvml.nvmlDeviceGetTopologyCommonAncestor(handles[a], handles[b]))
    return _LEVELS.get(level, "?")
