"""Where sources look: a file tree, commands and libraries of this host, or those that a test puts in their place."""

import importlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

__all__ = ["Asked", "System"]

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
    """`root` holds /sys and /dev; `run` gives the standard output of a command, `load` a Python module, or None."""

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = _run
    load: Callable[[str], ModuleType | None] = _load

    def text(self, path: str) -> str | None:
        """Content of a file below the root, stripped; None where it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """The whole number in a file; None where there is none."""
        text = self.text(path)
        try:
            return int(text, 0) if text else None
        except ValueError:
            return None


class Asked(NamedTuple):
    """What a source found; `notes` say what it could not tell and why."""

    devices: list
    links: list[list[str]]
    notes: list[str]
