"""Extra-P 4.2 (BSD): JSON lines, one value each, as extrap/fileio/file_reader/jsonlines_file_reader.py reads them.

A file has one call path, because Extra-P wants all paths of a file at the same coordinates. Forecasts are no
measurements to fit a model to, so they have files of their own, to compare a model with.
"""

import json
from collections.abc import Hashable
from typing import Any

import pandas as pd

from .written import Tables

__all__ = ["LACKS", "TITLE", "write"]

TITLE = "Extra-P 4.2: JSON lines"
LACKS = "parameters of a model must be above zero"

def write(costs: pd.DataFrame) -> Tables:
    """Times in seconds over the parameters `ranks` and `bytes`; the call path is the operation and element type."""
    usable = costs[costs["message_bytes"] > 0]
    parts = {f"{kind}/{op}{f'-{dtype}' if isinstance(dtype, str) else ''}.jsonl": rows
             for (kind, op, dtype), rows in usable.groupby(["kind", "op", "dtype"], dropna=False)}
    return Tables({file: "".join(map(_line, rows.to_dict("records"))) for file, rows in parts.items()},
                  {file: rows.index for file, rows in parts.items()})


def _line(row: dict[Hashable, Any]) -> str:
    path = f"{row['op']} {row['dtype']}" if isinstance(row["dtype"], str) else row["op"]
    return json.dumps({"params": {"ranks": row["ranks"], "bytes": row["message_bytes"]}, "callpath": path,
                       "metric": "time", "value": row["time_s"]}) + "\n"
