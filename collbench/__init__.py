"""Measure collective communication on the interconnect at hand, and predict it at 72 and 384 accelerators.

    import collbench as cb

    run = cb.load("results/latest")         # or a log of another tool, a tidy CSV, or a list of these
    run.points                              # a row per measured point, in SI units
    run.extrapolate([72, 384])              # the same operations over more ranks, with prediction intervals
    run.project("nvl72")                    # the same operations on another scale-up domain

The names in `__all__` are the public API; everything else in the package is private. docs/api.md describes it.
"""

import os.path
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._results import Results, domains, load
    from .collectives.errors import CollbenchError, MissingLibraryError

__all__ = ["CollbenchError", "MissingLibraryError", "Results", "domains", "load"]

_HOME = dict.fromkeys(("CollbenchError", "MissingLibraryError"), ".collectives.errors")


# In the repository the rooms are beside this folder. Python finds it by the working directory there, also where another
# collbench is installed.
if not os.path.isdir(os.path.join(__path__[0], "analysis")):
    __path__.append(os.path.dirname(__path__[0]))


def __getattr__(name: str) -> object:
    """Public names are imported on first use (PEP 562): `import collbench` alone brings no pandas."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME.get(name, "._results"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
