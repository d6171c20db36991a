"""SimAI-Analytical (Apache-2.0): shares of the bus bandwidth by size and nodes, and busbw.yaml for older binaries.

astra-sim-alibabacloud/astra-sim/system/calbusbw.cc of cef83f9 (getValue, readCSV) reads the files in inputs/ratio/.
Columns are 1, 2, 4 ... 128 nodes, then four for several groups at once. A value is used relative to that of the last
row: a column tells the shape of a curve; its level comes from `-nv`, `-nic` and the kind of GPU. An empty cell counts
as 1. A size beyond the last row ends the simulation, hence the row of 1 TiB. nvlink and nic are used for all_gather and
reduce_scatter of tensor parallelism, ata for all_to_all; below 1 MiB and for everything else, all_reduce included, the
files are not used.

Since 6c4a4e73 (July 2026) the documentation says that the binary does not read busbw.yaml. Bandwidths in it are in
units of 2^30 bytes a second, as in all of SimAI.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...frames.bandwidth import busbw_Bps
from ..alpha_beta import Floats, one_curve
from .written import Tables

__all__ = ["LACKS", "TITLE", "counts", "write"]

TITLE = "SimAI: nvlink_ratio.csv, nic_ratio.csv, ata_ratio.csv, busbw.yaml"
LACKS = ("SimAI has all_gather, all_to_all, and in busbw.yaml the largest message of these, all_reduce and "
         "reduce_scatter, from 1 MiB, on 1, 2, 4 ... 128 whole nodes, whose size the data must state")

_NODES = (1, 2, 4, 8, 16, 32, 64, 128)
_SEVERAL = ("Multi 16", "Multi 32", "Multi 64", "Multi")
_LEAST, _MOST = 2**20, 2**40
_GIB = 2**30
_RATIOS = {"nvlink_ratio.csv": ("all_gather", "reduce_scatter"), "nic_ratio.csv": ("all_gather", "reduce_scatter"),
           "ata_ratio.csv": ("all_to_all",)}
_BUSBW = {"allreduce": "all_reduce", "allgather": "all_gather", "reducescatter": "reduce_scatter",
          "alltoall": "all_to_all"}


def counts(points: pd.DataFrame, asked: Sequence[int]) -> list[int]:
    """1, 2, 4 ... whole nodes up to the largest rank count asked for."""
    node = points["ranks_per_node"].max()
    if not asked or pd.isna(node):
        return []
    return [int(node) * nodes for nodes in _NODES if 2 <= node * nodes <= max(asked)]


def write(costs: pd.DataFrame) -> Tables:
    """The three ratio files that the data allow, and busbw.yaml."""
    node = costs["ranks_per_node"].max()
    if pd.isna(node) or node < 2:
        return Tables({}, {})
    large = costs[(costs["message_bytes"] >= _LEAST) & costs["op"].isin(_BUSBW.values())]
    columns = {nodes: int(node) * nodes for nodes in _NODES}
    files: dict[str, str | bytes] = {}
    used, notes = {}, []
    for file, ops in _RATIOS.items():
        op = next((op for op in ops if not large[large["op"] == op].empty), ops[0])
        curves = {nodes: one_curve(large, op, ranks) for nodes, ranks in columns.items()}
        curves = {nodes: rows for nodes, rows in curves.items() if len(rows)}
        if curves:
            files[file] = _ratios(curves, op)
            used[file] = pd.concat(list(curves.values())).index
            if missing := [str(nodes) for nodes in _NODES if nodes not in curves]:
                notes.append(f"{file}: no times of {op} on {', '.join(missing)} nodes: SimAI takes empty columns for "
                             f"the full bandwidth; --ranks {columns[_NODES[-1]]} forecasts them")
    inside = one_busbw(large, int(node))
    across = one_busbw(large, int(large["ranks"].max())) if len(large) else {}
    if inside or across:
        files["busbw.yaml"] = _yaml(inside, across)
        used["busbw.yaml"] = pd.Index([index for found in (inside, across) for index, _ in found.values()]).unique()
    return Tables(files, used, tuple(notes))


def one_busbw(costs: pd.DataFrame, ranks: int) -> dict[str, tuple[int, float]]:
    """By operation, the row of the largest size at `ranks` ranks and its bus bandwidth in bytes per second."""
    found = {}
    for name, op in _BUSBW.items():
        rows = one_curve(costs, op, ranks)
        if len(rows):
            last = rows.iloc[-1]
            found[name] = (int(rows.index[-1]), float(busbw_Bps(op, ranks, last["message_bytes"], last["time_s"])))
    return found


def _ratios(curves: dict[int, pd.DataFrame], op: str) -> str:
    sizes = np.concatenate([rows["message_bytes"].to_numpy(float) for rows in curves.values()])
    largest = int(np.log2(sizes.max()))
    grid = np.array([2.0**bit for bit in range(20, max(largest, 20) + 1)] + [float(_MOST)])
    shares = {nodes: _share(rows, op, grid) for nodes, rows in curves.items()}
    lines = [",".join(["Size", *(f"{nodes} Node" if nodes == 1 else f"{nodes} Nodes" for nodes in _NODES), *_SEVERAL])]
    for at, size in enumerate(grid):
        cells = [f"{shares[nodes][at]:.6g}" if nodes in shares else "" for nodes in _NODES]
        lines.append(",".join([f"{int(size)}", *cells, *("" for _ in _SEVERAL)]))
    return "\n".join([*lines, ""])


def _share(rows: pd.DataFrame, op: str, grid: Floats) -> Floats:
    """[size] bus bandwidth over the largest of the curve; beyond the ends of the curve, that of its end."""
    size = rows["message_bytes"].to_numpy(float)
    rate = busbw_Bps(op, rows["ranks"].to_numpy(), size, rows["time_s"].to_numpy(float))
    shares: Floats = np.exp(np.interp(np.log(grid), np.log(size), np.log(rate))) / rate.max()
    return shares


def _yaml(inside: dict[str, tuple[int, float]], across: dict[str, tuple[int, float]]) -> str:
    lines = ["test"]
    for group, found in (("TP", inside), ("DP", across), ("EP", across)):
        lines.append(f"{group}:")
        lines += [f"{name},: {found[name][1] / _GIB:.6g}" if name in found else f"{name},: null" for name in _BUSBW]
    return "\n".join([*lines, "PP:", "busbw: null", ""])
