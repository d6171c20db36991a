"""One line per node that is not good, for a Slurm prolog or LBNL Node Health Check: the reason to drain it."""

from collections.abc import Sequence

from collbench.collectives.records.fleet import Fleet

from ..judge import GOOD, NodeVerdict
from ..show import node_text

__all__ = ["TITLE", "write"]

TITLE = "Slurm prolog and NHC"


def write(fleet: Fleet, nodes: Sequence[NodeVerdict]) -> str:
    """`collbench fleet: NODE: VERDICT: REASON` for each; one line that says good if all are."""
    bad = [node for node in nodes if node.verdict != GOOD]
    text = "".join(f"collbench fleet: {node_text(node)}\n" for node in bad)
    everyone = nodes[0].node if len(nodes) == 1 else f"all {len(nodes)} nodes"
    return text or f"collbench fleet: {everyone}: good\n"
