"""Measure collectives and point-to-point operations on one transport, verified, into a journal.

Public names, imported on first use: `Case`, `Sweep`, `Policy`, `Record`, `read_journal`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cases.case import Case, Sweep
    from .records.journal import read_journal
    from .records.record import Policy, Record

__all__ = ["Case", "Policy", "Record", "Sweep", "read_journal"]

_HOMES = {"Case": "cases.case", "Sweep": "cases.case", "Policy": "records.record", "Record": "records.record",
          "read_journal": "records.journal"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
