"""Buffers as tensors: host memory if the device is the CPU, otherwise one allocation on the device."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypedDict

import numpy as np
import torch

from ..errors import UsageError
from ..interfaces import Pattern, empty_call
from ..loop.memory import HOST_POLICY, HostMemory, slot_stride
from ..topology import accelerators_present
from ..topology.device_identity import given_uuid, pci_address, visibility_mask

__all__ = ["DEVICE_SLOTS_BYTES", "DeviceMemory", "drain", "drain_queue", "find_device", "identify", "memory_policy",
           "open_memory", "tensor"]

DEVICE_SLOTS_BYTES = 512 << 20      # limit for all slots together, on one rank: exceeds the caches of accelerators
_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)
_COMPARED_WORDS = 64 << 20          # words compared at once: a byte of temporary memory for each


class DeviceIdentity(TypedDict, total=False):
    """The fields of `RankDevice`, for a device of torch."""

    device: str
    devices: int
    identity: str | None
    name: str | None
    bus: str | None
    partition: int | None
    mask: str | None


class KeptPattern(NamedTuple):
    """A `Pattern` on the device: tiles as uint8 [piece, byte], and the length of every piece in bytes."""

    tiles: torch.Tensor
    piece_bytes: int

    @property
    def size(self) -> int:
        """Total bytes."""
        return len(self.tiles) * self.piece_bytes


class DeviceMemory:
    """`slots` buffers on an accelerator, filled and compared there; only the verdict is copied to the host.

    Patterns stay tiles: a whole image would be made on one core of the host and take as much memory as the buffers.
    """

    by_core = False

    def __init__(self, slots: int, slot_bytes: int, device: torch.device) -> None:
        self.rows = torch.zeros((slots, slot_stride(slot_bytes)), dtype=torch.uint8, device=device)

    def keep(self, pattern: Pattern) -> KeptPattern:
        return KeptPattern(torch.from_numpy(pattern.tiles).to(self.rows.device), pattern.piece_bytes)

    def poison(self, value: int) -> None:
        self.rows.fill_(value)

    def poke(self, at: int, length: int, value: int) -> None:
        self.rows[0, at:at + length].fill_(value)

    def write(self, rows: slice, at: int, pattern: KeptPattern) -> None:
        for held, tile in _tiled(self.rows[rows], at, pattern):
            held.copy_(tile)

    def equal(self, rows: slice, at: int, pattern: KeptPattern) -> bool:
        verdicts = [(part == tile).all() for held, tile in _tiled(self.rows[rows], at, pattern)
                    for part in held.split(max(1, _COMPARED_WORDS * held.shape[2] // max(1, held.numel())), 2)]
        return not verdicts or bool(torch.stack(verdicts).all())

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        copied: np.ndarray = self.rows[row, at:at + length].cpu().numpy()
        return copied


def _tiled(rows: torch.Tensor, at: int, pattern: KeptPattern) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Parts of the slots as [slot, piece, repetition, word] with broadcastable tiles, in words as wide as possible."""
    length = pattern.tiles.shape[1]
    if not pattern.size or not len(rows):
        return
    lengths = at | pattern.piece_bytes | length
    word = next(word for word in _WORDS if lengths % word.itemsize == 0)
    region = rows[:, at:at + pattern.size].view(word).unflatten(1, (len(pattern.tiles), -1))
    tiles = pattern.tiles.view(word)[None, :, None, :]
    each = tiles.shape[3]
    whole = region.shape[2] // each * each
    if whole:
        yield region[:, :, :whole].unflatten(2, (-1, each)), tiles
    if whole < region.shape[2]:
        yield region[:, :, None, whole:], tiles[..., :region.shape[2] - whole]


def find_device(wanted: str, local_rank: int) -> torch.device:
    """The device of this rank, made current: `auto` is the accelerator if there is one, otherwise the CPU.

    UsageError if the requested accelerator is not available.
    """
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if wanted == "auto" and here is None and accelerators_present():
        raise UsageError(f"torch {torch.__version__} finds no accelerator, but this host has some (collbench doctor "
                         "says why); to measure the CPUs instead, pass --device cpu")
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


def drain_queue(device: torch.device) -> Callable[[], object]:
    """A call that waits until the work in this thread's queue is complete, and what that work waits for."""
    if device.type == "cpu":
        return empty_call

    def wait() -> None:
        torch.accelerator.current_stream(device).synchronize()
    return wait


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
