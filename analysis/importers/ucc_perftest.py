"""ucc_perftest: a header of settings, then count, size and three times; with -F also three bandwidths.

In block operations the size is per rank or peer; the bandwidth of an all-to-all counts n-1 blocks.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, whole
from .shared.rows import numbers_row
from .shared.units import per_second

__all__ = ["TITLE", "read", "recognise"]

TITLE = "ucc_perftest"

_MARK = re.compile(r"^[ \t#>*-]{0,80}Collective:[ \t]+\w+[ \t]*\n(?:.{0,300}\n){0,4}.{0,80}Memory type:", re.MULTILINE)
_SETTING = re.compile(r"\s*(Collective|Memory type|Datatype|Reduction|Inplace):\s+(\S+)\s*$")
_UNIT = re.compile(r"\bTime, ?(\w{1,4})\b")
_NAMES = re.compile(r"\bavg\s+min\s+max(\s+avg\s+m\w\w\s+m\w\w)?\b")
_DIGITS = 20        # units of the last place that a bandwidth must have to say how many ranks there are


def recognise(text: str) -> bool:
    """Whether `text` has the header of this tool."""
    return bool(_MARK.search(text))


@dataclass
class _Table:
    """One run: its settings, and line and cells of each row. `per_second` is the unit of its times."""

    settings: dict[str, str]
    per_second: float = 1e6
    width: int | None = None
    rows: list[tuple[int, list[PrintedNumber]]] = field(default_factory=list)


def read(log: Log, collector: Collector) -> None:
    """Add every row; the rank count is not printed, but follows from the bandwidth of block operations."""
    runs: dict[tuple[str, int], str] = {}
    faults: list[tuple[int, str]] = []
    for table in _tables(log, faults):
        if not table.rows:
            continue
        collector.rows += len(table.rows)
        op = op_name(table.settings["Collective"])
        ranks, notes = collector.hints.ranks, tuple[str, ...]()
        if not ranks and (ranks := _implied_ranks(table, op, faults)):
            notes = (f"{ranks} ranks inferred from the bandwidth",)
        if not ranks:
            collector.need_ranks(table.rows[0][0], len(table.rows), op)
            continue
        if (op, ranks) not in runs:
            runs[op, ranks] = collector.run(Origin("ucc_perftest", library="UCC, version not stated",
                                                   device=table.settings.get("Memory type"), ranks=ranks))
        for line, cells in table.rows:
            _add(collector, runs[op, ranks], line, table, op, ranks, cells, notes)
    collector.warn_of(faults)


def _tables(log: Log, faults: list[tuple[int, str]]) -> Iterator[_Table]:
    """The tables, each with the settings above it."""
    table: _Table | None = None
    for line in log.lines:
        if setting := _SETTING.match(line.text):
            if table is None or (setting[1] == "Collective" and table.settings):
                if table:
                    yield table
                table = _Table({})
            table.settings[setting[1]] = setting[2]
        elif table and "Collective" in table.settings:
            if names := _NAMES.search(line.text):
                table.width = 8 if names[1] else 5
            elif unit := _UNIT.search(line.text):
                table.per_second = per_second(unit[1]) or 1e6
            else:
                _row(table, line.number, line.text, faults)
    if table and "Collective" in table.settings:
        yield table


def _row(table: _Table, line: int, text: str, faults: list[tuple[int, str]]) -> None:
    """Store a row of count, size, one or three times, and with -F one or three bandwidths."""
    fields = text.split()
    width = table.width or (len(table.rows[-1][1]) if table.rows
                            else next((width for width in (8, 5, 3) if len(fields) >= width), 3))
    cells, fault = numbers_row(text, width)
    if cells and whole(fields[1]) is None:
        cells, fault = None, f"no size in a row: {text.strip()!r:.80}"
    if cells:
        table.rows.append((line, cells))
    if fault:
        faults.append((line, fault))


def _implied_ranks(table: _Table, op: str, faults: list[tuple[int, str]]) -> int | None:
    """The rank count that the bandwidths of most rows give: those of block operations count n - 1 blocks."""
    if not (is_known(op) and OPERATIONS[op].in_blocks):
        return None
    counts = {line: round(cells[5].value * 1e9 * cells[2].value / table.per_second / cells[1].value) + 1
              for line, cells in table.rows
              if len(cells) >= 8 and cells[1].value > 0 and cells[5].value > 2 * _DIGITS * cells[5].error}
    if not counts:
        return None
    usual, times = Counter(counts.values()).most_common(1)[0]
    contrary = [line for line, count in counts.items() if count != usual]
    if 2 * times <= len(counts) or usual < 2:
        return None
    faults += [(line, f"time, size and bandwidth do not fit {usual} ranks, as other rows do") for line in contrary]
    return usual


def _add(collector: Collector, run: str, line: int, table: _Table, op: str, ranks: int, cells: list[PrintedNumber],
         notes: tuple[str, ...]) -> None:
    operation = OPERATIONS[op] if is_known(op) else None
    settings, size, unit = table.settings, int(cells[1].value), table.per_second
    average, *others = cells[2:5]
    low, high = others if len(others) == 2 else (None, None)
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if operation and operation.in_blocks else size,
        native_size_bytes=size, dtype=dtype_name(settings.get("Datatype")),
        redop=settings.get("Reduction", "sum").lower() if operation and operation.reduces else None,
        in_place=settings.get("Inplace") == "1" if operation and operation.has_in_place else None, mode="isolated",
        time_s=average.value / unit, statistic="mean over ranks of the mean over calls", time_kind=MEAN,
        rank_min_s=low.value / unit if low else None, rank_max_s=high.value / unit if high else None, notes=notes,
        source=collector.source(line)))
