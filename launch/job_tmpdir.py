"""A private TMPDIR and /dev/shm directory per job, always removed.

Launchers and libraries that are killed leave files behind. These fill memory, and worse: Open MPI names its files by
process id, and aborts if an id recurs while the old files still exist.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["job_tmpdir"]

_PREFIX = "collbench-job-"
_YOUNG_S = 10.0             # a directory that was just made may not be locked yet
_SHARED_MEMORY = Path("/dev/shm")
# Where Open MPI puts the shared memory of ranks on one host: from version 5 on, and before.
_OPEN_MPI_SHARED = ("OMPI_MCA_btl_sm_backing_directory", "OMPI_MCA_btl_vader_backing_directory")


@contextmanager
def job_tmpdir(one_host: bool, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Variables that give a job private temporary directories, which are removed at the end.

    Directories of earlier jobs whose supervisor was killed are removed first. No variables for a job on several
    hosts: the directory would not exist on the others.
    """
    if not one_host:
        yield {}
        return
    with _private(Path(tempfile.gettempdir())) as files, _private(_SHARED_MEMORY) as memory:
        own = {"TMPDIR": str(files)} if files else {}
        if memory and not any(name in environment for name in _OPEN_MPI_SHARED):
            own.update(dict.fromkeys(_OPEN_MPI_SHARED, str(memory)))
        yield own


@contextmanager
def _private(where: Path) -> Iterator[Path | None]:
    """A directory in `where` that only this user may enter, locked while in use; None if it cannot be made."""
    _remove_abandoned(where)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
    except OSError:
        yield None
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_abandoned(where: Path) -> None:
    """Remove directories of this user that nobody has locked: their supervisor is gone."""
    for folder in where.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG_S:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
