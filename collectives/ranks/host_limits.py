"""Free memory, file descriptors and shared memory on this host."""

import re
import resource
import shutil
from pathlib import Path

from ..cases.case import rank_counts
from ..errors import UsageError

__all__ = ["available_bytes", "open_files_needed", "raise_open_files", "room_bytes", "shared_memory",
           "why_too_little_shared"]

_SHARED_BYTES = 16 << 20    # of /dev/shm per rank of Open MPI; NCCL needs less
_OWN_FILES = 100            # per rank, besides sockets to peers: libraries, the store, the journal, pipes


def available_bytes() -> int | None:
    """Memory that can be allocated without swapping, in bytes; None if unknown."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def room_bytes(local_ranks: int) -> int | None:
    """Memory available to each of `local_ranks` ranks on this host, in bytes; None if unknown."""
    available = available_bytes()
    return None if available is None else available // local_ranks


def shared_memory(ranks: int) -> tuple[int, int, int] | None:
    """/dev/shm in bytes: total, free, and the most that this many ranks need; None if it does not exist."""
    try:
        size = shutil.disk_usage("/dev/shm")
    except OSError:
        return None
    return size.total, size.free, ranks * _SHARED_BYTES


def why_too_little_shared(ranks: int) -> str | None:
    """Why /dev/shm may be too small for this many MPI ranks on this host, or None."""
    if (found := shared_memory(ranks)) is None:
        return "there is no /dev/shm: MPI falls back to slower transports (mount -t tmpfs tmpfs /dev/shm)"
    _, free, need = found
    if free >= need:
        return None
    return (f"/dev/shm has {free >> 20} MiB free, and {ranks} ranks need up to {need >> 20} MiB: MPI may abort or fall "
            "back to slower transports (containers: --shm-size=8g or --ipc=host; else mount -o remount,size=8g "
            "/dev/shm)")


def open_files_needed(ranks: int) -> int:
    """Open files of rank 0, which needs the most, in a job of `ranks` ranks.

    gloo keeps a socket to every other rank of each group, both for timed and for control operations. Rank 0 has two
    more per rank, for the rendezvous store and for the watchdog.
    """
    return _OWN_FILES + 2 * ranks + 2 * sum(count - 1 for count in {*rank_counts(ranks), ranks})


def raise_open_files(ranks: int) -> None:
    """Raise this process's limit to the hard limit. UsageError if that is too low even for a single group."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    need = _OWN_FILES + 4 * ranks
    if hard != resource.RLIM_INFINITY and hard < need:
        raise UsageError(f"this host allows {hard} open files per process, but each of {ranks} ranks needs {need}: "
                         "raise the hard limit (ulimit -Hn, limits.conf), or start at most "
                         f"{max(1, (hard - _OWN_FILES) // 4)} ranks")
