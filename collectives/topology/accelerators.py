"""What is here to measure between, asked before anything starts: accelerators if there are any, cores otherwise."""

import glob
import json
import os
import subprocess
import sys
from typing import NamedTuple

__all__ = ["Accelerators", "find_accelerators", "usable_cores"]

# Device files of accelerator drivers (NVIDIA, Ascend, AMD, Habana and Intel). Asking torch takes seconds, so it is
# asked only where one of these exists.
_DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/davinci[0-9]*", "/dev/kfd", "/dev/accel/accel*", "/dev/dri/renderD*",
                 "/dev/dxg")
_ASK = ("import json, torch\n"
        "a = torch.accelerator\n"
        "print(json.dumps([a.current_accelerator().type, a.device_count()] if a.is_available() else None))")


class Accelerators(NamedTuple):
    """Devices of one kind on this host, as torch counts them."""

    kind: str
    count: int


def find_accelerators() -> Accelerators | None:
    """The accelerators that torch can use here; None when there are none, or no torch to ask."""
    if not any(map(glob.glob, _DEVICE_FILES)):
        return None
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return Accelerators(*found) if found else None


def usable_cores() -> list[int]:
    """Numbers of the cores that this process may use: fewer than there are in a container, or where ranks are bound."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
