"""Buffers as tensors: the host's own memory where the device is the CPU, one allocation on the device otherwise."""

import numpy as np
import torch

from ..memory import HostMemory, slot_stride

__all__ = ["DeviceMemory", "open_memory", "tensor"]


class DeviceMemory:
    """`slots` buffers on an accelerator; compared there, so that nothing but a verdict crosses to the host."""

    def __init__(self, slots: int, slot_bytes: int, device: torch.device) -> None:
        self.rows = torch.zeros((slots, slot_stride(slot_bytes)), dtype=torch.uint8, device=device)

    def keep(self, image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.rows.device)

    def poison(self, value: int) -> None:
        self.rows.fill_(value)

    def write(self, rows: slice, at: int, pattern: torch.Tensor) -> None:
        self.rows[rows, at:at + pattern.numel()] = pattern

    def equal(self, rows: slice, at: int, pattern: torch.Tensor) -> bool:
        return bool((self.rows[rows, at:at + pattern.numel()] == pattern).all())

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        return self.rows[row, at:at + length].cpu().numpy()


def open_memory(slots: int, slot_bytes: int, device: torch.device) -> HostMemory | DeviceMemory:
    """Slots on `device`."""
    return HostMemory(slots, slot_bytes) if device.type == "cpu" else DeviceMemory(slots, slot_bytes, device)


def tensor(memory: HostMemory | DeviceMemory, row: int, at: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """`length` bytes of one slot as a flat tensor that shares the memory."""
    raw = memory.rows[row, at:at + length]
    return (torch.from_numpy(raw) if isinstance(raw, np.ndarray) else raw).view(dtype)
