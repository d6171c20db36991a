"""A job's own room for temporary files and for shared memory: gone when the job is, however it ended.

A launcher or a library that is killed leaves files behind. They fill memory, and they hurt: Open MPI names its files by
the number of its process, and ends at once where that number comes again and the files are still there.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["scratch"]

_PREFIX = "collbench-job-"
_YOUNG_S = 10.0             # a room that was made a moment ago may not be locked yet
_SHARED_MEMORY = Path("/dev/shm")
# Where Open MPI puts the memory that ranks of a host share: from version 5, and before.
_OPEN_MPI_SHARED = ("OMPI_MCA_btl_sm_backing_directory", "OMPI_MCA_btl_vader_backing_directory")


@contextmanager
def scratch(one_host: bool, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """What to add to the environment of a job so that its temporary files are its own; they are removed at the end.

    Rooms of jobs whose starter was killed are removed at the beginning. Nothing is added for a job on several hosts:
    the directory would not exist on the others.
    """
    if not one_host:
        yield {}
        return
    with _room(Path(tempfile.gettempdir())) as files, _room(_SHARED_MEMORY) as memory:
        own = {"TMPDIR": str(files)} if files else {}
        if memory and not any(name in environment for name in _OPEN_MPI_SHARED):
            own.update(dict.fromkeys(_OPEN_MPI_SHARED, str(memory)))
        yield own


@contextmanager
def _room(where: Path) -> Iterator[Path | None]:
    """A directory in `where` that nobody else may enter; None where none can be made."""
    _sweep(where)
    try:
        room = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
    except OSError:
        yield None
        return
    held = os.open(room, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        os.close(held)


def _sweep(where: Path) -> None:
    """Remove the rooms of this user whose starter is gone: nobody holds their locks any more."""
    for room in where.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            held = os.open(room, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG_S:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(room, ignore_errors=True)
            finally:
                os.close(held)
