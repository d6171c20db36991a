"""aiconfigurator 0.12 (ai-dynamo, Apache-2.0): the table of NCCL times of a system, `nccl_perf.parquet`.

Read by `load_nccl_parquet` in aic-core/rust/aiconfigurator-core/src/perf_database/communication.rs of 095f58a, by name
of the column, so that further columns do no harm. Sizes are elements, times milliseconds. Every message is written in
two element types, because only those are looked up. How it looks up

- a rank count up to the largest of the table: only if the table has it, hence `counts`; a larger one: at the bus
  bandwidth of the largest, times the ratio of nominal rates;
- a size between two of the table: linearly; below the smallest or above the largest: in proportion to the size.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from collbench.collectives.errors import MissingLibraryError

from .written import Tables

__all__ = ["LACKS", "OPS", "TITLE", "counts", "write"]

TITLE = "aiconfigurator 0.12: nccl_perf.parquet"
LACKS = "the table has all_reduce, all_gather, reduce_scatter and all_to_all, of whole elements of one or two bytes"

OPS = {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
       "all_to_all": "alltoall"}
_TYPES = {"half": (2, ("float16", "bfloat16")), "int8": (1, ("int8", "uint8"))}
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def counts(points: pd.DataFrame, asked: Sequence[int]) -> list[int]:
    """Powers of two up to the largest rank count asked for: what the table skips could no longer be looked up."""
    return [1 << bit for bit in range(1, max(asked).bit_length()) if 1 << bit <= max(asked)] if asked else []


def write(costs: pd.DataFrame) -> Tables:
    """`comm/nccl/VERSION/nccl_perf.parquet` and its collection_meta.yaml.

    Raises:
        MissingLibraryError: without fastparquet.
    """
    usable = costs[costs["op"].isin(OPS) & (costs["message_bytes"] > 0)]
    if usable.empty:
        return Tables({}, {})
    parts = [_elements(usable, *found) for found in _TYPES.items()]
    rows = pd.concat(parts).sort_values(["op_name", "nccl_dtype", "num_gpus", "message_size"], kind="stable")
    folder = f"comm/nccl/{_version(usable)}"
    table = f"{folder}/nccl_perf.parquet"
    meta = {"schema_version": 1, "provenance": "legacy",
            "runtime": {"framework": "nccl", "version": _version(usable)},
            "tables": {"nccl_perf": {"status": "complete", "rows": len(rows)}}}
    # JSON is YAML; the tool knows no provenance but collected (by its own collector) and legacy.
    files: dict[str, str | bytes] = {table: _parquet(rows),
                                     f"{folder}/collection_meta.yaml": json.dumps(meta, indent=2) + "\n"}
    return Tables(files, {table: usable.index.intersection(rows.index)}, (
        f"in the .yaml of the system, under misc: nccl_version: {_version(usable)!r}",))


def _elements(costs: pd.DataFrame, name: str, size: tuple[int, tuple[str, ...]]) -> pd.DataFrame:
    """Rows in elements of one type; times of that type where they were measured, else of messages as large."""
    width, own = size
    whole = costs[costs["message_bytes"] % width == 0]
    first = whole.assign(_other=~whole["dtype"].isin(own), message_size=whole["message_bytes"] // width,
                         _forecast=whole["kind"] != "measured").sort_values(["_other", "_forecast"], kind="stable")
    rows = first.drop_duplicates(["op", "ranks", "message_size"])
    return pd.DataFrame({
        "framework": "collbench", "version": _version(costs), "device": rows["device"].fillna("not stated").astype(str),
        "op_name": rows["op"].map(OPS), "kernel_source": rows["library"].fillna("not stated").astype(str),
        "nccl_dtype": name, "num_gpus": rows["ranks"].astype("int64"),
        "message_size": rows["message_size"].astype("int64"), "latency": rows["time_s"].astype(float) * 1e3,
        "latency_lo": rows["time_lo_s"].astype(float) * 1e3, "latency_hi": rows["time_hi_s"].astype(float) * 1e3,
        "level": rows["level"].astype(float), "kind": rows["kind"]}, index=rows.index)


def _version(costs: pd.DataFrame) -> str:
    found = _VERSION.search(str(costs["library"].iloc[0]))
    return found[0] if found else "unknown"


def _parquet(rows: pd.DataFrame) -> bytes:
    try:
        import fastparquet
    except ImportError:
        raise MissingLibraryError("aiconfigurator's tables are Parquet files, which need fastparquet: "
                                  "pip install 'collbench[aiconfigurator]'") from None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        fastparquet.write(str(file), rows.reset_index(drop=True), compression="SNAPPY", object_encoding="utf8",
                          write_index=False)
        return file.read_bytes()
