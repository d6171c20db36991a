"""Host buffers: one allocation policy for every transport, so that placement does not differ between them.

Private anonymous pages, touched by their own rank before anything is timed. Slots are aligned to cache lines rather
than to pages: page-aligned slots would all map to the same few sets of the first-level cache.
"""

import mmap
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np

from ..interfaces import Pattern
from ..topology import host
from ..topology.host_files import System

__all__ = ["HOST_POLICY", "HOST_SLOTS_BYTES", "HostMemory", "evict_host", "host_copy", "slot_stride"]

HOST_POLICY = "private anonymous pages, touched by their own rank; slots on 64-byte lines"
HOST_SLOTS_BYTES = 32 << 20     # limit for all slots together, on one rank
_LINE = 64
_UNKNOWN_CACHE = 64 << 20
_WORDS = tuple(map(np.dtype, (np.uint64, np.uint32, np.uint16, np.uint8)))


def slot_stride(slot_bytes: int) -> int:
    """Distance in bytes between the starts of consecutive slots."""
    return -(-max(slot_bytes, 1) // _LINE) * _LINE


@lru_cache(maxsize=1)
def _scratch() -> np.ndarray:
    """Twice the size of the largest cache."""
    return np.zeros(2 * (host.cache_bytes(System()) or _UNKNOWN_CACHE) // 8)


def evict_host() -> None:
    """Fill the private and shared caches of this core with other data."""
    scratch = _scratch()
    np.add(scratch, 1.0, out=scratch)


def host_copy(source: np.ndarray, target: np.ndarray) -> Callable[[], object]:
    """A call that copies within the memory of this process; numpy uses memcpy for all but small sizes."""
    return partial(np.copyto, target, source)


class HostMemory:
    """`slots` buffers of `slot_bytes` in host memory; `rows` is uint8 [slot, byte]."""

    by_core = True

    def __init__(self, slots: int, slot_bytes: int) -> None:
        stride = slot_stride(slot_bytes)
        # Private, as what malloc returns: the default of mmap is shared, from which some libraries copy faster.
        pages = mmap.mmap(-1, slots * stride, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.rows = np.frombuffer(pages, dtype=np.uint8).reshape(slots, stride)
        self.rows.fill(0)
        self._parts: dict[tuple[object, ...], list[tuple[np.ndarray, np.ndarray]]] = {}

    def keep(self, pattern: Pattern) -> Pattern:
        return pattern

    def poison(self, value: int) -> None:
        self.rows.fill(value)

    def poke(self, at: int, length: int, value: int) -> None:
        self.rows[0, at:at + length] = value

    def write(self, rows: slice, at: int, pattern: Pattern) -> None:
        for held, tile in self._tiled(rows, at, pattern):
            held[...] = tile

    def equal(self, rows: slice, at: int, pattern: Pattern) -> bool:
        return all((held == tile).all() for held, tile in self._tiled(rows, at, pattern))

    def _tiled(self, rows: slice, at: int, pattern: Pattern) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `_cut`, which would take longer than a small message. Patterns live as long as their slots."""
        key = rows.start, rows.stop, rows.step, at, id(pattern)
        if key not in self._parts:
            self._parts[key] = list(self._cut(rows, at, pattern))
        return self._parts[key]

    def _cut(self, rows: slice, at: int, pattern: Pattern) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Parts of the slots with their tiles, as broadcastable arrays of the widest words that divide all lengths."""
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
