"""Where payloads live on a host: one policy for every transport, so that placement is no difference between them.

Anonymous pages, touched by their own rank before anything is timed; a slot for every call of a sample, so that each
timed call leaves an output of its own that can be checked. Slots start on cache lines, not on pages: page-aligned
slots would all fall into the same few sets of the first-level cache.
"""

import mmap
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple, Protocol

import numpy as np

from ..topology import describe

__all__ = ["HOST_POLICY", "HOST_SLOTS_BYTES", "HostMemory", "Kept", "Memory", "Pattern", "evict_host", "host_copy",
           "slot_stride"]

HOST_POLICY = "anonymous pages, touched by their own rank; slots on 64-byte lines"
HOST_SLOTS_BYTES = 32 << 20     # of all slots together, on one rank
_LINE = 64
_UNKNOWN_CACHE = 64 << 20
_WORDS = tuple(map(np.dtype, (np.uint64, np.uint32, np.uint16, np.uint8)))

Kept = object       # a pattern in the form that a memory compares fastest: as it is, or a tensor on the device


class Pattern(NamedTuple):
    """Bytes made of pieces of equal length, each of which repeats its tile; a plain image is one piece, one tile.

    Large buffers are filled from and compared with something that stays in the first caches: a second copy of them
    would push out what is about to be sent.

    Args:
        tiles: uint8 [piece, byte].
        piece_bytes: length of every piece; the last repetition of a tile may be cut.
    """

    tiles: np.ndarray
    piece_bytes: int

    @property
    def size(self) -> int:
        """Bytes of the whole."""
        return len(self.tiles) * self.piece_bytes

    def image(self) -> np.ndarray:
        """The whole, as uint8."""
        return np.concatenate([np.resize(tile, self.piece_bytes) for tile in self.tiles])


class Memory(Protocol):
    """What verification may ask of a buffer, wherever it lives. Rows are slots, bytes within a row by offset."""

    def keep(self, pattern: Pattern) -> Kept:
        """Bring a pattern to where the buffer lives, once."""

    def poison(self, value: int) -> None:
        """Overwrite every byte of every slot."""

    def write(self, rows: slice, at: int, pattern: Kept) -> None:
        """Copy `pattern` into each of these slots."""

    def equal(self, rows: slice, at: int, pattern: Kept) -> bool:
        """Whether each of these slots holds exactly `pattern`."""

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        """Bytes of one slot, on the host."""


def slot_stride(slot_bytes: int) -> int:
    """Bytes from one slot to the next."""
    return -(-max(slot_bytes, 1) // _LINE) * _LINE


@lru_cache(maxsize=1)
def _scratch() -> np.ndarray:
    """Twice what the largest cache holds."""
    return np.zeros(2 * (describe().cache_bytes or _UNKNOWN_CACHE) // 8)


def evict_host() -> None:
    """Fill the caches of this core, and those that it shares, with something else."""
    scratch = _scratch()
    np.add(scratch, 1.0, out=scratch)


def host_copy(source: np.ndarray, target: np.ndarray) -> Callable[[], object]:
    """What copies one part of this process's memory to another; the C library's memcpy for all but small sizes."""
    return partial(np.copyto, target, source)


class HostMemory:
    """`slots` buffers of `slot_bytes` in the memory of this process; `rows` is [slot, byte]."""

    def __init__(self, slots: int, slot_bytes: int) -> None:
        stride = slot_stride(slot_bytes)
        pages = mmap.mmap(-1, slots * stride)
        self.rows = np.frombuffer(pages, dtype=np.uint8).reshape(slots, stride)
        self.rows.fill(0)

    def keep(self, pattern: Pattern) -> Pattern:
        return pattern

    def poison(self, value: int) -> None:
        self.rows.fill(value)

    def write(self, rows: slice, at: int, pattern: Pattern) -> None:
        for held, tile in self._tiled(rows, at, pattern):
            held[...] = tile

    def equal(self, rows: slice, at: int, pattern: Pattern) -> bool:
        return all((held == tile).all() for held, tile in self._tiled(rows, at, pattern))

    def _tiled(self, rows: slice, at: int, pattern: Pattern) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Parts of the slots beside what belongs there, shaped to be assigned or compared, in the widest words."""
        length = pattern.tiles.shape[1]
        whole = pattern.piece_bytes // length * length
        word = next(word for word in _WORDS if (at | pattern.piece_bytes | length) % word.itemsize == 0)
        for piece, tile in enumerate(pattern.tiles):
            begin = at + piece * pattern.piece_bytes
            part = self.rows[rows, begin:begin + whole].view(word)
            yield part.reshape(len(part), whole // length, length // word.itemsize), tile.view(word)
            if whole < pattern.piece_bytes:
                rest = self.rows[rows, begin + whole:begin + pattern.piece_bytes]
                yield rest, tile[:rest.shape[1]]

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        return self.rows[row, at:at + length].copy()
