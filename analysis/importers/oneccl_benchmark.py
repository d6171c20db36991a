"""The benchmark of oneCCL: text tables and the CSV of `-o`; ccl_latency and ccl_bw, its two-rank programs.

`count` is a rank's block in gather and all-to-all operations, else the whole buffer (examples/benchmark/src). A time
covers all buffers of `--buf_count`, and in text so do the bytes. With several collectives in one run the times are
their sum, so those rows are left out.
"""

import re
from dataclasses import dataclass

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.claims import is_heading, table_lines
from .shared.collector import MEAN, ROOT, Collector, Origin
from .shared.log import Log, LogLine
from .shared.printed_numbers import PrintedNumber, printed_number, whole

__all__ = ["TITLE", "claims", "read", "recognise"]

TITLE = "oneCCL benchmark"

_MARK = re.compile(r"# Benchmarking: +\w|#bytes\s+#repetitions\s+(?:#usec\(latency\)|Mbytes/sec(?!\s+Msg))|"
                   r"^.{0,80}#ranks,collective,reduction,dtype,", re.MULTILINE)
_TITLE = re.compile(r"# Benchmarking:\s+(\w[\w -]*)")
_RANKS = re.compile(r"#processes:\s+(\d{1,7})\b")
_SETTING = re.compile(r"(?:^|\s)(datatype|datatypes|reduction|reductions|buf_count|inplace|processes):[ \t]*(\S*)\s*$")
_COLUMNS = re.compile(r"[\s|>]*#bytes\s+(?:#elem_count\s+)?#repetitions\s+\S*(?:\[\w+\]|\(latency\)|Mbytes/sec)")
_CSV = re.compile(r".{0,80}?(#ranks,collective,reduction,dtype,.*)")
_END = re.compile(r"# All done")
_OWN = re.compile(r"[\s|>]*(?:#bytes\s|# All done)")
_SECONDS = {"[usec]": 1e-6, "[msec]": 1e-3, "[sec]": 1.0}
_BLOCKS = frozenset({"all_gather", "all_to_all", "all_to_all_v"})


@dataclass
class _Table:
    """One table with the settings above it; `columns` is empty until the header."""

    ops: tuple[str, ...]
    ranks: int | None
    settings: dict[str, str]
    columns: tuple[str, ...] = ()
    run: str = ""


def recognise(text: str) -> bool:
    """Whether `text` has a title or a header of these programs."""
    return bool(_MARK.search(text))


def claims(log: Log) -> set[int]:
    """Lines of the tables, whose header begins like that of Intel MPI Benchmarks."""
    return table_lines(log.lines, _TITLE, _OWN)


def read(log: Log, collector: Collector) -> None:
    """Add every row of the text tables, then of the CSV."""
    settings: dict[str, str] = {}
    table: _Table | None = None
    for line in log.lines:
        text = line.text
        if title := _TITLE.search(text):
            table = _Table(tuple(title[1].split()), None, dict(settings))
        elif (ranks := _RANKS.search(text)) and table:
            table.ranks = int(ranks[1])
        elif setting := _SETTING.search(text):
            settings[setting[1].removesuffix("s")] = setting[2]
        elif _COLUMNS.match(text):
            if table is None or table.columns:
                table = _Table((), 2, dict(settings))     # ccl_latency, ccl_bw
            table.columns = tuple(text.strip(" \t#|>").split())
        elif _END.search(text) or _CSV.match(text) or is_heading(text):
            table = None
        elif table and table.columns:
            _text_row(collector, table, line)
    _csv_rows(log, collector)


def _csv_rows(log: Log, collector: Collector) -> None:
    header: list[str] = []
    shared: dict[tuple[str, ...], set[str]] = {}
    for line in log.lines:
        if found := _CSV.match(line.text):
            header = [name.strip() for name in found[1].split(",")]
            shared = _together(log.lines, header)
        elif _TITLE.search(line.text):
            header = []
        elif header and line.text.count(",") >= len(header) // 2:
            _csv_row(collector, header, line, shared)


def _text_row(collector: Collector, table: _Table, line: LogLine) -> None:
    """Add a row: as many fields as the header has columns."""
    fields = line.text.strip(" \t#|>").split()
    if not fields or not (fields[0][:1].isdigit() or len(fields) == len(table.columns)):
        return
    collector.rows += 1
    cells = {name.lstrip("#"): printed_number(cell) for name, cell in zip(table.columns, fields, strict=False)}
    size = whole(fields[0])
    if len(fields) != len(table.columns) or size is None or not all(cells.values()):
        collector.warn(line.number, f"row skipped: expected {len(table.columns)} numbers: {' '.join(table.columns)}")
        return
    numbers = {name: number for name, number in cells.items() if number}
    if not table.ops:
        _pair(collector, table, line.number, size, numbers)
        return
    if len(table.ops) > 1:
        collector.warn(line.number, f"row skipped: its time is the sum over {', '.join(table.ops)}")
        return
    times = _times(numbers)
    ranks = table.ranks or collector.hints.ranks or whole(table.settings.get("processe", ""))
    if "avg" not in times or not ranks:
        collector.warn(line.number, "row skipped: no t_avg with a known unit, or no number of ranks")
        return
    buffers = whole(table.settings.get("buf_count", "1"))
    if not buffers or buffers < 1:
        collector.warn(line.number, "row skipped: its time covers buf_count buffers, which the options do not state")
        return
    dtype = dtype_name(table.settings.get("datatype"))
    elements = numbers.get("elem_count")
    if elements and dtype in ITEMSIZES and elements.value * ITEMSIZES[str(dtype)] != size:
        collector.warn(line.number, f"#bytes is not #elem_count times the size of {dtype}: taken as printed")
    if not table.run:
        table.run = _run(collector, ranks)
    _add(collector, table.run, line.number, table.ops[0], ranks, size // buffers, times, buffers, dtype,
         table.settings.get("reduction"), {"1": True, "0": False}.get(table.settings.get("inplace", "")),
         numbers["repetitions"])


def _times(numbers: dict[str, PrintedNumber]) -> dict[str, float]:
    """t_min, t_max and t_avg in seconds by the unit in their names."""
    found = {}
    for name, number in numbers.items():
        kind, bracket, unit = name.partition("[")
        if kind in ("t_min", "t_max", "t_avg") and bracket + unit in _SECONDS:
            found[kind[2:]] = number.value * _SECONDS[bracket + unit]
    return found


def _csv_row(collector: Collector, names: list[str], line: LogLine, shared: dict[tuple[str, ...], set[str]]) -> None:
    """Add a row of the CSV, whose bytes are those of one buffer."""
    collector.rows += 1
    cells = line.text.split(",")
    named = dict(zip(names, (cell.strip() for cell in cells), strict=False))
    ranks, size, buffers = (whole(named.get(name, "")) for name in ("#ranks", "message_size", "#buffers"))
    numbers = {name: number for name in named if (number := printed_number(named[name]))}
    times, repetitions = _times(numbers), numbers.get("#repetitions")
    if len(cells) != len(names) or not ranks or size is None or not buffers or "avg" not in times or not repetitions:
        collector.warn(line.number, f"row skipped: expected {len(names)} values: {','.join(names)[:200]}")
        return
    together = shared.get(_figures(named), set())
    if len(together) > 1:
        collector.warn(line.number, f"row skipped: its time is the sum over {', '.join(sorted(together))}")
        return
    run = next((one.id for one in collector.runs if one.transport == "oneccl_benchmark" and one.world == ranks), "")
    _add(collector, run or _run(collector, ranks), line.number, named["collective"], ranks, size, times, buffers,
         dtype_name(named.get("dtype")), named.get("reduction") or None, None, repetitions)


def _together(lines: list[LogLine], names: list[str]) -> dict[tuple[str, ...], set[str]]:
    """The collectives by the figures of a row: those that ran together share every figure."""
    found: dict[tuple[str, ...], set[str]] = {}
    for line in lines:
        if line.text.count(",") == len(names) - 1:
            named = dict(zip(names, (cell.strip() for cell in line.text.split(",")), strict=True))
            found.setdefault(_figures(named), set()).add(named["collective"])
    return found


def _figures(named: dict[str, str]) -> tuple[str, ...]:
    return tuple(cell for name, cell in named.items() if name not in ("collective", "reduction"))


def _run(collector: Collector, ranks: int) -> str:
    return collector.run(Origin("oneccl_benchmark", library="oneCCL, version not stated", ranks=ranks))


def _add(collector: Collector, run: str, line: int, name: str, ranks: int, size: int, times: dict[str, float],
         buffers: int, dtype: str | None, redop: str | None, in_place: bool | None, calls: PrintedNumber) -> None:
    """Add one result; `size` is the bytes of one buffer, the times cover all buffers."""
    vector = {"allgatherv": "all_gather", "alltoallv": "all_to_all_v"}.get(name.lower())
    op = vector or op_name(name)
    operation = OPERATIONS[op] if is_known(op) else None
    words = [f"{name} with equal counts" if op == "all_gather" and vector else None,
             f"{buffers} buffers at once" if buffers > 1 else None]
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if op in _BLOCKS else size, native_size_bytes=size,
        dtype=dtype, redop=(redop or "sum") if operation and operation.reduces else None,
        in_place=in_place if operation and operation.has_in_place else None,
        traffic="even" if op == "all_to_all_v" else None, mode="streamed", time_s=times["avg"] / buffers,
        statistic="mean over ranks of the mean over calls", time_kind=MEAN, repeats=int(calls.value),
        rank_min_s=times["min"] / buffers if "min" in times else None, rank_mean_s=times["avg"] / buffers,
        rank_max_s=times["max"] / buffers if "max" in times else None,
        variant=";".join(word for word in words if word) or None, source=collector.source(line)))


def _pair(collector: Collector, table: _Table, line: int, size: int, numbers: dict[str, PrintedNumber]) -> None:
    """Add a row of ccl_latency, half a round trip, or of ccl_bw, a window of messages in 10^6 bytes per second."""
    latency, rate = numbers.get("usec(latency)"), numbers.get("Mbytes/sec")
    if not (latency or (rate and rate.value > 0)):
        collector.warn(line, "row skipped: neither a latency nor a bandwidth above zero")
        return
    table.run = table.run or _run(collector, 2)
    collector.add(Imported(
        run=table.run, op="ping_pong" if latency else "bandwidth", ranks=2, message_bytes=size, native_size_bytes=size,
        mode="streamed", time_s=latency.value / 1e6 if latency else size / (rate.value * 1e6) if rate else None,
        statistic="rank 0, mean over calls", time_kind=ROOT, repeats=int(numbers["repetitions"].value),
        busbw_Bps=rate.value * 1e6 if rate else None,
        notes=() if latency else ("time computed from the bandwidth",), source=collector.source(line)))
