"""Node Problem Detector, custom plugin: exit status 0 OK, 1 a problem, 2 unknown, and a message of 80 characters.

Source: kubernetes/node-problem-detector, docs/custom_plugin_monitor.md; `max_output_length` is 80 by default.
"""

from collections.abc import Sequence
from types import MappingProxyType

from collbench.collectives.records.fleet import Fleet

from ..judge import BROKEN, CANNOT_TELL, GOOD, SLOW, NodeVerdict
from ..show import node_text

__all__ = ["STATUSES", "TITLE", "write"]

TITLE = "Node Problem Detector"
STATUSES = MappingProxyType({GOOD: 0, SLOW: 1, BROKEN: 1, CANNOT_TELL: 2})
_LONGEST = 80


def write(fleet: Fleet, nodes: Sequence[NodeVerdict]) -> str:
    """One line per node; the plugin of a node prints only its own."""
    return "".join(f"{_short(node)}\n" for node in nodes)


def _short(node: NodeVerdict) -> str:
    if node.verdict == SLOW:
        text = f"{node.verdict}: {node.factor:.2f}x in {node.case}, {node.pairs} pairs ({node.node})"
    else:
        text = f"{node.verdict} ({node.node})" if not node.reason else f"{node.verdict}: {node.reason} ({node.node})"
    if text.isascii() and len(text) <= _LONGEST:
        return text
    text = node_text(node).partition(": ")[2].encode("ascii", "replace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST - 3]}..."
