"""Health events of NVSentinel, one JSON object per line: the message HealthEvent in its JSON mapping.

Source: NVIDIA/NVSentinel, data-models/protobufs/health_event.proto. A node that is good is an event as well, which ends
an earlier problem; one that the sweep cannot tell about is none.
"""

import json
from collections.abc import Sequence

from collbench.collectives.records.fleet import Fleet

from ..judge import BROKEN, CANNOT_TELL, GOOD, NodeVerdict
from ..show import node_text

__all__ = ["TITLE", "write"]

TITLE = "NVSentinel"
_VERSION = 1        # of the message


def write(fleet: Fleet, nodes: Sequence[NodeVerdict]) -> str:
    """One event per node whose verdict is known."""
    return "".join(f"{json.dumps(_event(fleet, node))}\n" for node in nodes if node.verdict != CANNOT_TELL)


def _event(fleet: Fleet, node: NodeVerdict) -> dict[str, object]:
    """Only a broken node is fatal, for which NVSentinel quarantines a node by default."""
    good = node.verdict == GOOD
    factor = {} if node.factor is None else {"factor": f"{node.factor:.4g}", "case": node.case}
    return {"version": _VERSION, "agent": "collbench", "componentClass": "Node", "checkName": "CollbenchFleet",
            "isFatal": node.verdict == BROKEN, "isHealthy": good, "message": node_text(node),
            "recommendedAction": "NONE" if good else "CONTACT_SUPPORT",
            "errorCode": [] if good else [f"COLLBENCH_NODE_{node.verdict.upper()}"],
            "entitiesImpacted": [{"entityType": "NODE", "entityValue": node.node}],
            "metadata": {"sweep": fleet.id, "pairs": str(node.pairs), "bad_pairs": str(node.bad), **factor},
            "generatedTimestamp": fleet.started, "nodeName": node.node}
