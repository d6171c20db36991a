"""NCCL's selection inside one NVLink domain, from the constants of its cost model.

NCCL treats a multi-tray domain as one node, so intra-node constants hold for all ranks: the ring takes one hop per rank
and the tree is a chain. Latency is base plus hops; the rate is the share of the link rate that the model assumes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ..published_tables import nccl_tuning
from . import Choice, Fabric, constants

__all__ = ["weigh"]

_PROTOCOLS = ("LL", "LL128", "Simple")
_RING_HOPS = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}


def weigh(op: str, payload_bytes: float, ranks: int, fabric: Fabric) -> Iterator[Choice]:
    """Every algorithm and protocol on offer; all-to-all has one algorithm, sends and receives."""
    if op.startswith("all_to_all"):
        small = payload_bytes / ranks <= constants("nccl")["limits"]["p2p_ll_most_bytes"]
        yield Choice("pairwise", "LL" if small else "Simple", 1.0)
    if op not in (*_RING_HOPS, "broadcast", "reduce"):
        return
    table, tuning = constants("nccl"), nccl_tuning()
    made = fabric.generation if fabric.generation and fabric.generation in table["link_share"] else "hopper"
    bus = fabric.rate_Bps / 1e9 * table["link_share"][made]
    base_us, hop_us = tuning["base_us"], tuning["step_us"]["nvlink"]
    steps = _RING_HOPS[op] * (ranks - 1) if op in _RING_HOPS else ranks
    for at, protocol in enumerate(_PROTOCOLS):
        rate = _protocol_rate(protocol, bus, made, tuning, table["limits"]["channels"])
        yield _choice("ring", protocol, base_us["ring"][at] + steps * hop_us["ring"][at],
                      rate * ranks / steps, payload_bytes)
        if op == "all_reduce":
            tree = min(0.92 * bus, table["limits"]["channels"] * tuning["channel_tree_GBps"][made][0])
            low = min(bus / 3.8, tuning["ll_one_node_GBps"][made])
            rate = {"LL": low, "LL128": tree * 7 / 9, "Simple": tree}[protocol]
            yield _choice("chain and tree", protocol, base_us["tree"][at] + 2 * (ranks - 1) * hop_us["tree"][at],
                          0.5 * 0.85 * rate * _tree_correction(payload_bytes), payload_bytes)
    if fabric.in_network and made in tuning["nvls_efficiency"] and _in_switch(op, ranks, table["limits"]):
        channels = table["limits"]["channels"]
        gain = 2.0 if op == "all_reduce" else (ranks - 1) / ranks
        rate = bus * tuning["nvls_efficiency"][made] * (channels - 1) / channels * gain
        yield _choice("in-switch", "Simple", hop_us["nvls"][2], rate * ranks / steps, payload_bytes)


def _in_switch(op: str, ranks: int, limits: Mapping[str, int]) -> bool:
    if ranks < limits["nvls_least_ranks"] or op in ("broadcast", "reduce"):
        return False
    return op == "all_reduce" or ranks <= limits["nvls_other_ranks"]


def _protocol_rate(protocol: str, bus: float, made: str, tuning: Mapping[str, Any], channels: int) -> float:
    if protocol == "LL":
        return min(float(tuning["ll_one_node_GBps"][made]), 0.5 * bus)
    if protocol == "LL128":
        return min(0.92 * bus, channels * float(tuning["channel_ring_ll128_GBps"][made][0]))
    return bus


def _tree_correction(payload_bytes: float) -> float:
    """Trees reach as little as half of the modelled rate between some KiB and some MiB; simplified to two steps."""
    return 0.5 if 1 << 17 <= payload_bytes <= 1 << 21 else 0.8 if 1 << 12 <= payload_bytes <= 1 << 27 else 1.0


def _choice(algorithm: str, protocol: str, latency_us: float, rate: float, payload_bytes: float) -> Choice:
    return Choice(algorithm, protocol, (latency_us + payload_bytes / (1000 * rate)) / 1e6)
