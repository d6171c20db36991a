"""hccl_test of Ascend CANN: four fields separated by bars; the time is that of the root rank.

The table has neither operation nor rank count: they come from the command above it, or from options. The size is the
whole buffer. The bandwidth is size over time in 10^9 bytes, in older versions 2^30, so it is recomputed.
"""

import re
from dataclasses import dataclass, field, replace

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name, requested_op
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.commands import launched_ranks
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, scaled, whole
from .shared.units import per_second, rate_scale, units_of

__all__ = ["TITLE", "read", "recognise"]

TITLE = "hccl_test"

_HEADER = re.compile(r"^.{0,80}data_size\s*\(Bytes\):?\s*\|", re.MULTILINE)
_COMMAND = re.compile(r"\b(\w+?)_test\b\s+-")
_OPTION = re.compile(r"\s-(d|o|p)\s+(\w+)")
_ITERATIONS = re.compile(r"\biters is (\d{1,9})")
_VERDICTS = ("success", "failed", "null", "none", "")
_SIMULATED_US = 1000.0


@dataclass
class _HcclTable:
    line: int
    op: str | None = None
    ranks: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    calls: int | None = None
    command: str | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[int, int, PrintedNumber, PrintedNumber | None, str]] = field(default_factory=list)


def recognise(text: str) -> bool:
    """Whether `text` has a header of this tool."""
    return bool(_HEADER.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every table of the log."""
    for table in _tables(log, collector):
        collector.rows += len(table.rows)
        op = table.op or (requested_op(collector.hints.op) if collector.hints.op else None)
        ranks = collector.hints.ranks if table.ranks is None else table.ranks
        if table.rows and not op:
            collector.need_op(table.line, len(table.rows))
        if table.rows and not ranks:
            collector.need_ranks(table.line, len(table.rows))
        if table.rows and op and ranks:
            _add(collector, table, op, ranks)


def _tables(log: Log, collector: Collector) -> list[_HcclTable]:
    """The tables, each with the command and settings above it."""
    settings, found = _HcclTable(1), list[_HcclTable]()
    for line in log.lines:
        text = line.text
        if _HEADER.match(text):
            found.append(replace(settings, line=line.number, columns=[cell.strip() for cell in text.split("|")]))
            settings = _HcclTable(1)
        elif command := _COMMAND.search(text):
            settings.op, settings.options = op_name(command[1]), dict(_OPTION.findall(text))
            settings.ranks, settings.command = launched_ranks(text), text.strip(" #$")[:500]
        elif calls := _ITERATIONS.search(text):
            settings.calls = int(calls[1])
        elif found and "|" in text and "check result failed" not in text:
            _row(found[-1], collector, line.number, [cell.strip() for cell in text.split("|")])
        elif found and text.split()[-1:] and text.split()[-1].lower() in _VERDICTS[:2] and re.match(r"\s*\d", text):
            collector.warn(line.number, f"not read as a row: {' '.join(text.split())!r:.80}")
    return found


def _row(table: _HcclTable, collector: Collector, line: int, cells: list[str]) -> None:
    """Store a row, or warn of a line that was meant as one."""
    if sum(printed_number(cell) is not None for cell in cells) < 1 or abs(len(cells) - len(table.columns)) > 2:
        return
    by_name = dict(zip(("size", "time", "rate", "verdict"), cells, strict=False))
    size, time = whole(by_name["size"]), printed_number(by_name.get("time", ""))
    if size is None or size < 0 or time is None:
        collector.warn(line, f"no size, or no time: {' | '.join(cells)!r:.80}")
        return
    rate, verdict = printed_number(by_name.get("rate", "")), by_name.get("verdict", "").lower()
    if rate is None:
        collector.warn(line, f"bandwidth {by_name.get('rate', '')!r:.24} is not a number: not compared")
    if verdict not in _VERDICTS:
        collector.warn(line, f"check result {verdict!r:.24} is not known: taken as not checked")
    if len(cells) > len(table.columns):
        collector.warn(line, f"{len(cells)} cells under {len(table.columns)} column names: the last left out")
    time_us, rate_GBps = _units(table)
    table.rows.append((line, size, scaled(time, time_us), rate and scaled(rate, rate_GBps), verdict))


def _units(table: _HcclTable) -> tuple[float, float]:
    """Microseconds and 10^9 bytes per second in the units of the heading."""
    units = [unit for name in table.columns[1:] for unit in units_of(name)]
    times = [1e6 / scale for unit in units if (scale := per_second(unit))]
    rates = [scale / 1e9 for unit in units if (scale := rate_scale(unit))]
    return times[0] if times else 1.0, rates[0] if rates else 1.0


def _add(collector: Collector, table: _HcclTable, op: str, ranks: int) -> None:
    """Add the rows of a table, each checked against its own bandwidth."""
    _check(collector, table, ranks)
    reduces = is_known(op) and OPERATIONS[op].reduces
    per_node = whole(table.options.get("p", ""))
    run = collector.run(Origin("hccl_test", library="HCCL, version not stated", device="npu", ranks=ranks,
                             command=table.command))
    for line, size, time, rate, verdict in table.rows:
        collector.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size,
            dtype=dtype_name(table.options.get("d")), redop=table.options.get("o", "sum") if reduces else None,
            traffic="even" if op == "all_to_all_v" else None, mode="streamed", time_s=time.value / 1e6,
            statistic="root rank, mean over a batch", time_kind=ROOT, repeats=table.calls,
            algbw_Bps=rate.value * 1e9 if rate else None, checked=verdict in ("success", "failed"),
            status="wrong" if verdict == "failed" else "ok",
            reason="the tool's own check failed" if verdict == "failed" else None,
            ranks_per_node=per_node if per_node and per_node <= ranks else None, source=collector.source(line)))


def _check(collector: Collector, table: _HcclTable, ranks: int) -> None:
    """Check the unit of the bandwidth, and that the times were measured, not simulated."""
    wrong: dict[str, list[int]] = {}
    itemsize = ITEMSIZES.get(dtype_name(table.options.get("d")) or "")
    for line, size, time, rate, _ in table.rows:
        words = rate and misfit(size, PrintedNumber(time.value / 1e6, time.error / 1e6),
                                PrintedNumber(rate.value * 1e9, rate.error * 1e9), itemsize, ranks)
        if words:
            wrong.setdefault(words, []).append(line)
    for words, lines in wrong.items():
        collector.warn(lines[0], f"alg_bandwidth is not size over time in {len(lines)} rows: {words}; recomputed from "
                     "the time")
    if all(time.value == _SIMULATED_US for _, _, time, _, _ in table.rows):
        collector.warn(table.line, "every time is 1000.00 us: that is the simulator's constant, not a measurement")
