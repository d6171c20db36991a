"""Families of operations: one module each, with `OPERATIONS`, its rows of the catalog."""

import importlib
import pkgutil

from ..operation import Operation

__all__ = ["operations"]


def operations() -> tuple[Operation, ...]:
    """The rows of all families, in the order of their modules' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(row for name in names for row in importlib.import_module(f"{__name__}.{name}").OPERATIONS)
