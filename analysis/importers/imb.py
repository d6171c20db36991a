"""Intel MPI Benchmarks, MPI-1 and non-blocking parts: one block per benchmark and process count.

Times are the maximum over ranks, from which IMB computes its own Mbytes/s (10^6 bytes; old releases 2^20); average and
minimum are kept too. Sizes are per rank or peer; Reduce_scatter prints the total up to 2018 and the
share of a rank since 2019.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported, Status

from .shared.collector import SLOWEST, UNSTATED, Collector, Origin, joined
from .shared.log import Log, LogLine
from .shared.printed_numbers import PrintedNumber, misfit, whole
from .shared.rows import numbers_row

__all__ = ["TITLE", "read", "recognise"]

TITLE = "Intel MPI Benchmarks"

_MARK = re.compile(r"Intel ?\(R\) MPI Benchmarks|^[# \t>]{0,64}Benchmarking +\S|"
                   r"^[# \t>]{0,64}#(?:bytes|repetitions)[ \t].{0,200}\[usec\]",
                   re.MULTILINE)
_VERSION = re.compile(r"MPI Benchmarks\s+([\w. ]+?)\s*,")
_BENCHMARK = re.compile(r"[#\s]*Benchmarking\s+(Multi-)?(\S+)")
_PROCESSES = re.compile(r"[#\s]*#processes\s*[=:]\s*(\d{1,8})")
_GROUPS = re.compile(r"[#\s(]*(\d{1,8}) groups of (\d{1,8}) processes")
_TYPE = re.compile(r"[#\s]*MPI_Datatype(\s+for reductions)?\s*:\s*(MPI_\w+)")
_COLUMNS = re.compile(r"\s*(?:Group\s+)?#(?:bytes|repetitions)\s")
_TROUBLE = re.compile(r"\s*(\d{1,18})\s+(out-of-mem\.|int-overflow|time-out\.)")
# Between rank i and i + n/2 in windows of 64; the bandwidth is the sum over all pairs, and both directions.
_OF_ALL_PAIRS = MappingProxyType({"uniband": "message_rate", "biband": "bisection"})
_SCALES = MappingProxyType({"sendrecv": 2, "exchange": 4, "pingping": 1, "pingpong": 1})
_STATUS_OF: MappingProxyType[str, Status] = MappingProxyType({"out-of-mem.": "skipped-memory", "time-out.": "timeout"})


@dataclass
class _Block:
    """One benchmark over one process count."""

    line: int
    name: str
    multi: bool = False
    ranks: int | None = None
    groups: int = 1
    columns: tuple[str, ...] = ()
    rows: list[tuple[LogLine, tuple[PrintedNumber, ...]]] = field(default_factory=list)
    troubles: list[tuple[int, int, str]] = field(default_factory=list)
    faults: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class _Header:
    """Settings from the head of the file; datatypes are keyed by whether they are for reductions."""

    version: str | None = None
    types: dict[bool, str] = field(default_factory=dict)


def recognise(text: str) -> bool:
    """Whether `text` has the title or the blocks of these benchmarks."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every block of the log."""
    header = _Header()
    for block in _blocks(log.lines, header):
        collector.rows += len(block.rows) + len(block.troubles)
        collector.warn_of(block.faults)
        ranks = block.ranks or collector.hints.ranks
        op = _operation(block)
        if ranks is None or not block.name:
            if block.rows:
                need = collector.need_ranks if ranks is None else collector.need_op
                need(block.line, len(block.rows))
            continue
        if not block.rows and not block.troubles:
            continue
        run = collector.run(Origin("imb", header.version, "MPI, version not stated", "CPU", ranks))
        _check_units(collector, block)
        for line, numbers in block.rows:
            _add(collector, header, block, op, ranks, run, line.number, dict(zip(block.columns, numbers, strict=True)))
        for number, size, reason in block.troubles:
            status: Status = _STATUS_OF.get(reason, "failed")
            collector.add(_result(collector, header, block, op, ranks, run, number, size, None, status=status,
                                  reason=f"printed as {reason}"))


def _blocks(lines: list[LogLine], header: _Header) -> Iterator[_Block]:
    """One benchmark after the other; settings between them go into `header`."""
    block: _Block | None = None
    for line in lines:
        text = line.text
        if started := _BENCHMARK.match(text):
            if block:
                yield block
            block = _Block(line.number, started[2], bool(started[1]))
        elif _note_header(header, text):
            continue
        elif _COLUMNS.match(text):
            if block is None or block.rows:     # a table without its heading
                if block:
                    yield block
                block = _Block(line.number, "")
            block.columns = tuple(text.split())
        elif block:
            _take(block, line)
    if block:
        yield block


def _note_header(header: _Header, text: str) -> bool:
    """Store a setting from the head of the file; returns whether the line had one."""
    if version := _VERSION.search(text):
        header.version = version[1]
    elif kind := _TYPE.match(text):
        header.types[bool(kind[1])] = kind[2]
    else:
        return False
    return True


def _take(block: _Block, line: LogLine) -> None:
    text = line.text
    if count := _PROCESSES.match(text):
        block.ranks = int(count[1]) or None
    elif groups := _GROUPS.match(text):
        block.groups, block.ranks = int(groups[1]), int(groups[2]) or None
    elif trouble := _TROUBLE.match(text):
        block.troubles.append((line.number, int(trouble[1]), trouble[2]))
    elif block.columns:
        numbers, fault = numbers_row(text, len(block.columns))
        if numbers:
            block.rows.append((line, tuple(numbers)))
        if fault:
            block.faults.append((line.number, fault))


def _operation(block: _Block) -> str:
    """The operation; a leading I, as in Iallreduce, is the non-blocking one."""
    name = block.name
    if _is_non_blocking(block):
        name = name[1:].removesuffix("_pure")
    return _OF_ALL_PAIRS.get(name.lower()) or op_name(name)


def _is_non_blocking(block: _Block) -> bool:
    return block.name[:1] == "I" and is_known(op_name(block.name[1:].removesuffix("_pure")))


def _add(collector: Collector, header: _Header, block: _Block, op: str, ranks: int, run: str, line: int,
         cells: dict[str, PrintedNumber]) -> None:
    """Add a row, after comparing its bandwidth, if printed, with size and time."""
    size = whole(f"{cells['#bytes'].value:.0f}") if "#bytes" in cells else 0
    time = next((cells[name] for name in ("t_max[usec]", "t[usec]", "t_pure[usec]") if name in cells), None)
    rate = cells.get("Mbytes/sec")
    if size is None or (time is None and not (rate and rate.value > 0)):
        collector.warn(line, "no time and no bandwidth in this row")
        return
    factor = OPERATIONS[op].bus_factor(ranks) if op in _OF_ALL_PAIRS.values() else 1
    wrong = bool(cells.get("defects") and cells["defects"].value)
    collector.add(_result(
        collector, header, block, op, ranks, run, line, size,
        time.value / 1e6 if time else factor * size / (rate.value * 1e6) if rate else None, cells,
        status="wrong" if wrong else "ok", reason="defects found" if wrong else None))


def _check_units(collector: Collector, block: _Block) -> None:
    """Compare bandwidths with sizes and times; one warning per kind of mismatch."""
    scale = _SCALES.get(block.name.lower(), 1)
    wrong: dict[str, list[int]] = {}
    for line, numbers in block.rows:
        cells = dict(zip(block.columns, numbers, strict=True))
        time, rate = cells.get("t_max[usec]") or cells.get("t[usec]"), cells.get("Mbytes/sec")
        if time and rate and "#bytes" in cells:
            words = misfit(cells["#bytes"].value * scale, PrintedNumber(time.value / 1e6, time.error / 1e6),
                           PrintedNumber(rate.value * 1e6, rate.error * 1e6))
            if words:
                wrong.setdefault(words, []).append(line.number)
    for words, lines in wrong.items():
        collector.warn(lines[0], f"{block.name}: Mbytes/sec is not {scale} x size over time in {len(lines)} rows: "
                     f"{words}; recomputed from the time")


def _result(collector: Collector, header: _Header, block: _Block, op: str, ranks: int, run: str, line: int, size: int,
            time_s: float | None, cells: dict[str, PrintedNumber] | None = None, *, status: Status,
            reason: str | None) -> Imported:
    cells = cells or {}
    operation = OPERATIONS[op] if is_known(op) else None
    reduces = bool(operation and operation.reduces)
    dtype = dtype_name(header.types.get(reduces, header.types.get(False)))
    blocks = operation is not None and (operation.in_blocks or operation.uneven) \
        and not _prints_total(op, header.version)
    calls = cells.get("#repetitions")

    def seconds(name: str) -> float | None:
        return cells[name].value / 1e6 if name in cells else None

    return Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if blocks else size, native_size_bytes=size,
        dtype=dtype, redop="sum" if reduces else None,
        traffic={"all_to_all_v": "even", "bisection": "halves"}.get(op), mode="streamed",
        time_s=time_s, statistic="maximum over ranks of the mean over calls" if "t_max[usec]" in cells
        else "mean over calls", time_kind=SLOWEST if "t_max[usec]" in cells or op == "ping_pong" else UNSTATED,
        repeats=int(calls.value) if calls else None, rank_min_s=seconds("t_min[usec]"),
        rank_mean_s=seconds("t_avg[usec]"), rank_max_s=seconds("t_max[usec]"),
        checked=True if "defects" in cells else None, notes=_notes(op, header, size, dtype),
        variant=joined(["non-blocking" if _is_non_blocking(block) else None,
                        f"{block.groups} groups at once" if block.groups > 1 else None]),
        source=collector.source(line), status=status, reason=reason)


def _prints_total(op: str, version: str | None) -> bool:
    """Whether the size is already the total: Reduce_scatter before 2019."""
    year = re.match(r"\d+", version or "")
    return op == "reduce_scatter" and year is not None and int(year[0]) < 2019


def _notes(op: str, header: _Header, size: int, dtype: str | None) -> tuple[str, ...]:
    notes = []
    if op == "reduce_scatter" and header.version is None:
        notes.append("size assumed to be per rank, as since IMB 2019; the version is not in the log")
    if size % ITEMSIZES.get(dtype or "", 1):
        notes.append(f"size is not a multiple of the size of {dtype}")
    return tuple(notes)
