"""Network profiles of vidur: all_reduce.csv, send_recv.csv and others of its profiler, in data/profiling/network/.

Sizes are bytes of a rank's buffer, times milliseconds: the kernel's, of rank 0, as the median over a few calls
(vidur/profiling/collectives/). A table that collbench wrote has forecasts too, which are not read.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import op_name
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.csv_rows import headings, named_rows
from .shared.log import Log
from .shared.printed_numbers import printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "vidur network profiles"

_NEEDED = {"num_workers", "size", "collective"}
_MEDIAN = re.compile(r"time_stats\.(\w{1,40})\.median")
# One rank sends to another and back is not timed: a message one way.
_OPS: MappingProxyType[str, str] = MappingProxyType({"send_recv": "ping_pong"})
_OF_A_RANK = ("all_gather", "reduce_scatter")       # whose size is a block


def recognise(text: str) -> bool:
    """Whether a line is the heading of such a profile."""
    return "time_stats." in text and any(headings(text, _is_heading))


def _is_heading(names: list[str]) -> bool:
    return set(names) >= _NEEDED and any(map(_MEDIAN.fullmatch, names))


def read(log: Log, collector: Collector) -> None:
    """Add the median of every measured row."""
    run = None
    forecasts: list[tuple[int, str]] = []
    for line, cells in named_rows(log, collector, _is_heading):
        if cells.get("kind", "measured") != "measured":
            forecasts.append((line, "a forecast, not a measurement: left out"))
            continue
        try:
            result = _result(cells, collector.source(line))
        except ValueError as error:
            collector.warn(line, f"row skipped: {error}")
            continue
        run = run or collector.run(Origin("vidur", library="NCCL, version not stated"))
        collector.add(replace(result, run=run))
    collector.warn_of(forecasts)


def _result(cells: Mapping[str, str], source: str) -> Imported:
    name = cells.get("collective", "")
    printed = cells.get(f"time_stats.{name}.median", "")
    median = printed_number(printed)
    if not median or median.value <= 0:
        raise ValueError(f"median {printed!r:.40} of {name!r:.40}: expected a number above zero")
    ranks, size = whole(cells.get("num_workers", "")) or 0, whole(cells.get("size", "")) or 0
    for what, found in (("num_workers", ranks), ("size", size)):
        if found < 1:
            raise ValueError(f"{what} {cells.get(what, '')!r:.40}: expected a positive integer")
    op = _OPS.get(name) or op_name(name)
    node = whole(cells.get("devices_per_node", ""))
    return Imported(
        run="", op=op, ranks=ranks, message_bytes=size * ranks if op in _OF_A_RANK else size, native_size_bytes=size,
        dtype="float16", redop="sum" if op in OPERATIONS and OPERATIONS[op].reduces else None, mode="streamed",
        time_s=median.value * 1e-3, time_kind=ROOT, statistic="kernel of rank 0, median over calls",
        ranks_per_node=min(node, ranks) if node and node > 0 else None, source=source)
