"""HCCL's selection, from the alpha-beta formulas of its user guide and the constants of its cost model."""

import math
from collections.abc import Iterator

from ..algorithms import algorithm_named
from . import Choice, Fabric, constants

__all__ = ["weigh"]


def weigh(op: str, payload_bytes: float, ranks: int, fabric: Fabric) -> Iterator[Choice]:
    """Every algorithm that HCCL offers for `op` inside a scale-up domain."""
    table = constants("hccl")
    share = table["mesh_share"] if fabric.mesh else table["switched_share"]
    half = table["mesh_half_bytes"] if fabric.mesh else table["switched_half_bytes"]
    rate_Bps = fabric.rate_Bps * share * payload_bytes / (payload_bytes + half) if payload_bytes else fabric.rate_Bps
    step_us = math.exp(sum(map(math.log, table["step_us"])) / len(table["step_us"]))
    for name in table["offers"].get(op, ()):
        # HCCL uses the mesh algorithm inside a node only, except for all-to-all, where it spans the whole domain.
        if name == "direct" and not op.startswith("all_to_all") and not fabric.mesh and ranks > (fabric.node or 0):
            continue
        algorithm = algorithm_named(op, name)
        if algorithm is None or (algorithm.nodes and (not fabric.node or ranks <= fabric.node)):
            continue
        node = fabric.node or 1
        seconds = algorithm.steps(ranks, node) * step_us / 1e6 + float(algorithm.factor(ranks, node)) * payload_bytes \
            / rate_Bps
        yield Choice(name, "", seconds)
