"""Memory that ranks of a host share has a name; who ends without the library's farewell must take the name away."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["forget_shared_memory"]

_WHERE = Path("/dev/shm")


def forget_shared_memory() -> None:
    """Remove the names of all memory that this process shares with others; who has it mapped keeps it until the end.

    Called when the job ends by force. Libraries map what their peers share too, so the names of ranks that were killed
    go as well. Files that are only read, such as a program that lies there, stay.
    """
    try:
        lines = Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, mode, _, _, _, *name = line.split(maxsplit=5)
        path = Path(name[0]) if name else Path()
        if mode == "rw-s" and path.parent == _WHERE:
            with suppress(OSError):
                if path.stat().st_uid == os.geteuid():
                    path.unlink()
