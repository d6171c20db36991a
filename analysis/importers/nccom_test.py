"""nccom-test of AWS Neuron: columns by name, since options add some.

Its GB/s are GiB/s, so they are recomputed. Operation and ranks come from the command above a table, which belongs to
that table only, else from options.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name, requested_op
from collbench.collectives.records.record import Imported

from .shared.bus_ratio import warn_of_ratio
from .shared.collector import UNSTATED, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, scaled, whole
from .shared.rows import meant_as_row
from .shared.units import per_second, rate_scale

__all__ = ["TITLE", "claims", "read", "recognise"]

TITLE = "nccom-test"

_HEADER = re.compile(r"^[ \t#]*size\(B\)\s+count\(elems\)\s.{0,300}\btime:?\S*\(\w{1,5}\)", re.MULTILINE)
_COMMAND = re.compile(r"\bnccom-test\b.*?\s(all_?reduce|all_?gather|reduce_?scatter|all_?to_?allv?|allr|allg|redsct|"
                      r"sendrecv|permute|broadcast|bcast)(?:\s|$)")
_ATTEMPT = re.compile(r"\bnccom-test\s+-")
_RANKS = re.compile(r"\s(?:-r|--nworkers|--ntasks)[ =](\d{1,7})\b")
_CALLS = re.compile(r"\s(?:-n|--iters)[ =](\d{1,9})\b")
_SHORT = MappingProxyType({"allr": "all_reduce", "allg": "all_gather", "redsct": "reduce_scatter"})
_COLUMN = re.compile(r"([^\s()]+)(?:\(([^\s()]+)\))?")
_FAILED = re.compile(r"\s*(\d{1,18})\s+(Failure\b.{0,100})")


@dataclass
class _Table:
    """One run: `columns` are name and unit; `rows` are line and cells by name."""

    line: int
    op: str | None = None
    ranks: int | None = None
    calls: int | None = None
    command: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    failed: list[tuple[int, int, str]] = field(default_factory=list)


def recognise(text: str) -> bool:
    """Whether `text` has a heading of this tool."""
    return bool(_HEADER.search(text))


def claims(log: Log) -> set[int]:
    """Lines of its tables, whose rows look like those of nccl-tests."""
    return {number for table in _tables(log, []) for number in (table.line, *(line for line, _ in table.rows))}


def read(log: Log, collector: Collector) -> None:
    """Add every table of the log."""
    faults: list[tuple[int, str]] = []
    for table in _tables(log, faults):
        collector.rows += len(table.rows) + len(table.failed)
        op = table.op or (requested_op(collector.hints.op) if collector.hints.op else None)
        ranks = table.ranks or collector.hints.ranks
        if table.rows and not op:
            collector.need_op(table.line, len(table.rows))
        if table.rows and not ranks:
            collector.need_ranks(table.line, len(table.rows))
        if op and ranks and (table.rows or table.failed):
            _add(collector, table, op, ranks)
    collector.warn_of(faults)


def _tables(log: Log, faults: list[tuple[int, str]]) -> Iterator[_Table]:
    """The tables, each with the command above it."""
    settings, table = _Table(1), None
    for line in log.lines:
        text = line.text
        if _HEADER.match(text):
            if table:
                yield table
            settings.line, settings.columns = line.number, tuple(_columns(text))
            settings, table = _Table(1), settings
        elif _ATTEMPT.search(text):
            settings = _command(text)
        elif table and (failure := _FAILED.match(text)):
            table.failed.append((line.number, int(failure[1]), failure[2].strip()))
        elif table and text.strip():
            _row(table, line.number, text.split(), faults)
    if table:
        yield table


def _columns(text: str) -> Iterator[tuple[str, str]]:
    for word in text.split():
        if found := _COLUMN.fullmatch(word):
            yield found[1].lower(), found[2] or ""
        elif word != "#":
            yield f"?{word}", ""


def _command(text: str) -> _Table:
    named, counted, repeated = _COMMAND.search(text), _RANKS.search(text), _CALLS.search(text)
    return _Table(1, op_name(_SHORT.get(named[1], named[1])) if named else None,
                  int(counted[1]) or None if counted else None, int(repeated[1]) if repeated else None,
                  text.strip(" #$")[:500])


def _row(table: _Table, line: int, fields: list[str], faults: list[tuple[int, str]]) -> None:
    """Store a row, or say why a line that looks like one is none."""
    if not meant_as_row(fields, len(table.columns)):
        return
    if len(fields) < len(table.columns):
        faults.append((line, f"{len(fields)} cells under {len(table.columns)} column names: left out"))
        return
    if len(fields) > len(table.columns):
        faults.append((line, f"{len(fields)} cells under {len(table.columns)} column names: the last left out"))
    cells = dict(zip((name for name, _ in table.columns), fields, strict=False))
    if (whole(cells.get("size", "")) or -1) < 0 or printed_number(cells.get(_time_name(table) or "", "")) is None:
        faults.append((line, f"no size, or no time: {' '.join(fields)!r:.80} left out"))
        return
    for name, _ in table.columns:
        if name in ("algbw", "busbw") and printed_number(cells[name]) is None:
            faults.append((line, f"{name} {cells[name]!r:.24} is not a number: not compared"))
    table.rows.append((line, cells))


def _time_name(table: _Table) -> str | None:
    """The column of the mean time; without one, that of the median."""
    names = [name for name, _ in table.columns]
    return next((name for name in ("time:avg", "time", "time:p50") if name in names), None)


def _add(collector: Collector, table: _Table, op: str, ranks: int) -> None:
    """Add the rows of a table, each checked against its own bandwidths."""
    run = collector.run(Origin("nccom-test", library="Neuron collectives, version not stated", device="neuron",
                               ranks=ranks, command=table.command))
    time_name, units = _time_name(table) or "time", dict(table.columns)
    wrong: dict[str, list[int]] = {}
    rates: list[tuple[int, PrintedNumber | None, PrintedNumber | None]] = []
    for line, cells in table.rows:
        size, dtype = int(cells["size"]), dtype_name(cells.get("type"))
        algbw, busbw = (printed_number(cells.get(name, "")) for name in ("algbw", "busbw"))
        rates.append((line, algbw, busbw))

        def seconds(name: str, cells: dict[str, str] = cells) -> float | None:
            printed = printed_number(cells.get(name, ""))
            return printed.value / (per_second(units[name]) or 1e6) if printed else None

        printed = printed_number(cells[time_name])
        words = algbw and printed and misfit(
            size, scaled(printed, 1 / (per_second(units[time_name]) or 1e6)),
            scaled(algbw, rate_scale(units["algbw"]) or 1e9), ITEMSIZES.get(dtype or ""), ranks)
        if words:
            wrong.setdefault(words, []).append(line)
        collector.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, dtype=dtype,
            redop="sum" if is_known(op) and OPERATIONS[op].reduces else None, mode="streamed",
            time_s=seconds(time_name), statistic="median" if time_name == "time:p50" else "mean", time_kind=UNSTATED,
            repeats=table.calls, p50_s=seconds("time:p50"), p95_s=seconds("time:p95"), p99_s=seconds("time:p99"),
            algorithm=cells.get("algorithm"), source=collector.source(line)))
    for line, size, reason in table.failed:
        collector.add(Imported(run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, mode="streamed",
                               time_s=None, statistic="mean", time_kind=UNSTATED, source=collector.source(line),
                               status="failed", reason=reason))
    for words, lines in wrong.items():
        collector.warn(lines[0], f"algbw is not size over time in {len(lines)} rows: {words}; recomputed from the time")
    warn_of_ratio(collector, op, ranks, rates)
