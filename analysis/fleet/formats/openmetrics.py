"""Verdicts as metrics, for a collector of text files such as that of Prometheus' node exporter."""

from collections.abc import Sequence
from datetime import datetime

from collbench.collectives.records.fleet import Fleet

from ...text.metric_text import escaped, heading
from ..judge import BROKEN, CANNOT_TELL, GOOD, SLOW, NodeVerdict

__all__ = ["TITLE", "write"]

TITLE = "OpenMetrics text file"
_FACTORS = {"": ("Time over that of the median node, the median of its pairs.", "factor"),
            "_lower": ("The smallest of its pairs.", "factor_lo"), "_upper": ("The largest.", "factor_hi")}


def write(fleet: Fleet, nodes: Sequence[NodeVerdict]) -> str:
    """A gauge of 0 or 1 for each node and verdict, its factor with the extremes of its pairs, and their number."""
    text = [*heading("collbench_fleet_node", "1 for the verdict on the node, 0 for the others.")]
    text += [f'collbench_fleet_node{{node="{escaped(node.node)}",verdict="{word}"}} {int(node.verdict == word)}'
             for node in nodes for word in (GOOD, SLOW, BROKEN, CANNOT_TELL)]
    for suffix, (words, field) in _FACTORS.items():
        name = f"collbench_fleet_node_time{suffix}_ratio"
        values = [(node, getattr(node, field)) for node in nodes if getattr(node, field) is not None]
        if values:
            text += [*heading(name, words, "ratio"),
                     *(f'{name}{{node="{escaped(node.node)}",case="{escaped(node.case)}"}} {value:.6g}'
                       for node, value in values)]
    text += [*heading("collbench_fleet_node_pairs", "Launches over two nodes that the node took part in."),
             *(f'collbench_fleet_node_pairs{{node="{escaped(node.node)}"}} {node.pairs}' for node in nodes),
             *heading("collbench_fleet_started_timestamp_seconds", "Start of the sweep.", "seconds"),
             f"collbench_fleet_started_timestamp_seconds {datetime.fromisoformat(fleet.started).timestamp():.0f}",
             "# EOF"]
    return "\n".join(text) + "\n"
