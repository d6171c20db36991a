"""Verdicts for the tools that watch nodes: one module per format, found by this folder.

A module has `TITLE`, a few words for the help, and `write`, which makes the text of some verdicts. It may have
`STATUSES`, the exit status that its tool expects by verdict; without, statuses are those of the command.
"""

import pkgutil
from collections.abc import Sequence
from importlib import import_module

from collbench.collectives.records.fleet import Fleet

from ..judge import NodeVerdict

__all__ = ["FORMATS", "status_for_tool", "text_of"]

FORMATS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def text_of(name: str, fleet: Fleet, nodes: Sequence[NodeVerdict]) -> str:
    """The verdicts in the format `name`, a member of FORMATS."""
    return str(import_module(f".{name}", __name__).write(fleet, nodes))


def status_for_tool(name: str, node: NodeVerdict) -> int | None:
    """The exit status that the tool of the format expects for this node; None if it is that of the command."""
    statuses: dict[str, int] = getattr(import_module(f".{name}", __name__), "STATUSES", {})
    return statuses.get(node.verdict)
