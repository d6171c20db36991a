"""ds_bench of DeepSpeed: sizes and times as words with units, or with `--raw` as numbers; Gbit/s or GB/s.

The description, elements times bytes, gives the exact size. `Throughput` of an all-reduce counts the buffer twice, so
only the time is used, and the bus bandwidth is compared with it. The time is that of rank 0.
"""

import re
from dataclasses import dataclass

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, scaled
from .shared.units import per_second, rate_scale

__all__ = ["TITLE", "read", "recognise"]

TITLE = "DeepSpeed ds_bench"

_TITLE = re.compile(r"-{2,} Performance of (\w+) on (\d{1,7}) devices")
_ROW = re.compile(r"\s*\S+(?: [KMGT]?i?B)?\s+(\d{1,15})x(\d{1,2})\s+([\d.]+)(?: (ms|us|s|ns))?\s+([\d.]+)\s+([\d.]+)"
                  r"(\s.*)?$")
_MEANT = re.compile(r"(?:\s*\S*\d\S*\s|.*\s\d+x\d+\s).*\s[\d.]+")
_HEADING = re.compile(r"\s*Size\b.*\bDuration(?: \((\w+)\))?.*\bBusBW \(([^)]{1,12})\)")


@dataclass
class _Table:
    """One table: units of `--raw` and `--bw-unit` stand in its heading."""

    op: str
    ranks: int
    run: str
    time_unit: str | None = None
    rate_Bps: float = 1e9 / 8


def recognise(text: str) -> bool:
    """Whether `text` has a title of this tool."""
    return bool(_TITLE.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row under a title."""
    table: _Table | None = None
    for line in log.lines:
        if title := _TITLE.search(line.text):
            op, ranks = op_name(title[1]), int(title[2])
            table = _Table(op, ranks, collector.run(
                Origin("ds_bench", library="torch.distributed backend not stated", ranks=ranks)))
        elif table and (heading := _HEADING.match(line.text)):
            table.time_unit = heading[1]
            if (rate := rate_scale(heading[2])) is None:
                collector.warn(line.number, f"BusBW in {heading[2]!r}: not a unit; taken as Gbit/s")
            table.rate_Bps = rate or table.rate_Bps
        elif table and (row := _ROW.match(line.text)):
            collector.rows += 1
            _add(collector, table, line.number, row)
        elif table and _MEANT.match(line.text) and len(line.text.split()) in range(4, 10):
            collector.warn(line.number, f"not read as a row: {' '.join(line.text.split())!r:.80}")


def _add(collector: Collector, table: _Table, line: int, row: re.Match) -> None:
    op, ranks, run = table.op, table.ranks, table.run
    unit = per_second(row[4] or table.time_unit or "")
    time, bus = printed_number(row[3]), printed_number(row[6])
    if time is None or bus is None or ranks < 1 or unit is None:
        collector.warn(line, "no ranks, time, unit of the time, or bandwidth")
        return
    if row[7] and row[7].strip():
        collector.warn(line, f"left out behind a row: {row[7].strip()!r:.60}")
    operation = OPERATIONS[op] if is_known(op) else None
    size = int(row[1]) * int(row[2])
    if operation and operation.in_blocks and op != "reduce_scatter":
        size = size * ranks if op == "all_gather" else size
    factor = operation.bus_factor(ranks) if operation else 1.0
    words = misfit(size * factor, PrintedNumber(time.value / unit, time.error / unit), scaled(bus, table.rate_Bps),
                   int(row[2]), ranks)
    if words:
        collector.warn(line, f"BusBW is not that of size and time: {words}; recomputed from the time")
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=int(row[1]) * int(row[2]),
        redop="sum" if operation and operation.reduces else None, mode="streamed", time_s=time.value / unit,
        statistic="rank 0, mean over a batch", time_kind=ROOT, busbw_Bps=bus.value * table.rate_Bps,
        source=collector.source(line)))
