"""Read a large journal in chunks, one process per core.

Reading is CPU-bound: JSON is decoded, and in a journal without digests so are up to a hundred million samples. Each
process builds the frames of its chunk; these are concatenated in file order.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from collbench.collectives.records.journal import BUFFER_BYTES, JournalChunk, unseal
from collbench.collectives.records.record import Run

from .background import run_in_child

__all__ = ["chunk_of", "read_chunks"]

_RUN_LINE = b'{"line":"run"'
_CHUNK_BYTES = 32 << 20       # a smaller chunk does not pay for another process
_MOST = 8
_FIRST = 1.12                   # length of the first chunk relative to the others, whose processes start later
Found = TypeVar("Found")


def read_chunks(path: Path, read: Callable[[JournalChunk], Found]) -> list[Found]:
    """Apply `read` to each chunk of the journal at `path`; results in file order."""
    first, *more = _cuts(path, _processes(path))
    others = [run_in_child(partial(_read, read, path, *cut)) for cut in more]
    return [_read(read, path, *first), *(other() for other in others)]


def _read(read: Callable[[JournalChunk], Found], path: Path, begin: int, end: int | None) -> Found:
    return read(chunk_of(path, begin, end))


def chunk_of(path: Path, begin: int, end: int | None) -> JournalChunk:
    """The chunk of whole lines from byte `begin`, with the number of its first line and the runs defined before it."""
    number, at = 1, 0
    runs: list[Run] = []
    if not begin:
        return JournalChunk(path, begin, number, (), end)
    with path.open("rb", buffering=BUFFER_BYTES) as file:
        while at < begin:
            raw = file.readline()
            number, at = number + 1, at + len(raw)
            if raw.startswith(_RUN_LINE):
                with suppress(ValueError):      # reported by the reader of that chunk
                    runs += [line for line in [unseal(raw)] if isinstance(line, Run)]
    return JournalChunk(path, begin, number, tuple(runs), end)


def _cuts(path: Path, count: int) -> list[tuple[int, int | None]]:
    """Byte ranges of at most `count` chunks of about equal length; an end of None is the end of the file."""
    begins = [0]
    if count > 1:
        with path.open("rb") as file:
            share = os.fstat(file.fileno()).st_size / (_FIRST + count - 1)
            for number in range(count - 1):
                file.seek(int((_FIRST + number) * share))
                file.readline()
                begins.append(file.tell())
    begins = sorted(set(begins))
    return [*zip(begins, [*begins[1:], None], strict=True)]


def _processes(path: Path) -> int:
    """Number of processes to read with: one per core where forking is safe."""
    if not sys.platform.startswith("linux"):
        return 1
    try:
        enough = path.stat().st_size // _CHUNK_BYTES
    except OSError:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), enough, _MOST))
