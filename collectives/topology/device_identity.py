"""Which physical device a rank uses, from what its library tells, and whether two ranks use the same one.

A library numbers the devices that it sees, so `cuda:0` is another device in each rank that a scheduler gave its own.
A uuid settles it, where there is one: some Ascend runtimes leave it all zero, torch knows none for other devices, and
partitions of one MI300X share it before ROCm 7.12.
"""

import os
import re
from collections.abc import Mapping, Sequence

import msgspec

from .model import DeviceInfo

__all__ = ["RankDevice", "bare_uuid", "compare_devices", "given_uuid", "locate", "own_number", "pci_address",
           "visibility_mask"]

_NO_UUID = "58580000-0000-0000-0000-000000000000"      # "XX", which ROCr gives for GPUs without one (hsa_ext_amd.h)


class RankDevice(msgspec.Struct, frozen=True, kw_only=True):
    """The accelerator of one rank, as the library that uses it describes it. None stands for unknown.

    Args:
        device: the library's name of it, `cuda:3`; None if the rank's buffers are on the host.
        devices: number of devices that the rank sees.
        identity: globally unique identity of the device, or of the chip that it is a partition of.
        name: the model.
        bus: PCI address as in sysfs.
        partition: its place among the visible devices of one identity or address; None if it is the only one.
        mask: the numbers or names of the devices that the rank may see; None if nothing hides any.
    """

    device: str | None = None
    devices: int = 0
    identity: str | None = None
    name: str | None = None
    bus: str | None = None
    partition: int | None = None
    mask: str | None = None


def given_uuid(uuid: object) -> str | None:
    """The uuid of a device as text; None if there is none, or one that identifies nothing, such as all zero."""
    words = str(uuid or "")
    return words if set(words) - set("0-") and words != _NO_UUID else None


def pci_address(properties: object) -> str | None:
    """The PCI address, as in sysfs, of a device with torch's properties; None if they do not have it."""
    domain, bus, device = (getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device"))
    if not isinstance(bus, int) or not isinstance(device, int):
        return None
    return f"{domain or 0:04x}:{bus:02x}:{device:02x}.0"


def visibility_mask(kind: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """What the variables of a vendor let a process see, by numbers of the driver if possible; None if all is visible.

    Args:
        kind: type of the device as torch names it, or `hip` for the GPUs of ROCm, which torch also calls `cuda`.
    """
    if kind != "hip":
        return environment.get(_MASKS.get(kind, "")) or None
    # HIP numbers what the layer below it, ROCr, lets through.
    inner = environment.get("HIP_VISIBLE_DEVICES") or environment.get("CUDA_VISIBLE_DEVICES")
    outer = environment.get("ROCR_VISIBLE_DEVICES")
    if not inner or not outer:
        return inner or outer or None
    numbers = [_nth(outer, number) for number in _numbers(inner) or ()]
    return ",".join(map(str, numbers)) if numbers and None not in numbers else f"{inner} of {outer}"


_MASKS = {"cuda": "CUDA_VISIBLE_DEVICES", "npu": "ASCEND_RT_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}


def own_number(own: RankDevice) -> int | None:
    """The number of the device without the mask; None if the mask has no numbers, or there is no device."""
    index = (own.device or "").rpartition(":")[2]
    if not index.isdecimal():
        return None
    return int(index) if own.mask is None else _nth(own.mask, int(index))


def _numbers(mask: str) -> list[int] | None:
    parts = [part.strip() for part in mask.split(",")]
    return [*map(int, parts)] if all(part.isdecimal() for part in parts) else None


def _nth(mask: str, index: int) -> int | None:
    numbers = _numbers(mask)
    return numbers[index] if numbers and index < len(numbers) else None


def compare_devices(one: RankDevice, other: RankDevice) -> bool | None:
    """Whether two ranks on one host use the same device; None if that cannot be told.

    It cannot where each rank sees one device without identity: schedulers and containers number each rank's own from 0.
    """
    if one.device is None or other.device is None:
        return False
    alone = one.devices < 2 or other.devices < 2
    numbers = own_number(one), own_number(other)
    different = None not in numbers and numbers[0] != numbers[1]
    for mine, theirs in ((one.identity, other.identity), (one.bus, other.bus)):
        if mine and theirs:
            if mine != theirs:
                return False
            if one.partition == other.partition:
                return None if one.partition is None and alone and different else True
            return None if None in (one.partition, other.partition) else False
    if None in numbers:
        return None
    return False if different else None if alone else True


def locate(own: RankDevice, devices: Sequence[DeviceInfo]) -> DeviceInfo | None:
    """The device of a rank among those that the driver describes; None if it has none or cannot be told."""
    if own.device is None:
        return None
    if own.identity:
        bare = bare_uuid(own.identity)
        found = [device for device in devices if device.identity and bare_uuid(device.identity) == bare]
        if len(found) == 1:
            return found[0]
    if own.bus:
        found = [device for device in devices if device.bus == own.bus]
        place = own.partition or 0
        return found[place] if place < len(found) else None
    number = own_number(own)
    return next((device for device in devices if device.index == number), None)


def bare_uuid(identity: str) -> str:
    """A uuid in one form: drivers put the kind of device in front, and HIP spells the number of the driver in ASCII."""
    bare = identity.lower().removeprefix("gpu-")
    try:
        spelt = bytes.fromhex(bare.replace("-", "")).decode("ascii")
    except ValueError:
        return bare
    return spelt if re.fullmatch(r"[0-9a-f]{16}", spelt) else bare
