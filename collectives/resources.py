"""What this host has left to give."""

import re
from pathlib import Path

__all__ = ["available_bytes"]


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, in bytes; None where the system does not say."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
