"""The logs of communication libraries: how to have them written, and what they tell. One module a library.

A module, found by this folder, has

- `TITLE`: the libraries that it is for;
- `variables(directory)`: environment variables that make them log into files in that directory;
- `parse(logs)`: the facts in the lines of several files, one file a process; None if they are not of these libraries.

Logs are text that several threads write at once: lines that match nothing are skipped, and nothing raises.
"""

import os
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from .facts import Choice, LibraryFacts

__all__ = ["LIBRARIES", "Choice", "LibraryFacts", "environment", "read"]

LIBRARIES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "facts"))


def environment(directory: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that make every known library log into files in `directory`, without those that `given` sets.

    Libraries read them once in each process, when the first communicator is made.
    """
    whole = directory.absolute()
    wanted = {name: value for library in LIBRARIES
              for name, value in import_module(f".{library}", __name__).variables(whole).items()}
    return {name: value for name, value in wanted.items() if name not in given}


def read(path: Path) -> LibraryFacts | None:
    """The facts in a log file, or in all files below a directory; None if no known library wrote there."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for library in LIBRARIES:
        facts: LibraryFacts | None = import_module(f".{library}", __name__).parse([_Lines(file) for file in files])
        if facts is not None:
            return facts
    return None


class _Lines:
    """The complete lines of a file, read anew for each iteration; none if it cannot be read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[str]:
        try:
            with self._file.open(encoding="utf-8", errors="replace") as lines:
                yield from (line for line in lines if line.endswith("\n"))
        except OSError:
            return
