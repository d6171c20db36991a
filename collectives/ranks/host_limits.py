"""What this host has left to give."""

import re
import resource
import shutil
from pathlib import Path

from ..cases.case import rank_counts
from ..errors import UsageError

__all__ = ["available_bytes", "open_files_needed", "raise_open_files", "room_bytes", "shared_memory",
           "why_too_little_shared"]

_SHARED_BYTES = 16 << 20    # of /dev/shm that a rank of Open MPI takes; nccl takes less
_OWN_FILES = 100        # of a rank by itself: libraries, the store, the journal, pipes


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, in bytes; None where the system does not say."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def room_bytes(local_ranks: int) -> int | None:
    """What one of `local_ranks` ranks on this host can take; None where the system does not say."""
    available = available_bytes()
    return None if available is None else available // local_ranks


def shared_memory(ranks: int) -> tuple[int, int, int] | None:
    """Bytes of /dev/shm in all and free, and what so many ranks on this host take at most; None where there is none."""
    try:
        size = shutil.disk_usage("/dev/shm")
    except OSError:
        return None
    return size.total, size.free, ranks * _SHARED_BYTES


def why_too_little_shared(ranks: int) -> str | None:
    """In words, when so many ranks of MPI may not find the memory that they would share."""
    if (found := shared_memory(ranks)) is None:
        return "there is no /dev/shm: MPI uses slower ways (mount -t tmpfs tmpfs /dev/shm)"
    _, free, need = found
    if free >= need:
        return None
    return (f"/dev/shm has {free >> 20} MiB free, and {ranks} ranks take up to {need >> 20} MiB: MPI may end, or use "
            "slower ways (containers: --shm-size=8g or --ipc=host; else mount -o remount,size=8g /dev/shm)")


def open_files_needed(ranks: int) -> int:
    """Of rank 0 of so many: gloo keeps a socket to every other rank of each group, timed and for control.

    Rank 0 also has one to every rank for the store where they meet, and one for the watchdog.
    """
    return _OWN_FILES + 2 * ranks + 2 * sum(count - 1 for count in {*rank_counts(ranks), ranks})


def raise_open_files(ranks: int) -> None:
    """Lift this process's limit to what the system allows. UsageError where not even one group has its sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    need = _OWN_FILES + 4 * ranks
    if hard != resource.RLIM_INFINITY and hard < need:
        raise UsageError(f"this host allows {hard} open files a process, but a rank of {ranks} needs {need}: raise the "
                         f"hard limit (ulimit -Hn, limits.conf), or start at most {max(1, (hard - _OWN_FILES) // 4)}")
