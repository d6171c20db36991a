"""NVIDIA GPUs, through the Python bindings of NVML (pip install nvidia-ml-py).

The cluster and clique of the fabric identify the NVLink partition of a GPU, and so the trays that form an NVL72 (NVML
API reference, nvmlDeviceGetGpuFabricInfoV).
"""

import ctypes
import uuid

from .. import host
from ..host_files import ProbeAnswer, System
from ..model import DeviceInfo
from ..nvml_calls import Gpu, Nvml, bus_address, have_nvidia, open_nvml

__all__ = ["find"]

# Bytes per second of one link and direction, by NVLink version (NVLink tables of the vendor's architecture papers: 20,
# 25, 25, 25, 50 GB/s). NVML itself reports the signalling rate, 6 % more.
_LINK_BPS = {1: 20e9, 2: 25e9, 3: 25e9, 4: 25e9, 5: 50e9}
_VERSIONS = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}       # nvmlNvlinkVersion_t counts minor versions too
_LEVELS = {0: "INT", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
_COMPLETED = 3      # NVML_GPU_FABRIC_STATE_COMPLETED
_SWITCH = 2         # NVML_NVLINK_DEVICE_TYPE_SWITCH
_V2 = 2 << 24        # NVML_STRUCT_VERSION: the version above the size


class _FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_t of nvml.h; the bindings before 12.570 declare the identity of the cluster too long."""

    _fields_ = (("cluster", ctypes.c_ubyte * 16), ("status", ctypes.c_int), ("clique", ctypes.c_uint),
                ("state", ctypes.c_ubyte))


class _FabricInfo2(ctypes.Structure):
    """nvmlGpuFabricInfo_v2_t of nvml.h."""

    _fields_ = (("version", ctypes.c_uint), *_FabricInfo._fields_, ("health", ctypes.c_uint))


def find(system: System) -> ProbeAnswer | None:
    """Every GPU that the driver reports, visible to torch or not."""
    if not have_nvidia(system):
        return None
    notes: list[str] = []
    with open_nvml(system, notes) as nvml:
        if nvml is None:
            return ProbeAnswer([], [], notes)
        gpus = nvml.gpus(notes)
        up = [nvlinks_up(nvml, gpu) for gpu in gpus]
        devices = [_device(system, nvml, gpu, links) for gpu, links in zip(gpus, up, strict=True)]
        peers = [_peers(nvml, gpu, links) for gpu, links in zip(gpus, up, strict=True)]
        links = [[_relation(nvml, gpus, devices, peers, a, b) for b in range(len(devices))]
                 for a in range(len(devices))]
        return ProbeAnswer(devices, links, notes)


def nvlinks_up(nvml: Nvml, gpu: Gpu) -> list[int]:
    """Numbers of the links that are up; a GPU answers with an error for those that it does not have."""
    return [link for link in range(getattr(nvml.bindings, "NVML_NVLINK_MAX_LINKS", 0))
            if nvml.query("nvmlDeviceGetNvLinkState", gpu.handle, link)]


def _device(system: System, nvml: Nvml, gpu: Gpu, up: list[int]) -> DeviceInfo:
    version = _version(nvml, gpu, up)
    rate = _LINK_BPS.get(version) if version else None
    kinds = {nvml.query("nvmlDeviceGetNvLinkRemoteDeviceType", gpu.handle, link) for link in up}
    return DeviceInfo(
        index=gpu.number, name=gpu.name, identity=gpu.uuid, bus=gpu.bus, numa=host.numa_of(system, gpu.bus),
        domain=_fabric(nvml, gpu), fabric=None if not up else f"NVLink {version}" if version else "NVLink",
        links=len(up) or None, rate_Bps=rate * len(up) if rate and up else None,
        switched=_SWITCH in kinds if up and kinds != {None} else None, pcie_Bps=host.pcie_Bps(system, gpu.bus))


def _version(nvml: Nvml, gpu: Gpu, up: list[int]) -> int | None:
    number = nvml.query("nvmlDeviceGetNvLinkVersion", gpu.handle, up[0]) if up else None
    return None if number is None else _VERSIONS.get(number)


def _peers(nvml: Nvml, gpu: Gpu, up: list[int]) -> dict[str, int]:
    """Number of direct links to each peer GPU, by PCI address."""
    counts: dict[str, int] = {}
    for link in up:
        info = nvml.query("nvmlDeviceGetNvLinkRemotePciInfo", gpu.handle, link)
        if info is not None:
            counts[bus_address(info)] = counts.get(bus_address(info), 0) + 1
    return counts


def _fabric(nvml: Nvml, gpu: Gpu) -> str | None:
    """`cluster.clique` of the fabric that the GPU has joined; None on a single HGX board, whose cluster is all zero."""
    newer = _FabricInfo2(version=ctypes.sizeof(_FabricInfo2) | _V2)
    info: _FabricInfo | _FabricInfo2 = newer
    if nvml.query("nvmlDeviceGetGpuFabricInfoV", gpu.handle, ctypes.byref(newer)) is None:
        info = older = _FabricInfo()        # drivers and bindings before 12.555
        if nvml.query("nvmlDeviceGetGpuFabricInfo", gpu.handle, ctypes.byref(older)) is None:
            return None
    if info.state != _COMPLETED or info.status != 0:
        return None
    cluster = uuid.UUID(bytes=bytes(info.cluster))
    return f"{cluster}.{info.clique}" if cluster.int else None


def _relation(nvml: Nvml, gpus: list[Gpu], devices: list[DeviceInfo], peers: list[dict[str, int]], a: int,
              b: int) -> str:
    """`NV18` for 18 links between two GPUs, switched or direct; otherwise the PCI path."""
    if a == b:
        return "X"
    direct = peers[a].get(devices[b].bus or "", 0)
    if direct:
        return f"NV{direct}"
    if devices[a].switched and devices[b].switched:
        return f"NV{min(devices[a].links or 0, devices[b].links or 0)}"
    level = nvml.query("nvmlDeviceGetTopologyCommonAncestor", gpus[a].handle, gpus[b].handle)
    return "?" if level is None else _LEVELS.get(level, "?")
