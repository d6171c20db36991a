"""Calculon (Apache-2.0): the list `networks` of a system file.

calculon/network.py of caa4b11 asserts these keys and no others, and computes

    time = latency + size x scalar x (1 + offset / ranks) / (bandwidth x efficiency)

One network is fitted for the ranks of a node and one for the largest rank count; the scalar of an operation is the time
per byte that it took, relative to `bandwidth`. There is no all-to-all. Calculon adds the time of the reduction itself,
which measured times include: set `in_network_reduction` in the execution file.
"""

import json

import pandas as pd

from ..alpha_beta import Line, fit_line, one_curve
from .written import Tables

__all__ = ["LACKS", "TITLE", "write"]

TITLE = "Calculon: networks.json"
LACKS = "a network of Calculon has all_reduce, reduce_scatter and all_gather at one rank count, and ping_pong for p2p"

_COLLECTIVES = ("reduce_scatter", "all_gather", "all_reduce")
_ANY_SIZE = 65536       # of the outermost network, as in the systems that Calculon ships


def write(costs: pd.DataFrame) -> Tables:
    """`networks.json`: inner network first."""
    node = costs["ranks_per_node"].max()
    counts = sorted({int(ranks) for ranks in costs.loc[costs["op"].isin(_COLLECTIVES), "ranks"].unique()})
    inside = [ranks for ranks in counts if pd.isna(node) or ranks <= node]
    tiers = [inside[-1]] if inside else []
    if counts and counts[-1] not in tiers:
        tiers.append(counts[-1])
    networks, used, notes = [], pd.Index([]), []
    for place, ranks in enumerate(tiers):
        made = _network(costs, ranks, ranks if len(tiers) > 1 and place == 0 else _ANY_SIZE, place == 0)
        if made:
            networks.append(made[0])
            used = used.union(made[1])
            notes.append(f"networks[{len(networks) - 1}], fitted at {ranks} ranks: {made[2]}")
    if not networks:
        return Tables({}, {})
    notes.append("processor_usage, the share of the processor that communication takes, is not measured: 0 is assumed")
    notes.append("times include the reduction: set in_network_reduction in the execution file")
    return Tables({"networks.json": json.dumps(networks, indent=2) + "\n"}, {"networks.json": used}, tuple(notes))


def _network(costs: pd.DataFrame, ranks: int, size: int, inner: bool) -> tuple[dict[str, object], pd.Index, str] | None:
    lines: dict[str, Line] = {}
    used = pd.Index([])
    for op in (*_COLLECTIVES, "ping_pong"):
        rows = one_curve(costs, op, 2 if op == "ping_pong" else ranks)
        line = fit_line(rows["message_bytes"].to_numpy(float), rows["time_s"].to_numpy(float)) if len(rows) else None
        if line and line.byte_s > 0:
            lines[op] = line
            used = used.union(rows.index)
    known = [op for op in _COLLECTIVES if op in lines]
    if not known:
        return None
    first = "all_reduce" if "all_reduce" in known else known[0]
    share = 1 - 1 / ranks
    # So that the usual scalars, 2 for an all-reduce and 1 for the others, hold for the first operation.
    rate_Bps = (2.0 if first == "all_reduce" else 1.0) * share / lines[first].byte_s
    ops: dict[str, list[float | None]] = {"p2p": [_rounded(lines["ping_pong"].byte_s * rate_Bps)
                                                  if "ping_pong" in lines else 1.0, None]}
    for op in _COLLECTIVES:
        usual = 2.0 if op == "all_reduce" else 1.0
        ops[op] = [_rounded(lines[op].byte_s * rate_Bps / share) if op in lines else usual, -1]
    latency = sum(lines[op].latency_s for op in known) / len(known)
    assumed = [name for name, op in (("p2p", "ping_pong"), *((op, op) for op in _COLLECTIVES)) if op not in lines]
    words = ", ".join(f"{op} {lines[op].error:.0%}" for op in known) + " off their times (median over sizes)"
    return ({"bandwidth": _rounded(rate_Bps / 1e9), "efficiency": 1.0, "size": size, "latency": latency, "ops": ops,
             "must_be_filled": inner, "processor_usage": 0.0}, used,
            words + (f"; not measured, usual scalar assumed: {', '.join(assumed)}" if assumed else ""))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
