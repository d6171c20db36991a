"""NVIDIA GPUs, through the Python bindings of NVML (pip install nvidia-ml-py).

The cluster and clique of the fabric identify the NVLink partition of a GPU, and so the trays that form an NVL72 (NVML
API reference, nvmlDeviceGetGpuFabricInfoV).
"""

import ctypes
import uuid
from typing import Any

from .. import host
from ..host_files import ProbeAnswer, System
from ..model import DeviceInfo

__all__ = ["find"]

# Bytes per second of one link and direction, by NVLink version (NVLink tables of the vendor's architecture papers: 20,
# 25, 25, 25, 50 GB/s). NVML itself reports the signalling rate, 6 % more.
_LINK_BPS = {1: 20e9, 2: 25e9, 3: 25e9, 4: 25e9, 5: 50e9}
_VERSIONS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}       # nvmlNvlinkVersion_t counts minor versions too
_LEVELS = {0: "INT", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
_COMPLETED = 3      # NVML_GPU_FABRIC_STATE_COMPLETED
_SWITCH = 2         # NVML_NVLINK_DEVICE_TYPE_SWITCH


def find(system: System) -> ProbeAnswer | None:
    """Every GPU that the driver reports, visible to torch or not."""
    if not any((system.root / "dev").glob("nvidia[0-9]*")):
        return None
    nvml = system.load("pynvml")
    if nvml is None:
        return ProbeAnswer([], [], ["NVIDIA devices found, but nvidia-ml-py is not installed: NVLink was not probed "
                                    "(pip install 'collbench[nvidia]')"])
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return ProbeAnswer([], [], [f"NVML: {error}"])
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        devices = [_device(system, nvml, handle, index) for index, handle in enumerate(handles)]
        peers = [_peers(nvml, handle) for handle in handles]
        links = [[_relation(nvml, handles, devices, peers, a, b) for b in range(len(devices))]
                 for a in range(len(devices))]
        return ProbeAnswer(devices, links, [])
    finally:
        nvml.nvmlShutdown()


def _query(nvml: Any, function: str, *arguments: object) -> Any | None:
    """Result of an NVML function, or None: NVML and its bindings raise if device or driver do not support it."""
    try:
        return getattr(nvml, function)(*arguments)
    except (nvml.NVMLError, AttributeError):
        return None


def _device(system: System, nvml: Any, handle: Any, index: int) -> DeviceInfo:
    bus = _bus(nvml.nvmlDeviceGetPciInfo(handle))
    up = _links_up(nvml, handle)
    version = _version(nvml, handle, up)
    rate = _LINK_BPS.get(version) if version else None
    kinds = {_query(nvml, "nvmlDeviceGetNvLinkRemoteDeviceType", handle, link) for link in up}
    return DeviceInfo(
        index=index, name=_text(nvml.nvmlDeviceGetName(handle)), identity=_text(nvml.nvmlDeviceGetUUID(handle)),
        bus=bus, numa=host.numa_of(system, bus), domain=_fabric(nvml, handle),
        fabric=None if not up else f"NVLink {version}" if version else "NVLink",
        links=len(up) or None, rate_Bps=rate * len(up) if rate and up else None,
        switched=_SWITCH in kinds if up and kinds != {None} else None, pcie_Bps=host.pcie_Bps(system, bus))


def _bus(info: Any) -> str:
    """The PCI address as in sysfs; NVML prints eight digits of the PCI domain, in capitals."""
    domain, _, rest = _text(info.busId).lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _links_up(nvml: Any, handle: Any) -> list[int]:
    return [link for link in range(nvml.NVML_NVLINK_MAX_LINKS)
            if _query(nvml, "nvmlDeviceGetNvLinkState", handle, link)]


def _version(nvml: Any, handle: Any, up: list[int]) -> int | None:
    number = _query(nvml, "nvmlDeviceGetNvLinkVersion", handle, up[0]) if up else None
    return None if number is None else _VERSIONS.get(number)


def _peers(nvml: Any, handle: Any) -> dict[str, int]:
    """Number of direct links to each peer GPU, by PCI address."""
    counts: dict[str, int] = {}
    for link in _links_up(nvml, handle):
        info = _query(nvml, "nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
        if info is not None:
            counts[_bus(info)] = counts.get(_bus(info), 0) + 1
    return counts


def _fabric(nvml: Any, handle: Any) -> str | None:
    """`cluster.clique` of the fabric that the GPU has joined; None on a single HGX board, whose cluster is all zero."""
    try:
        info = nvml.c_nvmlGpuFabricInfoV_t()
        nvml.nvmlDeviceGetGpuFabricInfoV(handle, ctypes.byref(info))
    except (nvml.NVMLError, AttributeError):
        return None
    if info.state != _COMPLETED or info.status != 0:
        return None
    cluster = uuid.UUID(bytes=bytes(info.clusterUuid))
    return f"{cluster}.{info.cliqueId}" if cluster.int else None


def _relation(nvml: Any, handles: list, devices: list[DeviceInfo], peers: list[dict[str, int]], a: int,
              b: int) -> str:
    """`NV18` for 18 links between two GPUs, switched or direct; otherwise the PCI path."""
    if a == b:
        return "X"
    direct = peers[a].get(devices[b].bus or "", 0)
    if direct:
        return f"NV{direct}"
    if devices[a].switched and devices[b].switched:
        return f"NV{min(devices[a].links or 0, devices[b].links or 0)}"
    level = _query(nvml, "nvmlDeviceGetTopologyCommonAncestor", handles[a], handles[b])
    return "?" if level is None else _LEVELS.get(level, "?")
