"""What this host has left to give."""

import re
import resource
from pathlib import Path

from .cases import rank_counts
from .errors import UsageError

__all__ = ["available_bytes", "open_files_needed", "raise_open_files", "room_bytes"]

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
