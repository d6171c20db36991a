"""vidur (Microsoft, MIT): profiles of the network, as in data/profiling/network/DEVICE of 7d47513.

Sizes are bytes, times milliseconds. vidur/execution_time_predictor/sklearn_execution_time_predictor.py uses the
medians: of all-reduces those with `devices_per_node` = `num_workers` = the tensor-parallel size, of send_recv those
with `devices_per_node` 2 inside a node and 1 between nodes. Further columns do no harm.
"""

import numpy as np
import pandas as pd

from ...text.safe_csv import to_csv
from .written import Tables

__all__ = ["LACKS", "TITLE", "write"]

TITLE = "vidur: all_reduce.csv, send_recv.csv"
LACKS = "vidur has all_reduce, and send_recv of one pair, which is ping_pong on 2 ranks"

_OPS = {"all_reduce": "all_reduce", "ping_pong": "send_recv"}


def write(costs: pd.DataFrame) -> Tables:
    """all_reduce.csv and send_recv.csv; what was not measured, such as the least of all samples, is empty."""
    usable = costs[(costs["message_bytes"] > 0) & costs["op"].isin(_OPS)
                   & ((costs["op"] == "all_reduce") | (costs["ranks"] == 2))]
    usable = usable.drop_duplicates(["op", "ranks", "message_bytes"])
    parts = {_OPS[str(op)]: rows for op, rows in usable.groupby("op")}
    across = int(((usable["op"] == "all_reduce") & (usable["ranks_per_node"] < usable["ranks"])).sum())
    notes = ([f"{across} all-reduces over several nodes are written, but vidur looks up only those inside a node"]
             if across else [])
    if usable["ranks_per_node"].isna().any():
        notes.append("the data do not say how many ranks share a node: all are taken to be on one")
    return Tables({f"{name}.csv": to_csv(_table(rows, name)) for name, rows in parts.items()},
                  {f"{name}.csv": rows.index for name, rows in parts.items()}, tuple(notes))


def _table(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    node = rows["ranks_per_node"].fillna(rows["ranks"]).astype(int)
    stats = {f"time_stats.{name}.{what}": np.nan for what in ("min", "max", "mean")}
    return pd.DataFrame({
        "": range(len(rows)), **stats, f"time_stats.{name}.median": rows["time_s"].astype(float) * 1e3,
        f"time_stats.{name}.std": np.nan, "rank": 0, "num_workers": rows["ranks"], "size": rows["message_bytes"],
        "collective": name, "devices_per_node": np.minimum(node, rows["ranks"]), "max_devices_per_node": node.max(),
        "kind": rows["kind"], "median_lo": rows["time_lo_s"].astype(float) * 1e3,
        "median_hi": rows["time_hi_s"].astype(float) * 1e3, "level": rows["level"].astype(float)}, index=rows.index)
