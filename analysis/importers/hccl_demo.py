"""hccl_demo of Habana (Gaudi): a table over sizes, a block of one size, or lines of `--result_csv`.

The size is a rank's input buffer, so an all-gather moves n times as much; "NW Bandwidth" is the algorithm bandwidth
times 2(n-1)/n, n-1 or (n-1)/n, depending on the operation (hccl_demo.cpp). No output states the number of ranks: it
comes from the command, or from the ratio of the two bandwidths.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.bandwidth_pairs import agree, implied_ranks
from .shared.claims import is_heading, table_lines
from .shared.collector import ROOT, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "claims", "read", "recognise"]

TITLE = "hccl_demo"

_MARK = re.compile(r"\bhccl\w{1,40}\((?:src!=dst|dataSize=)|\(src!=dst, ?collective=\w|"
                   r"^[\w\s]{2,40},\d{1,7},(?:float|bfloat16),\d{1,18},\d{1,9},[\d.]{1,40} (?:GB/s|ms),", re.MULTILINE)
_TABLE = re.compile(r"\(src!=dst, ?collective=(\w{1,40}), ?iterations=(\d{1,9})\)")
_BLOCK = re.compile(r"\bhccl(\w{1,40}?)(?:_rank_\d{1,7})?\((.{1,200})\)")
_OWN = re.compile(r"#+$")
_FIGURE = re.compile(r"(?:^|\s)(NW Bandwidth|Algo Bandwidth|Host Latency|Device Latency)\s*:\s*"
                     r"(\S{1,40}) (\S+)")
_CSV = re.compile(r"\s*(\w{2,40}),(\d{1,7}),(float|bfloat16),(\d{1,18}),(\d{1,9}),"
                  r"(\S{1,40}) (GB/s|ms),(\S{1,40}) (GB/s|ms)$")
_COMMAND = re.compile(r"hccl_demo(?:\.py)?\s")
_RANKS = re.compile(r"\s(?:--nranks|-np|-n)[ =](\d{1,7})\b")
_SCALES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "GB/s": 1e9}
_WORDS = {"algobw": "algbw", "algo_bw": "algbw", "nw_bw": "busbw", "host latency": "time", "device latency": "device"}


@dataclass
class _Row:
    """Sizes in bytes, times in s, bandwidths in bytes/s."""

    line: int
    size: int
    time: PrintedNumber | None
    algbw: PrintedNumber | None
    busbw: PrintedNumber | None


@dataclass
class _Table:
    """Rows of one operation."""

    line: int
    op: str
    calls: int | None = None
    dtype: str | None = None
    redop: str | None = None
    mode: str = "streamed"
    size: int | None = None
    columns: tuple[str, ...] = ()
    units: str = ""
    rows: list[_Row] = field(default_factory=list)
    figures: dict[str, PrintedNumber] = field(default_factory=dict)


def recognise(text: str) -> bool:
    """Whether `text` has a table, a block or a line of results of this tool."""
    return bool(_MARK.search(text))


def claims(log: Log) -> set[int]:
    """Lines of the tables, which have the first columns of nccl-tests, but times in ms."""
    return table_lines(log.lines, _TABLE, _OWN)


def read(log: Log, collector: Collector) -> None:
    """Add every table; each uses the rank count of the command above it."""
    ranks: int | None = None
    table: _Table | None = None
    for line in log.lines:
        text = line.text
        if _COMMAND.search(text) and (counted := _RANKS.search(text)):
            _end(collector, table, ranks)
            table, ranks = None, int(counted[1])
        elif found := _TABLE.search(text):
            _end(collector, table, ranks)
            table = _Table(line.number, _op(found[1]), int(found[2]))
        elif found := _BLOCK.search(text):
            _end(collector, table, ranks)
            table = _block(line.number, found[1], found[2])
        elif found := _CSV.match(text):
            table = _csv(collector, table, ranks, line.number, found)
        elif table and (found := _FIGURE.search(text)):
            _take(collector, table, line.number, found)
        elif table and is_heading(text):
            _end(collector, table, ranks)
            table = None
        elif table and table.size is None:
            _row(collector, table, line.number, text)
    _end(collector, table, ranks)


def _op(name: str) -> str:
    return op_name({"all2all": "all_to_all"}.get(name.lower(), name))


def _block(line: int, name: str, settings: str) -> _Table:
    """The headline of a block; versions before `dataSize` state the count of elements only."""
    facts = dict(part.strip().split("=", 1) for part in settings.split(",") if "=" in part)
    dtype, calls = dtype_name(facts.get("dtype")), whole(facts.get("iterations", ""))
    count, size = whole(facts.get("count", "")), whole(facts.get("dataSize", ""))
    if "dataSize" not in facts and count is not None:
        size = count * ITEMSIZES.get(dtype or "", 0)
    return _Table(line, _op(name), calls, dtype, size=size or 0)


def _take(collector: Collector, table: _Table, line: int, found: re.Match) -> None:
    """Keep a figure of a block; the second one completes it."""
    number, scale = printed_number(found[2]), _SCALES.get(found[3])
    if number is None or scale is None:
        collector.warn(line, f"{found[1]} is no number in GB/s or ms: left out")
        return
    table.figures[found[1]] = PrintedNumber(number.value * scale, number.error * scale)
    if len(table.figures) == 2 and not table.rows:
        collector.rows += 1
        table.mode = "isolated" if "Host Latency" in table.figures else "streamed"
        table.rows.append(_Row(line, table.size or 0, table.figures.get("Host Latency"),
                               table.figures.get("Algo Bandwidth"), table.figures.get("NW Bandwidth")))


def _csv(collector: Collector, table: _Table | None, ranks: int | None, line: int, found: re.Match) -> _Table:
    """A line of `--result_csv`: operation, rank, type, bytes, calls and two figures, without a header."""
    op, calls, dtype = _op(found[1]), int(found[5]), dtype_name(found[3])
    first, second = (PrintedNumber(number.value * _SCALES[unit], number.error * _SCALES[unit])
                     if (number := printed_number(text)) else None
                     for text, unit in ((found[6], found[7]), (found[8], found[9])))
    mode = "streamed" if found[7] == "GB/s" else "isolated"
    if table is None or (table.op, table.calls, table.dtype, table.mode) != (op, calls, dtype, mode):
        _end(collector, table, ranks)
        table = _Table(line, op, calls, dtype, mode=mode)
    collector.rows += 1
    row = _Row(line, int(found[4]), None, second, first) if mode == "streamed" else _Row(line, int(found[4]), first,
                                                                                         None, None)
    table.rows.append(row)
    return table


def _row(collector: Collector, table: _Table, line: int, text: str) -> None:
    """A line of a table: names, units, or a size with its figures, in newer versions with units of their own."""
    words = re.split(r"\s{2,}|\t", text.strip(" \t#|>"))
    names = [_WORDS.get(word.lower(), word.lower()) for word in words]
    if "size" in names and "count" in names:
        table.columns = tuple(names)
        return
    if words[0] == "(B)":
        table.units = text
        return
    fields = re.sub(r"(?<=[\w.]) (?=(?:ms|us|s|GB/s)(?:\s|$))", "_", text.strip(" \t#|>")).split()
    if not table.columns or not fields or not (fields[0][:1].isdigit() or len(fields) == len(table.columns)):
        return
    collector.rows += 1
    cells = dict(zip(table.columns, fields, strict=False))
    size, rate = whole(cells["size"]), "GB/s"
    duration = "us" if "(us)" in table.units else "ms"
    time, algbw, busbw = (_number(cells.get(name, ""), unit)
                          for name, unit in (("time", duration), ("algbw", rate), ("busbw", rate)))
    if len(fields) != len(table.columns) or size is None or not time:
        collector.warn(line, f"row skipped: expected {', '.join(table.columns)}")
        return
    table.dtype, table.redop = dtype_name(cells.get("type")), cells.get("redop")
    table.mode = "streamed" if "algbw" in table.columns else "isolated"
    table.rows.append(_Row(line, size, time, algbw, busbw))


def _number(cell: str, unit: str) -> PrintedNumber | None:
    """A cell in SI units; its own unit, if it has one, precedes that of the column."""
    text, _, own = cell.partition("_")
    number, scale = printed_number(text), _SCALES.get(own or unit)
    return PrintedNumber(number.value * scale, number.error * scale) if number and scale else None


def _factor(op: str) -> Callable[[int], float]:
    """NW Bandwidth over Algo Bandwidth, for n ranks."""
    if op == "all_gather":
        return lambda ranks: ranks - 1.0
    return OPERATIONS[op].bus_factor if is_known(op) else lambda ranks: 1.0


def _end(collector: Collector, table: _Table | None, commanded: int | None) -> None:
    """Add the rows of a finished table."""
    if table and table.size is not None and (not table.rows or not table.size):
        collector.warn(table.line, f"block of {table.op} left out: expected its size and two figures")
        return
    if table is None or not table.rows:
        return
    factor = _factor(table.op)
    pairs = [(row.algbw, row.busbw) for row in table.rows if row.algbw and row.busbw]
    implied = implied_ranks(factor, pairs)
    given = collector.hints.ranks
    if commanded and given and given != commanded:
        collector.warn(table.line, f"--log-ranks {given} is ignored: the command above starts {commanded}")
    ranks = commanded or given or implied
    if not ranks:
        collector.need_ranks(table.line, len(table.rows))
        return
    notes = () if commanded or given else (f"{ranks} ranks inferred from the two bandwidths",)
    run = collector.run(Origin("hccl_demo", library="HCCL of Habana, version not stated", device="hpu", ranks=ranks))
    known = OPERATIONS[table.op] if is_known(table.op) else None
    for row in table.rows:
        _check(collector, row, ranks, factor(ranks), table.dtype)
        time_s = row.time.value if row.time else row.size / row.algbw.value if row.algbw and row.algbw.value else None
        collector.add(Imported(
            run=run, op=table.op, ranks=ranks, message_bytes=row.size * (ranks if table.op == "all_gather" else 1),
            native_size_bytes=row.size, dtype=table.dtype,
            redop=table.redop or "sum" if known and known.reduces else None,
            in_place=False if known and known.has_in_place else None,
            mode="streamed" if table.mode == "streamed" else "isolated", time_s=time_s,
            statistic="root rank, mean over a batch" if table.mode == "streamed" else "root rank, mean over calls",
            time_kind=ROOT, repeats=table.calls, algbw_Bps=row.algbw.value if row.algbw else None,
            busbw_Bps=None if table.op == "all_gather" or not row.busbw else row.busbw.value,
            notes=notes if row.time else (*notes, "time computed from the algorithm bandwidth"),
            source=collector.source(row.line)))


def _check(collector: Collector, row: _Row, ranks: int, factor: float, dtype: str | None) -> None:
    """Warn if the figures of a row contradict each other."""
    if row.time and row.algbw and (words := misfit(row.size, row.time, row.algbw, ITEMSIZES.get(dtype or ""), ranks)):
        collector.warn(row.line, f"algo_bw is not size over time: {words}; recomputed from the time")
    if row.algbw and row.busbw and not agree((row.algbw, row.busbw), factor):
        collector.warn(row.line, f"nw_bw is not algo_bw times {factor:.6g}, as it is for {ranks} ranks")
