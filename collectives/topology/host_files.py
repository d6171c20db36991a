"""Access of the probes to the host: files, commands and libraries, or substitutes in a test."""

import importlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from .model import DeviceInfo

__all__ = ["ProbeAnswer", "System"]

_PATIENCE_S = 20.0


def _run(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _load(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


class System(NamedTuple):
    """`root` contains /sys and /dev; `run` returns the output of a command, `load` a module; either may be None."""

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = _run
    load: Callable[[str], ModuleType | None] = _load

    def text(self, path: str) -> str | None:
        """Content of a file below the root, stripped; None if unreadable."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The integer in a file; None if there is none."""
        text = self.text(path)
        try:
            return int(text, 0) if text else None
        except ValueError:
            return None


class ProbeAnswer(NamedTuple):
    """What a probe found: devices, links [device][device], and notes on what it could not find and why."""

    devices: list[DeviceInfo]
    links: list[list[str]]
    notes: list[str]
