"""Tables of aiconfigurator: nccl_perf, oneccl_perf, custom_allreduce_perf and moe_a2a_perf, as Parquet or as older CSV.

Sizes are elements, times of collectives milliseconds, of MoE exchanges microseconds (collector/network/collect_nccl.py,
collector/wideep/sglang/collect_moe_a2a.py). A table that collbench wrote has forecasts too, which are not read.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, UNSTATED, Collector, Origin, joined
from .shared.csv_rows import headings, named_rows
from .shared.log import Log
from .shared.printed_numbers import printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "aiconfigurator tables"

_COLLECTIVE = {"num_gpus", "message_size", "latency"}
_EXCHANGE = {"phase", "ep_size", "num_tokens", "comm_backend", "latency"}
_DTYPES = ("nccl_dtype", "allreduce_dtype")
_OF_EXCHANGE = MappingProxyType({"num_tokens": "num_tokens_per_rank", "hidden_size": "hidden", "topk": "topk",
                                 "num_experts": "experts", "sms": "sms"})
_LIBRARIES = MappingProxyType({"NCCL": "NCCL", "oneCCL": "oneCCL"})


def recognise(text: str) -> bool:
    """Whether a line is the heading of one of these tables."""
    return ("message_size" in text or "ep_size" in text) and any(headings(text, _is_heading))


def _is_heading(names: list[str]) -> bool:
    there = set(names)
    return (there >= _COLLECTIVE and not there.isdisjoint(_DTYPES)) or there >= _EXCHANGE


def read(log: Log, collector: Collector) -> None:
    """Add every measured row."""
    runs: dict[tuple[str, str], str] = {}
    forecasts: list[tuple[int, str]] = []
    for line, cells in named_rows(log, collector, _is_heading):
        if cells.get("kind", "measured") != "measured":
            forecasts.append((line, "a forecast, not a measurement: left out"))
            continue
        try:
            result = (_exchange if "ep_size" in cells else _collective)(cells, collector.source(line))
        except ValueError as error:
            collector.warn(line, f"row skipped: {error}")
            continue
        library, device = _library(cells), cells.get("device", "not stated")
        run = runs.get((library, device)) or collector.run(
            Origin("aiconfigurator", library=library, device=device))
        runs[library, device] = run
        collector.add(replace(result, run=run))
    collector.warn_of(forecasts)


def _library(cells: Mapping[str, str]) -> str:
    kernel, version = cells.get("kernel_source", ""), cells.get("version", "version not stated")
    if "nccl_dtype" in cells:
        return f"{_LIBRARIES.get(kernel, 'NCCL')} {version}"
    return f"{cells.get('framework', 'framework not stated')} {version}"


def _number(cells: Mapping[str, str], name: str) -> int:
    found = whole(cells.get(name, "")) or 0
    if found < 1:
        raise ValueError(f"{name} {cells.get(name, '')!r:.40}: expected a positive integer")
    return found


def _time(cells: Mapping[str, str], unit_s: float) -> float:
    found = printed_number(cells.get("latency", ""))
    if not found or found.value <= 0:
        raise ValueError(f"latency {cells.get('latency', '')!r:.40}: expected a number above zero")
    return found.value * unit_s


def _collective(cells: Mapping[str, str], source: str) -> Imported:
    ranks, elements, time_s = _number(cells, "num_gpus"), _number(cells, "message_size"), _time(cells, 1e-3)
    dtype = dtype_name(cells.get("nccl_dtype") or cells.get("allreduce_dtype") or "")
    if dtype is None or dtype not in ITEMSIZES:
        raise ValueError(f"element type {dtype!r:.40} is not known, so the size is not either")
    op = op_name(cells.get("op_name", ""))
    if not is_known(op):
        raise ValueError(f"op_name {cells.get('op_name', '')!r:.40}: expected a collective")
    size = elements * ITEMSIZES[dtype]
    settings = [f"{name}={cells[name]}" for name in ("backend", "implementation") if name in cells]
    by_nccl_tests = "nccl_dtype" in cells
    return Imported(
        run="", op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, dtype=dtype,
        redop="sum" if OPERATIONS[op].reduces else None,
        in_place=False if by_nccl_tests and OPERATIONS[op].has_in_place else None,
        mode="streamed", time_s=time_s, time_kind=MEAN if by_nccl_tests else UNSTATED,
        statistic="nccl-tests, mean over ranks" if by_nccl_tests else "not stated by the table",
        algorithm=None if by_nccl_tests else cells.get("kernel_source"), variant=joined(settings), source=source)


def _exchange(cells: Mapping[str, str], source: str) -> Imported:
    ranks, _, time_s = _number(cells, "ep_size"), _number(cells, "num_tokens"), _time(cells, 1e-6)
    phase = cells.get("phase", "")
    if phase not in ("dispatch", "combine"):
        raise ValueError(f"phase {phase!r:.40}: expected dispatch or combine")
    nodes = whole(cells.get("node_num", "")) or 0
    settings = [f"{named}={cells[name]}" for name, named in _OF_EXCHANGE.items() if name in cells]
    dtype = cells.get("comm_dtype", "default")
    return Imported(
        run="", op=f"moe_{phase}", ranks=ranks, message_bytes=0,
        dtype=None if dtype == "default" else dtype_name(dtype), mode="isolated", time_s=time_s, time_kind=UNSTATED,
        statistic="not stated by the table", algorithm=cells.get("comm_backend"),
        ranks_per_node=ranks // nodes if nodes and ranks % nodes == 0 else None, variant=joined(settings),
        source=source)
