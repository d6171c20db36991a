"""A large journal in portions, so that as many processes as there are cores can read it at once.

Reading is work for the processor, not for the disk: objects are made from text, and of a journal without digests the
whole numbers of a hundred million samples. Each process makes the frames of its portion, and these are put together in
the order of the file.
"""

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from collbench.collectives.records.journal import BUFFER_BYTES, JournalChunk, unseal

from .background import aside

__all__ = ["portion_of", "read_portions"]

_RUN_LINE = b'{"line":"run"'
_PORTION_BYTES = 32 << 20       # for less than this another process does not pay
_MOST = 8
_FIRST = 1.12                   # length of the first portion, if of the others 1: they are also started and sent back
Found = TypeVar("Found")


def read_portions(path: Path, read: Callable[[JournalChunk], Found]) -> list[Found]:
    """What `read` makes of each portion of the journal at `path`, in order."""
    first, *more = _cuts(path, _processes(path))
    others = [aside(partial(_read, read, path, *cut)) for cut in more]
    return [_read(read, path, *first), *(other() for other in others)]


def _read(read: Callable[[JournalChunk], Found], path: Path, begin: int, end: int | None) -> Found:
    return read(portion_of(path, begin, end))


def portion_of(path: Path, begin: int, end: int | None) -> JournalChunk:
    """Whole lines of the journal at `path`, from one that begins at byte `begin`: with their number and the runs before
    them."""
    number, runs, at = 1, [], 0
    with path.open("rb", buffering=BUFFER_BYTES) if begin else nullcontext() as file:
        while at < begin:
            raw = file.readline()
            number, at = number + 1, at + len(raw)
            if raw.startswith(_RUN_LINE):
                with suppress(ValueError):      # said by whoever reads that portion
                    runs.append(unseal(raw))
    return JournalChunk(path, begin, number, tuple(runs), end)


def _cuts(path: Path, count: int) -> list[tuple[int, int | None]]:
    """Where at most `count` portions of about equal length begin and end; None: with the file."""
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
    """How many to read with: one a core, where a process can be forked safely."""
    if not sys.platform.startswith("linux"):
        return 1
    try:
        enough = path.stat().st_size // _PORTION_BYTES
    except OSError:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), enough, _MOST))
