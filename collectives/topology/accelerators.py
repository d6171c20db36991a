"""The number of devices or cores on this host, found before any rank starts."""

import glob
import json
import os
import subprocess
import sys
from typing import NamedTuple

from ..device_files import find_device_files
from .host_files import System

__all__ = ["Accelerators", "accelerators_present", "find_accelerators", "usable_cores"]

# Device files of accelerator drivers (NVIDIA, Ascend, AMD, Habana and Intel). Importing torch takes seconds, so it is
# done only if one of these exists.
_DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/davinci[0-9]*", "/dev/kfd", "/dev/accel/accel*", "/dev/dri/renderD*",
                 "/dev/dxg")
_PROBE = ("import json, torch\n"
        "a = torch.accelerator\n"
        "print(json.dumps([a.current_accelerator().type, a.device_count()] if a.is_available() else None))")


class Accelerators(NamedTuple):
    """Devices of one kind on this host, as counted by torch."""

    kind: str
    count: int      # type: ignore[assignment]  # hides tuple.count, which nothing uses


def find_accelerators() -> Accelerators | None:
    """The accelerators that torch can use on this host; None without accelerators or torch."""
    if not any(map(glob.glob, _DEVICE_FILES)):
        return None
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return Accelerators(*found) if found else None


def accelerators_present(system: System = System()) -> bool:        # noqa: B008  (a tuple of constants)
    """Whether this host has accelerators, whatever can use them.

    By device files and sysfs alone: no library or program of a driver is started, so that every rank may ask.
    """
    return find_device_files(system.root) is not None


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use, which containers and core binding restrict."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
