"""Where payloads live on a host: one policy for every transport, so that placement is no difference between them.

Anonymous pages, touched by their own rank before anything is timed; a slot for every call of a sample, so that each
timed call leaves an output of its own that can be checked. Slots start on cache lines, not on pages: page-aligned
slots would all fall into the same few sets of the first-level cache.
"""

import mmap
from typing import Protocol

import numpy as np

__all__ = ["HOST_POLICY", "HostMemory", "Memory", "Pattern", "slot_stride"]

HOST_POLICY = "anonymous pages, touched by their own rank; slots on 64-byte lines"
_LINE = 64

Pattern = object     # bytes in the form the memory compares fastest: a numpy array, or a tensor on the device


class Memory(Protocol):
    """What verification may ask of a buffer, wherever it lives. Rows are slots, bytes within a row by offset."""

    def keep(self, image: np.ndarray) -> Pattern:
        """Bring bytes to where the buffer lives, once."""

    def poison(self, value: int) -> None:
        """Overwrite every byte of every slot."""

    def write(self, rows: slice, at: int, pattern: Pattern) -> None:
        """Copy `pattern` into each of these slots."""

    def equal(self, rows: slice, at: int, pattern: Pattern) -> bool:
        """Whether each of these slots holds exactly `pattern`."""

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        """Bytes of one slot, on the host."""


def slot_stride(slot_bytes: int) -> int:
    """Bytes from one slot to the next."""
    return -(-max(slot_bytes, 1) // _LINE) * _LINE


class HostMemory:
    """`slots` buffers of `slot_bytes` in the memory of this process; `rows` is [slot, byte]."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        stride = slot_stride(slot_bytes)
        pages = mmap.mmap(-1, slots * stride)
        self.rows = np.frombuffer(pages, dtype=np.uint8).reshape(slots, stride)
        self.rows.fill(0)

    def keep(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(image)

    def poison(self, value: int) -> None:
        self.rows.fill(value)

    def write(self, rows: slice, at: int, pattern: np.ndarray) -> None:
        self.rows[rows, at:at + pattern.size] = pattern

    def equal(self, rows: slice, at: int, pattern: np.ndarray) -> bool:
        held = self.rows[rows, at:at + pattern.size]
        if (at | pattern.size) % 8 == 0:     # eight bytes at a time, and an eighth of the room for the answers
            held, pattern = held.view(np.uint64), pattern.view(np.uint64)
        return bool((held == pattern).all())

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        return self.rows[row, at:at + length].copy()
