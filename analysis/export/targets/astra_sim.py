"""ASTRA-sim 2 (MIT) with its analytical network: a network and a system file for each rank count.

The network is fitted so that ASTRA-sim's ring all-reduce takes the times of the table. From astra-sim 518bd51 and
astra-network-analytical 599a047 (congestion_unaware/, common/NetworkFunction.cpp):

- a ring of n sends 2 (n - 1) messages of S / n, each of which takes hops x latency + size / bandwidth;
- a Switch is two hops, so that its `latency` is half of what a message takes;
- `bandwidth` is in units of 2^30 bytes a second, although the files say GB/s;
- over two dimensions, an inner one of p: 2 (p - 1) messages of S / p, then 2 (n / p - 1) of S / n.

Measured times include reduction and software, so the system file must not add them again.
"""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..alpha_beta import Floats, fit_terms, one_curve
from .written import Tables, provenance_file

__all__ = ["LACKS", "TITLE", "counts", "ring_time_s", "write"]

TITLE = "ASTRA-sim 2: network_N.yml and system_N.json"
LACKS = "the network of ASTRA-sim is fitted to all_reduce, at rank counts with two sizes or more"

_GIB = 2**30
_HOPS = 2       # of a Switch
_NO_REDUCTION_GBPS = 10**9      # local-mem-bw: reducing is part of the measured time


def counts(points: pd.DataFrame, asked: Sequence[int]) -> list[int]:
    """The ranks of a node, whose times the inner dimension needs."""
    node = points["ranks_per_node"].max()
    return [int(node)] if asked and pd.notna(node) and node >= 2 else []


def ring_time_s(size_bytes: Floats, npus: Sequence[int], bandwidth: Sequence[float],
                latency: Sequence[float]) -> Floats:
    """Time of ASTRA-sim's ring all-reduce over Switch dimensions, with the values of a network file.

    Args:
        size_bytes: [point].
        npus, bandwidth, latency: [dimension] `npus_count`, `bandwidth` in GiB/s, `latency` in ns.
    """
    time_s, inner = np.zeros(len(size_bytes)), 1
    for count, rate, one_hop in zip(npus, bandwidth, latency, strict=True):
        inner *= count
        time_s += 2 * (count - 1) * (_HOPS * one_hop * 1e-9 + size_bytes / inner / (rate * _GIB))
    return time_s


def write(costs: pd.DataFrame) -> Tables:
    """`network_N.yml` and `system_N.json` for each rank count N."""
    files: dict[str, str | bytes] = {}
    used, notes = {}, []
    node = costs["ranks_per_node"].max()
    for ranks in sorted(costs.loc[costs["op"] == "all_reduce", "ranks"].unique()):
        rows = one_curve(costs, "all_reduce", int(ranks))
        found = _network(costs, rows, int(ranks), int(node) if pd.notna(node) else None)
        if found is None:
            continue
        npus, bandwidth, latency, error = found
        name = f"network_{ranks}.yml"
        files[name] = _yaml(rows, npus, bandwidth, latency, error)
        files[f"system_{ranks}.json"] = _system(len(npus))
        used[name] = rows.index
        notes.append(f"{name}: all_reduce of {int(ranks)} ranks as fitted is {error:.0%} off its times (median of "
                     f"{len(rows)} sizes, {rows['kind'].iloc[0]})")
    return Tables(files, used, tuple(notes))


def _network(costs: pd.DataFrame, rows: pd.DataFrame, ranks: int,
             node: int | None) -> tuple[list[int], list[float], list[float], float] | None:
    """`npus_count`, `bandwidth` and `latency` by dimension, and the median error of the fit."""
    if rows["message_bytes"].nunique() < 2:
        return None
    size, time_s = rows["message_bytes"].to_numpy(float), rows["time_s"].to_numpy(float)
    if node and 1 < node < ranks and ranks % node == 0:
        inside = _network(costs, one_curve(costs, "all_reduce", node), node, None)
        if inside:
            known = ring_time_s(size, *inside[:3])
            found = _dimension(size, time_s, known, ranks // node, ranks)
            if found and found[2] <= 2 * _alone(size, time_s, ranks)[2]:
                return ([node, ranks // node], [*inside[1], found[0]], [*inside[2], found[1]], found[2])
    rate, one_hop, error = _alone(size, time_s, ranks)
    return ([ranks], [rate], [one_hop], error)


def _alone(size: Floats, time_s: Floats, ranks: int) -> tuple[float, float, float]:
    found = _dimension(size, time_s, np.zeros(len(size)), ranks, ranks)
    if found is None:       # times that do not grow with the size
        return float(size.max() / time_s.min() / _GIB), 0.0, 1.0
    return found


def _dimension(size: Floats, time_s: Floats, known_s: Floats, count: int,
               ranks: int) -> tuple[float, float, float] | None:
    """Bandwidth, latency and median error of a dimension of `count` beyond `known_s`; None if it takes no time."""
    steps = 2 * (count - 1)
    (latency_s, byte_s), error = fit_terms([np.full(len(size), float(steps)), steps * size / ranks], time_s, known_s)
    return (1 / byte_s / _GIB, latency_s / _HOPS * 1e9, error) if byte_s > 0 else None


def _yaml(rows: pd.DataFrame, npus: list[int], bandwidth: list[float], latency: list[float], error: float) -> str:
    def listed(values: Sequence[object]) -> str:
        return f"[ {', '.join(map(str, values))} ]"
    return (f"# Fitted by collbench to all_reduce, {rows['kind'].iloc[0]}, {len(rows)} sizes: median error "
            f"{error:.1%}.\n# Intervals and origin: {provenance_file(__name__)}.\n"
            f"topology: {listed(['Switch'] * len(npus))}\nnpus_count: {listed(npus)}\n"
            f"bandwidth: {listed([float(f'{rate:.6g}') for rate in bandwidth])}  # GiB/s, which ASTRA-sim calls GB/s\n"
            f"latency: {listed([float(f'{one:.6g}') for one in latency])}  # ns a hop; a message over a switch takes "
            "two\n")


def _system(dimensions: int) -> str:
    rings = ["ring"] * dimensions
    return json.dumps({
        "scheduling-policy": "LIFO", "endpoint-delay": 0, "active-chunks-per-dimension": 1,
        "preferred-dataset-splits": 1, "all-reduce-implementation": rings, "all-gather-implementation": rings,
        "reduce-scatter-implementation": rings, "all-to-all-implementation": rings,
        "collective-optimization": "localBWAware" if dimensions > 1 else "baseline",
        "local-mem-bw": _NO_REDUCTION_GBPS, "boost-mode": 0}, indent=4) + "\n"
