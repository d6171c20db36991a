"""The file that makes a library do what won. One module per kind of file, found by this folder.

A module has TITLE, and `write(found, tuning)`, which returns the file, or None if nothing that won can be said in it.
"""

import pkgutil
from importlib import import_module

from collbench.collectives.records.tuning import Tuning

from ..winners import Found
from .rule_file import RuleFile

__all__ = ["WRITERS", "RuleFile", "rule_file"]

_LAST = "shell"     # what is written if no other module can say it
WRITERS = tuple(sorted((module.name for module in pkgutil.iter_modules(__path__) if module.name != "rule_file"),
                       key=lambda name: (name == _LAST, name)))


def rule_file(found: Found, tuning: Tuning) -> RuleFile | None:
    """The file for what won; None if nothing is known to be faster than the reference, or no file can say it."""
    for name in WRITERS:
        written: RuleFile | None = import_module(f".{name}", __name__).write(found, tuning)
        if written is not None:
            return written
    return None
