"""ds_bench of DeepSpeed: sizes and times as words with units, Gbit/s.

The description, elements times bytes, gives the exact size. `Throughput` of an all-reduce counts the buffer twice, so
only the time is used, and the bus bandwidth is compared with it. The time is that of rank 0.
"""

import re
from types import MappingProxyType

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.log import Log
from .shared.names import is_known, op_name
from .shared.printed_numbers import PrintedNumber, misfit, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "DeepSpeed ds_bench"

_TITLE = re.compile(r"-{2,} Performance of (\w+) on (\d{1,7}) devices")
_ROW = re.compile(r"\s*[\d.]+ [KMGT]?B\s+(\d{1,15})x(\d{1,2})\s+([\d.]+) (ms|us|s)\s+([\d.]+)\s+([\d.]+)\s*$")
_SECONDS = MappingProxyType({"s": 1.0, "ms": 1e-3, "us": 1e-6})


def recognise(text: str) -> bool:
    """Whether `text` has a title of this tool."""
    return bool(_TITLE.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row under a title."""
    op, ranks, run = "", 0, ""
    for line in log.lines:
        if title := _TITLE.search(line.text):
            op, ranks = op_name(title[1]), int(title[2])
            run = collector.run(Origin("ds_bench", library="torch.distributed backend not stated", ranks=ranks))
        elif run and (row := _ROW.match(line.text)):
            collector.rows += 1
            _add(collector, run, op, ranks, line.number, row)


def _add(collector: Collector, run: str, op: str, ranks: int, line: int, row: re.Match) -> None:
    unit, time, bus = _SECONDS[row[4]], printed_number(row[3]), printed_number(row[6])
    if time is None or bus is None or ranks < 1:
        collector.warn(line, "no ranks, time or bandwidth")
        return
    operation = OPERATIONS[op] if is_known(op) else None
    size = int(row[1]) * int(row[2])
    if operation and operation.in_blocks and op != "reduce_scatter":
        size = size * ranks if op == "all_gather" else size
    factor = operation.bus_factor(ranks) if operation else 1.0
    words = misfit(size * factor, PrintedNumber(time.value * unit, time.error * unit),
                   PrintedNumber(bus.value * 1e9 / 8, bus.error * 1e9 / 8), int(row[2]), ranks)
    if words:
        collector.warn(line, f"BusBW is not that of size and time: {words}; recomputed from the time")
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=int(row[1]) * int(row[2]),
        redop="sum" if operation and operation.reduces else None, mode="streamed", time_s=time.value * unit,
        statistic="rank 0, mean over a batch", time_kind=ROOT, busbw_Bps=bus.value * 1e9 / 8,
        source=collector.source(line)))
