"""Sequences of calls that training and inference make: one module each, found by its folder.

A module has `TITLE`, `AXIS` (the axis that makes its calls, if the mesh has it; otherwise all ranks do), `PARAMETERS`
(whole numbers, by name, with their defaults) and `calls(size, ranks, **parameters)`: the calls of one axis of `ranks`
ranks, where `size` is the message size of the case. Defaults and calls of an existing sequence must never change, since
its name and parameters identify it.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType

__all__ = ["shipped"]


@cache
def shipped() -> Mapping[str, ModuleType]:
    """The module of each sequence, by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return MappingProxyType({name: importlib.import_module(f"{__name__}.{name}") for name in names})
