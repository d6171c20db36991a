"""OSU micro-benchmarks text: one table per operation and rank count, with the columns of -f if they are known.

OSU prints no rank count, so each table has an extra line `# Ranks: N`, which our importer reads.
"""

from types import MappingProxyType

import pandas as pd

from collbench.collectives.cases.catalog import WINDOW

from ..frames.load import Loaded
from .tables import left_out, native_bytes, preferred, tables

__all__ = ["text"]

_TITLES = MappingProxyType({
    "all_reduce": "Allreduce Latency", "all_gather": "Allgather Latency", "reduce_scatter": "Reduce_scatter Latency",
    "broadcast": "Broadcast Latency", "reduce": "Reduce Latency", "gather": "Gather Latency",
    "scatter": "Scatter Latency", "all_to_all": "All-to-All Personalized Exchange Latency",
    "all_to_all_v": "All-to-Allv Personalized Exchange Latency", "barrier": "Barrier Latency",
    "ping_pong": "Latency", "bandwidth": "Bandwidth", "bi_bandwidth": "Bi-Directional Bandwidth",
    "message_rate": "Multiple Bandwidth / Message Rate", "incast": "Bandwidth Congestion In",
    "outcast": "Bandwidth Congestion Out"})
_DTYPES = MappingProxyType({"float32": "MPI_FLOAT", "float64": "MPI_DOUBLE", "int32": "MPI_INT", "char": "MPI_CHAR",
                            "byte": "MPI_BYTE"})
_LATENCY = ("ping_pong",)
_FANS = ("incast", "outcast")
_RATES = ("bandwidth", "bi_bandwidth", *_FANS)


def text(loaded: Loaded) -> tuple[str, list[str]]:
    """The points as OSU output, isolated calls preferred to streamed ones, and warnings about points left out."""
    points = loaded.points
    usable = points[points["op"].isin(list(_TITLES))]
    pairwise = usable["op"].isin([*_LATENCY, "bandwidth", "bi_bandwidth"]) & (usable["ranks"] != 2)
    narrow = usable["op"].isin(_FANS) & (usable["traffic"] != "fan")
    usable = preferred(usable[~pairwise & ~narrow & ~(usable["place"] == "in-place")], "isolated")
    return "\n".join(_table(rows) for rows in tables(usable)), left_out(
        loaded, len(usable), "OSU lacks the operation, in-place results or several pairs, or the case was also "
        "measured isolated, which is what OSU prints")


def _table(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    op = first["op"]
    timed = op not in (*_LATENCY, *_RATES, "message_rate", "barrier")
    full = timed and bool(rows[["rank_min_s", "rank_max_s"]].notna().all().all())
    dtype = _DTYPES.get(first["dtype"]) if isinstance(first["dtype"], str) else None
    lines = [f"# OSU MPI {_TITLES[op]} Test v7.4", f"# Ranks: {int(first['ranks'])}",
             *([f"# Datatype: {dtype}."] if dtype else []),
             *([f"# [ pairs: {int(first['ranks']) // 2} ] [ window size: {WINDOW} ]"] if op == "message_rate" else []),
             _header(op, full)]
    return "\n".join([*lines, *(_line(op, row, full) for _, row in rows.iterrows()), ""])


def _header(op: str, full: bool) -> str:
    if op == "barrier":
        return "# Avg Latency(us)"
    if op in _RATES:
        return "# Size      Bandwidth (MB/s)"
    if op == "message_rate":
        return "# Size                  MB/s        Messages/s"
    if op in _LATENCY:
        return "# Size          Latency (us)"
    return "# Size       Avg Latency(us)" + ("   Min Latency(us)   Max Latency(us)  Iterations" if full else "")


def _line(op: str, row: pd.Series, full: bool) -> str:
    time_us = f"{row['time_s'] * 1e6:>18.9g}"
    if op == "barrier":
        return time_us
    size = f"{native_bytes(op, int(row['ranks']), int(row['message_bytes'])):<10d}"
    if op == "message_rate":
        return size + f"{row['busbw_Bps'] / 1e6:>18.9g}{row['busbw_Bps'] / row['message_bytes']:>18.9g}"
    if op in _RATES:
        return size + f"{row['busbw_Bps'] / 1e6:>18.9g}"
    if not full:
        return size + time_us
    return (size + time_us + f"{row['rank_min_s'] * 1e6:>20.9g}{row['rank_max_s'] * 1e6:>20.9g}"
            + f"{int(row['samples'] * row['calls']):>12d}")
