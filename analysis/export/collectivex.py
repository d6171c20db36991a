"""JSON of SemiAnalysis CollectiveX: one document per line for each run, workload, element type and rank count.

Its components are dispatch, combine and roundtrip (a dispatch and a combine), one at a time, and pair_period (pairs
back to back); times are percentiles of the slowest rank. Ours are the same. What only collbench knows is in the field
`collbench`, which other readers pass over.
"""

import json
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np
import pandas as pd

from collbench.collectives.cases.moe_workload import combine_dtype, is_workload, parse_workload
from collbench.collectives.cases.routing import loads
from collbench.collectives.errors import printable
from collbench.collectives.records.record import Run

from ..cost.operations import is_routed
from ..cost.token_loads import row_bytes, tokens_of
from ..frames.load import Loaded
from .tables import left_out

__all__ = ["COMPONENTS", "text"]

# Operation and mode of each component.
COMPONENTS = MappingProxyType({"dispatch": ("moe_dispatch", "isolated"), "combine": ("moe_combine", "isolated"),
                               "roundtrip": ("moe_pair", "isolated"), "pair_period": ("moe_pair", "streamed")})
_PERCENTILES = MappingProxyType({"p50": "time_s", "p95": "p95_s", "p99": "p99_s"})
_DTYPES = MappingProxyType({"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "fp8_e4m3": "fp8"})
_DOCUMENT = ["run", "traffic", "dtype", "ranks", "ranks_per_node"]


def text(loaded: Loaded) -> tuple[str, list[str]]:
    """The points as JSON lines, and warnings about points left out."""
    points = loaded.points
    ops, known = ([name for name in points[column].dropna().unique() if fits(name)]
                  for column, fits in (("op", is_routed), ("traffic", is_workload)))
    usable = points[points["op"].isin(ops) & points["traffic"].isin(known)]
    names = {key: name for name, key in COMPONENTS.items()}
    component = [names.get(key, "") for key in zip(usable["op"], usable["mode"], strict=True)]
    usable = usable.assign(component=component)
    usable = usable[usable["component"] != ""]
    documents = [_document(rows, loaded.runs[str(rows["run"].iloc[0])])
                 for _, rows in usable.groupby(_DOCUMENT, dropna=False, sort=False)]
    return "".join(json.dumps(document, allow_nan=False) + "\n" for document in documents), left_out(
        loaded, len(usable), "CollectiveX has dispatch and combine one at a time only, and no other operation")


def _document(rows: pd.DataFrame, run: Run) -> dict[str, object]:
    first = rows.iloc[0]
    work, ranks, dtype = parse_workload(str(first["traffic"])), int(first["ranks"]), str(first["dtype"])
    node = int(first["ranks_per_node"]) if pd.notna(first["ranks_per_node"]) else ranks
    library, _, version = str(first["library"]).partition(" ")
    case = {"backend": printable(library.rstrip(",")), "ep": ranks, "experts": work.experts, "gpus_per_node": node,
            "hidden": work.hidden, "mode": work.via, "nodes": -(-ranks // node), "precision": _DTYPES.get(dtype, dtype),
            "routing": work.pattern.name, "topk": work.topk}
    return {"version": 1, "record_type": "case-attempt", "generated_at": run.started,
            "identity": {"case_factors": {"sku": first["system"], "case": case}},
            "measurement": {"combine_dtype": _name(combine_dtype(dtype)), "dispatch_dtype": _name(dtype),
                            "payload_unit": "token-rank", "rows": list(_rows(rows, ranks))},
            "implementation": {"name": printable(library), "library_version": printable(version) or None},
            "topology": {"device_product": printable(str(first["device"])), "gpus_per_node": node, "world_size": ranks},
            "collbench": {"traffic": work.text, "run": run.id, "transport": run.transport},
            "outcome": {"status": "success", "reasons": []}}


def _name(dtype: str) -> str:
    return _DTYPES.get(dtype, dtype)


def _rows(rows: pd.DataFrame, ranks: int) -> Iterator[dict[str, object]]:
    """One for each number of tokens per rank."""
    tokens = [round(tokens_of(*key)) for key in zip(rows["traffic"], rows["dtype"], rows["message_bytes"], strict=True)]
    traffic, dtype = str(rows["traffic"].iloc[0]), str(rows["dtype"].iloc[0])
    for count, own in rows.assign(tokens=tokens).groupby("tokens"):
        rows_of = np.median([loads(traffic, ranks, int(str(count)), step)
                             for step in range(parse_workload(traffic).steps)], axis=0)
        sizes = {name: int(rows_of.sum()) * row_bytes(op, traffic, dtype) for name, (op, _) in COMPONENTS.items()}
        received = rows_of.sum(axis=0)
        yield {"tokens_per_rank": int(str(count)), "global_tokens": int(str(count)) * ranks,
               "components": {str(point["component"]): _component(point) for _, point in own.iterrows()},
               "byte_provenance": {name: {"total_logical_bytes": size} for name, size in sizes.items()
                                   if name != "pair_period"},
               "logical_copies": {"routed": int(rows_of.sum()), "wire": "per-rank"},
               "receive": {"max": int(received.max()), "mean": float(received.mean()), "min": int(received.min()),
                           "total": int(received.sum())},
               "routing": {"busiest_rank": int(received.argmax()), "fanout_mean": float(rows_of.sum() / ranks
                                                                                        / int(str(count)))},
               "correctness": {"passed": True}}


def _component(point: pd.Series) -> dict[str, object]:
    return {"sample_count": int(point["samples"]),
            "percentiles_us": {name: float(point[column]) * 1e6 for name, column in _PERCENTILES.items()
                               if pd.notna(point[column])}}
