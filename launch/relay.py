"""The output of a launcher on a pipe whose reader may leave, as `head` does: mpirun would abort the job."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

__all__ = ["relayed_output"]

_BLOCK = 1 << 16
_DRAIN_S = 5.0          # a process that left the job may hold the pipe open


@contextmanager
def relayed_output() -> Iterator[int | None]:
    """A descriptor for the output of a process; None, for our own, if standard output is no pipe.

    What is written to it is copied to standard output while somebody reads that, and dropped afterwards.
    """
    if not stat.S_ISFIFO(os.fstat(1).st_mode):
        yield None
        return
    sys.stdout.flush()
    source, sink = os.pipe()
    copier = Thread(target=_copy, args=(source, os.dup(1)), daemon=True)
    copier.start()
    try:
        yield sink
    finally:
        os.close(sink)
        copier.join(_DRAIN_S)


def _copy(source: int, target: int) -> None:
    read_on = True
    with open(source, "rb", buffering=0) as lines, open(target, "wb", buffering=0) as shown:
        while block := lines.read(_BLOCK):
            try:
                while read_on and block:
                    block = block[shown.write(block):]
            except OSError:
                read_on = False
