"""Accelerators by the files of their drivers, whether or not torch can use them; standard library only.

A graphics device of a laptop or a management controller has such files too, so for vendors that make both only the PCI
classes of accelerators count.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["HostAccelerators", "compute_capability", "find_device_files"]

# PCI Code and ID Assignment Specification: 3D controller, other display controller, processing accelerator.
_DISPLAY, _ACCELERATORS = (0x0302, 0x0380), (0x0302, 0x0380, 0x1200)
_INTEL_GRAPHICS = "0000:00:02.0"        # of the processor, in whatever class
_SMI_LIMIT_S = 20.0


class _Vendor(NamedTuple):
    """How to find the accelerators of one vendor.

    Args:
        files: patterns below the root.
        pci: vendor number, if a device of one of the `classes` has to be on the PCI bus as well; else None.
        version: file with the version of the driver, and a pattern whose first group is that version.
    """

    name: str
    files: tuple[str, ...]
    pci: int | None = None
    classes: tuple[int, ...] = _ACCELERATORS
    version: tuple[str, str] | None = None


# NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build ...
_VENDORS = (
    _Vendor("NVIDIA", ("dev/nvidia[0-9]*",),
            version=("proc/driver/nvidia/version", r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)")),
    _Vendor("AMD", ("dev/kfd",), pci=0x1002, version=("opt/rocm/.info/version", r"(\d+(?:\.\d+)+)")),
    _Vendor("Ascend", ("dev/davinci[0-9]*",)),
    _Vendor("Habana", ("dev/accel/accel[0-9]*",), pci=0x1DA3),
    _Vendor("Intel", ("dev/dri/renderD[0-9]*",), pci=0x8086, classes=_DISPLAY),      # not the NPU of a laptop
)


class HostAccelerators(NamedTuple):
    """Accelerators of one vendor on this host.

    Args:
        files: the device files, at least one.
        version: of the NVIDIA driver or of the installed ROCm; None if unknown.
        unreadable: the device files that this user may not open.
    """

    vendor: str
    files: tuple[str, ...]
    version: str | None = None
    unreadable: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The version as numbers."""
        return tuple(map(int, self.version.split("."))) if self.version else None


def find_device_files(root: Path = Path("/")) -> HostAccelerators | None:
    """The accelerators below `root`, those of the first vendor if there are several; None without any."""
    for vendor in _VENDORS:
        files = sorted((path for pattern in vendor.files for path in root.glob(pattern)), key=_by_number)
        if files and (vendor.pci is None or _on_pci(root, vendor)):
            return HostAccelerators(vendor.name, tuple(map(str, files)), _version(root, vendor),
                                    tuple(str(path) for path in files if not os.access(path, os.R_OK | os.W_OK)))
    return None


def compute_capability(program: Sequence[str] = ("nvidia-smi",)) -> tuple[int, int] | None:
    """The compute capability of the newest NVIDIA GPU, such as (9, 0), as nvidia-smi prints it; None if it does not."""
    try:
        done = subprocess.run([*program, "--query-gpu=compute_cap", "--format=csv,noheader"], capture_output=True,
                              text=True, timeout=_SMI_LIMIT_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.findall(r"^\s*(\d+)\.(\d+)\s*$", done.stdout, re.MULTILINE)
    return max(((int(major), int(minor)) for major, minor in found), default=None)


def _by_number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.name)
    return int(digits[0]) if digits else -1, path.name


def _on_pci(root: Path, vendor: _Vendor) -> bool:
    return any(_number(path / "vendor") == vendor.pci and (_number(path / "class") or 0) >> 8 in vendor.classes
               for path in (root / "sys/bus/pci/devices").glob("*") if path.name != _INTEL_GRAPHICS)


def _version(root: Path, vendor: _Vendor) -> str | None:
    if vendor.version is None:
        return None
    file, pattern = vendor.version
    match = re.search(pattern, _text(root / file) or "")
    return match[1] if match else None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path) or "", 0)
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
