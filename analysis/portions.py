"""A large journal in portions, so that as many processes as there are cores can read it at once.

Reading is work for the processor, not for the disk: objects are made from text, and of a journal without digests the
whole numbers of a hundred million samples. Each process makes the frames of its portion, and these are put together in
the order of the file.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from collectives.journal import BUFFER_BYTES, Portion, unseal
from collectives.records import Run

__all__ = ["portions_of", "read_portions"]

_RUN_LINE = b'{"line":"run"'
_PORTION_BYTES = 32 << 20       # for less than this another process does not pay
_MOST = 8
Found = TypeVar("Found")


def read_portions(path: Path, read: Callable[[Portion], Found]) -> list[Found]:
    """What `read`, a function of a module, makes of each portion of the journal at `path`, in order."""
    portions = portions_of(path, _processes(path))
    if len(portions) > 1:
        try:
            with ProcessPoolExecutor(len(portions) - 1, multiprocessing.get_context("fork")) as pool:
                others = [pool.submit(read, portion) for portion in portions[1:]]
                return [read(portions[0]), *(other.result() for other in others)]
        except BrokenProcessPool:       # one was killed, for want of memory as a rule: alone needs less
            pass
    return [read(portion) for portion in portions]


def portions_of(path: Path, count: int) -> list[Portion]:
    """The journal at `path` in at most `count` portions of about equal length."""
    if count < 2:
        return [Portion(path)]
    starts: list[tuple[int, int, tuple[Run, ...]]] = []
    share, at, runs = -(-path.stat().st_size // count), 0, []
    with path.open("rb", buffering=BUFFER_BYTES) as file:
        for number, raw in enumerate(file, 1):
            if at >= len(starts) * share:
                starts.append((at, number, tuple(runs)))
            at += len(raw)
            if raw.startswith(_RUN_LINE):
                with suppress(ValueError):      # said by whoever reads that portion
                    runs.append(unseal(raw))
    ends = [*(begin for begin, _, _ in starts[1:]), None]
    return [Portion(path, *start, end) for start, end in zip(starts, ends, strict=True)]


def _processes(path: Path) -> int:
    """How many to read with: one a core, where a process can be forked safely."""
    if not sys.platform.startswith("linux"):
        return 1
    try:
        enough = path.stat().st_size // _PORTION_BYTES
    except OSError:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), enough, _MOST))
