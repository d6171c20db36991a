"""A private TMPDIR and /dev/shm directory per job, always removed.

Launchers and libraries that are killed leave files behind. These fill memory, and worse: Open MPI names its files by
process id, and aborts if an id recurs while the old files still exist. This process may be killed too: so a shell in a
session of its own waits for its end, and then ends the job, which nobody could stop any more, and removes the files.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["job_tmpdir", "places", "remove_abandoned"]

_PREFIX = "collbench-job-"
_YOUNG_S = 2.0              # a directory that was just made may not be locked yet
# Arguments are the directories, TMPDIR first. Every process of the job has that in its environment.
_GUARD = """
exec 3<&0
(
    trap '' HUP INT QUIT TERM
    job() { grep -lsaF "TMPDIR=$1" /proc/[0-9]*/environ | cut -d / -f 3; }
    read -r ended <&3 && exit
    kill -TERM $(job "$1") 2>/dev/null
    for i in 1 2 3 4 5 6 7 8 9 10; do
        [ -n "$(job "$1")" ] || break
        sleep 0.3
    done
    kill -KILL $(job "$1") 2>/dev/null
    sleep 0.2
    rm -rf -- "$@"
) &
"""
_SHARED_MEMORY = Path("/dev/shm")
# Where Open MPI puts the shared memory of ranks on one host: from version 5 on, and before.
_OPEN_MPI_SHARED = ("OMPI_MCA_btl_sm_backing_directory", "OMPI_MCA_btl_vader_backing_directory")


@contextmanager
def job_tmpdir(one_host: bool, environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, str]]:
    """Variables that give a job private temporary directories, which are removed at the end.

    Directories of earlier jobs that are left nevertheless are removed first. No variables for a job on several
    hosts: the directory would not exist on the others.
    """
    if not one_host:
        yield {}
        return
    with _private(places()[0]) as files, _private(places()[1]) as memory:
        own = {"TMPDIR": str(files)} if files else {}
        if files and not environment.get("HOME"):       # Open MPI and compiler caches need one
            own["HOME"] = str(files)
        if memory and not any(name in environment for name in _OPEN_MPI_SHARED):
            own.update(dict.fromkeys(_OPEN_MPI_SHARED, str(memory)))
        with _guarded([folder for folder in (files, memory) if folder]):
            yield own


@contextmanager
def _guarded(folders: Sequence[Path]) -> Iterator[None]:
    """If this process dies meanwhile, end the job whose TMPDIR is the first of `folders`, and remove them all."""
    try:
        guard = subprocess.Popen(["/bin/sh", "-c", _GUARD, "collbench-guard", *map(str, folders)], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 start_new_session=True) if folders else None
    except OSError:     # no shell: what is left is removed at the next start
        guard = None
    if guard is not None:
        guard.wait()        # the guard is no child of this process: those are launchers
    try:
        yield
    finally:
        if guard is not None:
            with suppress(OSError):     # it has been killed
                guard.communicate("ended\n")       # and wait for its end


@contextmanager
def _private(where: Path) -> Iterator[Path | None]:
    """A directory in `where` that only this user may enter, locked while in use; None if it cannot be made."""
    remove_abandoned(where)
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


def remove_abandoned(where: Path) -> list[Path]:
    """Remove directories of this user in `where` that nobody has locked: their supervisor is gone. Returns them."""
    removed = []
    for folder in where.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            held = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                found = os.fstat(held)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > _YOUNG_S:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                    removed.append(folder)
            finally:
                os.close(held)
    return removed


def places() -> list[Path]:
    """Where the directories of jobs are."""
    return [Path(tempfile.gettempdir()), _SHARED_MEMORY]
