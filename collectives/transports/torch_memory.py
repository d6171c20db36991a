"""Buffers as tensors: host memory if the device is the CPU, otherwise one allocation on the device."""

from collections.abc import Callable
from functools import partial
from typing import TypedDict

import numpy as np
import torch

from ..errors import UsageError
from ..interfaces import Pattern, empty_call
from ..loop.memory import HOST_POLICY, HostMemory, slot_stride
from ..topology.device_identity import given_uuid, pci_address, visibility_mask

__all__ = ["DEVICE_SLOTS_BYTES", "DeviceMemory", "drain", "find_device", "identify", "memory_policy", "open_memory",
           "tensor"]

DEVICE_SLOTS_BYTES = 512 << 20      # limit for all slots together, on one rank: exceeds the caches of accelerators


class DeviceIdentity(TypedDict, total=False):
    """The fields of `RankDevice`, for a device of torch."""

    device: str
    devices: int
    identity: str | None
    name: str | None
    bus: str | None
    partition: int | None
    mask: str | None


class DeviceMemory:
    """`slots` buffers on an accelerator; compared there, so that only the verdict is copied to the host."""

    def __init__(self, slots: int, slot_bytes: int, device: torch.device) -> None:
        self.rows = torch.zeros((slots, slot_stride(slot_bytes)), dtype=torch.uint8, device=device)

    def keep(self, pattern: Pattern) -> torch.Tensor:
        return torch.from_numpy(pattern.image()).to(self.rows.device)

    def poison(self, value: int) -> None:
        self.rows.fill_(value)

    def write(self, rows: slice, at: int, pattern: torch.Tensor) -> None:
        self.rows[rows, at:at + pattern.numel()] = pattern

    def equal(self, rows: slice, at: int, pattern: torch.Tensor) -> bool:
        return bool((self.rows[rows, at:at + pattern.numel()] == pattern).all())

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        copied: np.ndarray = self.rows[row, at:at + length].cpu().numpy()
        return copied


def find_device(wanted: str, local_rank: int) -> torch.device:
    """The device of this rank, made current: `auto` is the accelerator if there is one, otherwise the CPU.

    UsageError if the requested accelerator is not available.
    """
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if wanted == "cpu" or (wanted == "auto" and here is None):
        return torch.device("cpu")
    if here is None or wanted not in ("auto", here.type):
        raise UsageError(f"device {wanted}: torch finds {here.type if here else 'no accelerator'} here")
    device = torch.device(here.type, local_rank % torch.accelerator.device_count())
    torch.accelerator.set_device_index(device.index)
    return device


def identify(device: torch.device) -> DeviceIdentity:
    """Identification of this rank's device for the other ranks; empty for the CPU, which all ranks share."""
    if device.type == "cpu":
        return {}
    count, own = torch.accelerator.device_count(), _chip(device)
    alike = [index for index in range(count) if _chip(torch.device(device.type, index)) == own] if any(own) else []
    kind = "hip" if device.type == "cuda" and torch.version.hip else device.type
    name = getattr(_properties(device), "name", None)
    return {"device": str(device), "devices": count, "identity": own[0], "name": name and str(name), "bus": own[1],
            "partition": alike.index(device.index) if len(alike) > 1 else None, "mask": visibility_mask(kind)}


def _chip(device: torch.device) -> tuple[str | None, str | None]:
    """Uuid and PCI address; partitions of one chip may have the same ones."""
    properties = _properties(device)
    return given_uuid(getattr(properties, "uuid", None)), pci_address(properties)


def _properties(device: torch.device) -> object:
    module = torch.get_device_module(device)
    return module.get_device_properties(device) if hasattr(module, "get_device_properties") else None


def drain(device: torch.device) -> Callable[[], object]:
    """A call that waits until all work on `device` is complete."""
    return empty_call if device.type == "cpu" else partial(torch.accelerator.synchronize, device)


def memory_policy(device: torch.device) -> str:
    """Description of how buffers on `device` are allocated, for the provenance."""
    return HOST_POLICY if device.type == "cpu" else f"one torch allocation on {device}; slots on 64-byte lines"


def open_memory(slots: int, slot_bytes: int, device: torch.device) -> HostMemory | DeviceMemory:
    """Slots on `device`."""
    return HostMemory(slots, slot_bytes) if device.type == "cpu" else DeviceMemory(slots, slot_bytes, device)


def tensor(memory: HostMemory | DeviceMemory, row: int, at: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """`length` bytes of one slot as a flat tensor that shares the memory."""
    raw = memory.rows[row, at:at + length]
    return (torch.from_numpy(raw) if isinstance(raw, np.ndarray) else raw).view(dtype)
