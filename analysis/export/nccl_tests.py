"""nccl-tests text (layout since 2.17.4) and JSON (schema 1): one table per operation, type and rank count.

Columns are as wide as those of nccl-tests, and times have as many digits as fit, five or more. A comment names library,
transport and what a time is; it is read back. An unmeasured half (out-of-place or in-place) is
N/A in the text and absent from the JSON.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES
from collbench.collectives.errors import printable
from collbench.collectives.records.record import Run

from ..frames.load import Loaded
from .tables import left_out, preferred, tables

__all__ = ["json_lines", "text"]

_PROGRAMS = MappingProxyType({
    "all_reduce": "all_reduce_perf", "all_gather": "all_gather_perf", "reduce_scatter": "reduce_scatter_perf",
    "broadcast": "broadcast_perf", "reduce": "reduce_perf", "gather": "gather_perf", "scatter": "scatter_perf",
    "all_to_all": "alltoall_perf", "all_to_all_v": "alltoallv_perf", "send_recv": "sendrecv_perf"})
_DTYPES = MappingProxyType({"float32": "float", "float64": "double", "float16": "half", "fp8_e4m3": "f8e4m3",
                            "fp8_e5m2": "f8e5m2"})
_HEADER = """#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)"""


def text(loaded: Loaded) -> tuple[str, list[str]]:
    """The points as nccl-tests output, one run per table, and warnings about points left out."""
    points = _usable(loaded)
    parts = [_table(rows, loaded.runs[rows["run"].iloc[0]]) for rows in tables(points)]
    return "\n".join(parts), _lost(loaded, points)


def json_lines(loaded: Loaded) -> tuple[str, list[str]]:
    """The points as nccl-tests JSON, one document per table and line, and warnings about points left out."""
    points = _usable(loaded)
    documents = [_document(rows, loaded.runs[rows["run"].iloc[0]]) for rows in tables(points)]
    return "".join(json.dumps(document, allow_nan=False) + "\n" for document in documents), _lost(loaded, points)


def _usable(loaded: Loaded) -> pd.DataFrame:
    points = loaded.points
    return preferred(points[points["op"].isin(list(_PROGRAMS)) & points["dtype"].isin(list(ITEMSIZES))], "streamed")


def _lost(loaded: Loaded, points: pd.DataFrame) -> list[str]:
    return left_out(loaded, len(points), "nccl-tests lacks the operation or element type, or the case was also "
                    "measured streamed, which is what nccl-tests prints")


def _table(rows: pd.DataFrame, run: Run) -> str:
    first = rows.iloc[0]
    program, ranks = _PROGRAMS[first["op"]], int(first["ranks"])
    lines = [f"# Collective test starting: {program}",
             f"# nThread 1 nGpus 1 minBytes {rows['message_bytes'].min()} maxBytes {rows['message_bytes'].max()} "
             f"step: {_step(rows)} warmup iters: 1 iters: "
             f"{int(first['repeats']) if pd.notna(first['repeats']) else int(first['calls'])} agg iters: 1 "
             "validation: 1 graph: 0",
             printable(f"# Written by collbench: {first['library']} over {first['transport']}; time is "
                       f"{first['time_kind']}"), "#",
             "# Using devices",
             *(printable(f"#  Rank {rank:>2} Group  0 Pid      0 on {host} device  0 [unknown] {run.device}")
               for rank, host in enumerate(_hosts(run, ranks, first["ranks_per_node"]))), _HEADER]
    lines += [_line(first["op"], ranks, pair) for pair in _pairs(rows)]
    busbw = rows["busbw_Bps"].mean() / 1e9
    return "\n".join([*lines, "# Out of bounds values : 0 OK",
                      f"# Avg bus bandwidth    : {busbw if pd.notna(busbw) else 0:g}", "#",
                      f"# Collective test concluded: {program}", "#", ""])


def _hosts(run: Run, ranks: int, per_node: float) -> list[str]:
    """The host of each rank: as recorded, else invented names with `per_node` ranks each."""
    hosts = run.provenance.get("hosts")
    if isinstance(hosts, list) and len(hosts) >= ranks:
        return [str(host) or "unknown" for host in hosts[:ranks]]
    each = int(per_node) if pd.notna(per_node) and per_node >= 1 else ranks
    return [f"node{rank // each}" for rank in range(ranks)]


class _Pair(NamedTuple):
    """The halves of a row; at least one is there."""

    out: pd.Series | None
    inside: pd.Series | None

    @property
    def present(self) -> pd.Series:
        """The out-of-place half, else the in-place one."""
        half = self.inside if self.out is None else self.out
        if half is None:
            raise ValueError("a row needs a measured half")
        return half


def _pairs(rows: pd.DataFrame) -> Iterator[_Pair]:
    """Out-of-place and in-place point of each message size; operations without in-place variant are out-of-place."""
    for _, same in rows.groupby("message_bytes", sort=True):
        inside = [row for _, row in same[same["place"] == "in-place"].iterrows()]
        outside = [row for _, row in same[same["place"] != "in-place"].iterrows()]
        for number in range(max(len(inside), len(outside))):
            yield _Pair(outside[number] if number < len(outside) else None,
                        inside[number] if number < len(inside) else None)


def _count(op: str, ranks: int, row: pd.Series) -> int:
    share = int(row["message_bytes"]) // (ranks if OPERATIONS[op].in_blocks else 1)
    return share // ITEMSIZES[row["dtype"]]


def _redop(op: str, row: pd.Series) -> str:
    return (row["redop"] or "sum") if OPERATIONS[op].reduces or op == "send_recv" else "none"


def _line(op: str, ranks: int, pair: _Pair) -> str:
    row = pair.present
    dtype = _DTYPES.get(row["dtype"], row["dtype"])
    left = (f"{int(row['message_bytes']):12d}  {_count(op, ranks, row):12d}  {dtype:>8}  {_redop(op, row):>6}  "
            f"{0 if OPERATIONS[op].rooted else -1:6d}")
    return left + "".join(_half_text(half, _is_unchecked(op), half is pair.inside) for half in pair)


def _is_unchecked(op: str) -> bool:
    """Whether the program does not check its in-place results."""
    return op == "send_recv" or op.startswith("all_to_all")


def _half_text(half: pd.Series | None, unchecked: bool, in_place: bool) -> str:
    if half is None:
        return "      N/A     N/A     N/A     N/A"
    wrong = "N/A" if unchecked and in_place else "0"
    return (f"  {_time(half['time_s'] * 1e6)}  {_GBps(half['algbw_Bps']):>6.2f}  {_GBps(half['busbw_Bps']):>6.2f}"
            f"  {wrong:>6}")


def _time(time_us: float) -> str:
    """In seven characters, as nccl-tests prints it, with as many decimals as fit."""
    whole = len(str(int(time_us)))
    return f"{time_us:7.{max(0, 6 - whole)}f}"


def _step(rows: pd.DataFrame) -> str:
    """How sizes grow from row to row, as nccl-tests says it."""
    sizes = sorted(rows["message_bytes"].unique())
    steps = {after - before for before, after in pairwise(sizes)}
    factors = {round(after / before) for before, after in pairwise(sizes) if before}
    return f"{steps.pop()}(bytes)" if len(steps) == 1 and len(factors) > 1 else f"{max(factors, default=2)}(factor)"


def _GBps(rate_Bps: float) -> float:
    """In GB/s; 0 for messages of 0 bytes, whose bandwidth is undefined here and 0 in nccl-tests."""
    return rate_Bps / 1e9 if pd.notna(rate_Bps) else 0.0


def _document(rows: pd.DataFrame, run: Run) -> dict[str, object]:
    first = rows.iloc[0]
    op, ranks = first["op"], int(first["ranks"])
    hosts = _hosts(run, ranks, first["ranks_per_node"])
    devices = [{"rank": rank, "group": 0, "pid": 0, "hostname": host, "device": 0, "device_hex": "0000:00:00",
                "device_info": run.device} for rank, host in enumerate(hosts)]
    busbw = rows["busbw_Bps"].mean()
    return {"version": 1, "args": [_PROGRAMS[op]], "nccl_version": str(first["library"]),
            "config": {"nthreads": 1, "ngpus": 1, "minimum_bytes": int(rows["message_bytes"].min()),
                       "maximum_bytes": int(rows["message_bytes"].max()), "iterations": int(first["calls"]),
                       "validation": 1, "graph": 0, "devices": devices},
            "results": [_result(op, ranks, pair) for pair in _pairs(rows)],
            "out_of_bounds": {"count": 0, "okay": "true"},
            "average_bus_bandwidth": {"bandwidth": busbw / 1e9 if pd.notna(busbw) else 0.0, "okay": "unchecked"},
            "errors": []}


def _result(op: str, ranks: int, pair: _Pair) -> dict[str, object]:
    row = pair.present
    halves = {name: {"time": half["time_s"] * 1e6, "alg_bw": _GBps(half["algbw_Bps"]),
                     "bus_bw": _GBps(half["busbw_Bps"]),
                     "nwrong": None if name == "in_place" and _is_unchecked(op) else 0.0}
              for name, half in zip(("out_of_place", "in_place"), pair, strict=True) if half is not None}
    return {"size": int(row["message_bytes"]), "count": _count(op, ranks, row),
            "type": _DTYPES.get(row["dtype"], row["dtype"]), "redop": _redop(op, row),
            "root": f"{0 if OPERATIONS[op].rooted else -1:>6}", **halves}
