"""Text of files made safe to show: names in logs, journals and domain files are untrusted.

A control character moves the cursor of a terminal, and one that XML has not aborts the library that draws figures.
"""

from typing import TypeVar

import msgspec

from collbench.collectives.errors import printable

__all__ = ["safe_struct", "safe_text"]

Struct = TypeVar("Struct", bound=msgspec.Struct)


def safe_text(value: object, keep: str = "") -> object:
    """`value` with every text in it escaped as by `printable`: a text, or lists and dictionaries of anything."""
    if isinstance(value, str):
        return value if value.isprintable() else printable(value, keep)
    if isinstance(value, dict):
        return {safe_text(key): safe_text(one, keep) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [safe_text(one, keep) for one in value]
    return value


def safe_struct(made: Struct) -> Struct:
    """`made` with every text in it escaped; itself where none has to be."""
    plain = msgspec.to_builtins(made)
    safe = safe_text(plain)
    return made if safe == plain else msgspec.convert(safe, type(made))
