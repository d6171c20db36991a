"""The expected range from published measurements of the same operation, rank count and size on the same accelerators.

The tables that ship with the tool (see `projection.references.measured`) are means over ranks of back-to-back calls, as
nccl-tests measures them, so only streamed points are compared with them. The range of the tables is widened by how much
two tables of one accelerator differ, at the 95th percentile.
"""

from typing import cast

import numpy as np
import pandas as pd

from ..domains.facts import Domain, Measured
from .ceilings import host_group, on_cpu
from .published_tables import apart, tables_of

__all__ = ["COLUMNS", "add_published"]

COLUMNS = ("expected_lo_Bps", "expected_Bps", "expected_hi_Bps", "basis")


def add_published(points: pd.DataFrame, home: tuple[str, Domain] | None) -> pd.DataFrame:
    """A frame of COLUMNS beside `points`: the published range of busbw; NaN where nothing comparable is published.

    For sizes that no table covers, a published value for large messages is compared with points on the plateau of their
    own curve, at the rank count of that value. `points` has `plateau_Bps` and `wire_Bps`.
    """
    found = pd.DataFrame(np.nan, index=points.index, columns=list(COLUMNS)).astype({"basis": object})
    found["basis"] = None
    if home is None:
        return found
    usable = points.loc[points["mode"].eq("streamed") & (points["busbw_Bps"] > 0) & ~on_cpu(points),
                        ["op", "ranks", "ranks_per_node", "message_bytes", "busbw_Bps", "plateau_Bps"]]
    known = tables_of(home[0])
    for key, rows in usable.groupby(["op", "ranks", "ranks_per_node"], dropna=False, sort=False):
        op, ranks, node = cast(tuple[str, int, float], key)
        if host_group(home[1], int(ranks), float(node)) < ranks:
            continue
        table = known.get((op, int(ranks)))
        if table is not None:
            size = rows["message_bytes"].to_numpy(float)
            inside = (size >= table.sizes[0]) & (size <= table.sizes[-1])
            at = rows.index[inside]
            for column, values in zip(COLUMNS, (table.low, table.middle, table.high), strict=False):
                found.loc[at, column] = np.exp(np.interp(np.log(size[inside]), np.log(table.sizes), np.log(values)))
            found.loc[at, "basis"] = "published"
        flat = rows["busbw_Bps"] * apart()[1] >= rows["plateau_Bps"]
        flat = rows.index[found.loc[rows.index, "basis"].isna() & flat]
        _plateau(home[1], op, int(ranks), flat, points["wire_Bps"], found)
    return found


def _plateau(domain: Domain, op: str, ranks: int, rows: pd.Index, wire_Bps: pd.Series, found: pd.DataFrame) -> None:
    """An all-reduce by ring or by reducing switches is normal; the middle is that of the mechanism seen."""
    plain, switched = (known.value if known and known.ranks == ranks else None
                       for known in plateau_values(domain, op))
    values = [value for value in (plain, switched) if value is not None]
    if not len(rows) or not values:
        return
    width = apart()[1]
    middle = np.where(wire_Bps[rows].notna(), switched or values[0], plain or values[-1])
    found.loc[rows, "expected_lo_Bps"] = min(values) / width
    found.loc[rows, "expected_Bps"] = middle
    found.loc[rows, "expected_hi_Bps"] = max(values) * width
    found.loc[rows, "basis"] = "published plateau"


def plateau_values(domain: Domain, op: str) -> tuple[Measured | None, Measured | None]:
    """Published busbw of an operation for large messages: (plain, by reducing switches)."""
    if op == "all_reduce":
        return domain.all_reduce_ring_busbw_Bps, domain.all_reduce_in_network_busbw_Bps
    if op == "all_to_all":
        return domain.all_to_all_busbw_Bps, None
    return (domain.point_to_point_Bps, None) if op == "bandwidth" else (None, None)
