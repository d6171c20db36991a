"""aiconfigurator 0.12 (ai-dynamo, Apache-2.0): tables of NCCL times and of MoE exchanges of a system.

Read by `load_nccl_parquet` in aic-core/rust/aiconfigurator-core/src/perf_database/communication.rs of 095f58a, by name
of the column, so that further columns do no harm. Sizes are elements, times milliseconds. Every message is written in
two element types, because only those are looked up. How it looks up

- a rank count up to the largest of the table: only if the table has it, hence `counts`; a larger one: at the bus
  bandwidth of the largest, times the ratio of nominal rates;
- a size between two of the table: linearly; below the smallest or above the largest: in proportion to the size;
- a MoE exchange: at the kernel, settings, ranks and nodes that the table has; at others it takes, of DeepEP, the times
  of one node of 8 unchanged, and has no answer for other kernels.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from collbench.collectives.errors import MissingLibraryError

from .written import Tables

__all__ = ["LACKS", "OPS", "TITLE", "counts", "write", "write_exchanges"]

TITLE = "aiconfigurator 0.12: nccl_perf.parquet, moe_a2a_perf.parquet"
LACKS = ("the tables have all_reduce, all_gather, reduce_scatter and all_to_all, of whole elements of one or two "
         "bytes, and dispatch and combine with kernel, hidden, topk and experts stated")

OPS = {"all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
       "all_to_all": "alltoall"}
_TYPES = {"half": (2, ("float16", "bfloat16")), "int8": (1, ("int8", "uint8"))}
_SETTINGS = {"hidden": "hidden_size", "topk": "topk", "experts": "num_experts", "sms": "sms"}
_VERSION = re.compile(r"\d+(?:\.\d+)+")
_FRAMEWORKS = {"tensorrt-llm": "TRTLLM", "trtllm": "TRTLLM", "vllm": "vLLM"}
_FRAMEWORK = re.compile(r"\b(TensorRT-LLM|TRTLLM|vLLM|SGLang) v?(\d[\w.+-]*)", re.IGNORECASE)
_NO_FILE = re.compile(r"[^\w.+-]+")


def counts(points: pd.DataFrame, asked: Sequence[int]) -> list[int]:
    """Powers of two from the least measured rank count to the largest asked for: no other could be looked up."""
    if not asked:
        return []
    least = max(2, int(points["ranks"].min()))
    return [1 << bit for bit in range(1, max(asked).bit_length()) if least <= 1 << bit <= max(asked)]


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
    files: dict[str, str | bytes] = {table: _parquet(rows), **_meta(folder, "nccl_perf", len(rows))}
    return Tables(files, {table: usable.index.intersection(rows.index)}, (
        f"in the .yaml of the system, under misc: nccl_version: {_version(usable)!r}",))


def write_exchanges(exchanges: pd.DataFrame) -> Tables:
    """`comm/FRAMEWORK/VERSION/moe_a2a_perf.parquet` and its collection_meta.yaml; times in microseconds.

    Raises:
        MissingLibraryError: without fastparquet.
    """
    settings = {column: exchanges["variant"].astype(str).str.extract(rf"\b{name}=(\d+)\b")[0]
                for name, column in _SETTINGS.items()}
    phase = exchanges["op"].str.extract(r"^moe_(dispatch|combine)$")[0]
    stated = settings["hidden_size"].notna() & settings["topk"].notna() & settings["num_experts"].notna()
    usable = exchanges[stated & phase.notna() & exchanges["algorithm"].notna()]
    if usable.empty:
        return Tables({}, {})
    framework, version = _framework(str(usable["library"].iloc[0]))
    nodes = -(-usable["ranks"] // usable["ranks_per_node"].fillna(usable["ranks"]))
    rows = pd.DataFrame({
        "framework": framework, "version": version, "device": usable["device"].fillna("not stated").astype(str),
        "op_name": "moe_a2a", "kernel_source": usable["algorithm"], "comm_backend": usable["algorithm"],
        "phase": phase[usable.index], "comm_dtype": usable["dtype"].fillna("default"), "ep_size": usable["ranks"],
        "node_num": nodes, **{name: values[usable.index].fillna(0) for name, values in settings.items()},
        "num_tokens": usable["tokens"], "latency": usable["time_s"].astype(float) * 1e6,
        "latency_lo": usable["time_lo_s"].astype(float) * 1e6, "latency_hi": usable["time_hi_s"].astype(float) * 1e6,
        "level": usable["level"].astype(float), "kind": usable["kind"]}, index=usable.index)
    rows = rows.astype(dict.fromkeys(("ep_size", "node_num", "num_tokens", *settings), "int64"))
    folder = f"comm/{framework.lower()}/{version}"
    table = f"{folder}/moe_a2a_perf.parquet"
    return Tables({table: _parquet(rows), **_meta(folder, "moe_a2a_perf", len(rows))}, {table: usable.index})


def _framework(library: str) -> tuple[str, str]:
    """The framework, as the tool calls it, and its version: of `DeepEP via sglang 0.5.0`, sglang and 0.5.0."""
    found = _FRAMEWORK.search(library)
    if found:
        return _FRAMEWORKS.get(found[1].lower(), found[1]), found[2]
    name, _, version = library.partition(" ")
    return _NO_FILE.sub("-", name), _NO_FILE.sub("-", version) or "unknown"


def _meta(folder: str, table: str, rows: int) -> dict[str, str | bytes]:
    """The collection_meta.yaml of a table."""
    _, framework, version = folder.split("/")
    # JSON is YAML; the tool knows no provenance but collected (by its own collector) and legacy.
    meta = {"schema_version": 1, "provenance": "legacy", "runtime": {"framework": framework, "version": version},
            "tables": {table: {"status": "complete", "rows": rows}}}
    return {f"{folder}/collection_meta.yaml": json.dumps(meta, indent=2) + "\n"}


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
