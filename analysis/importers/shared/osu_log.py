"""Parse output of OSU micro-benchmarks, and of tools with the same format, into tables."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .commands import is_command
from .log import LogLine
from .printed_numbers import PrintedNumber, printed_number

__all__ = ["OsuRow", "OsuTable", "osu_tables"]

_TITLE = re.compile(r"[#\s]*(OSU|OMB Python|OMB-Py)\s+(\S+)\s+(.*?)\s*(?:\s(?:Test|Benchmark))?\s*(?:v(\d[\w.]*))?\s*$")
_PAIRS = re.compile(r"\[ pairs: (\d{1,7}) \]\s*\[ window size: (\d{1,7}|varied) \]")
_RANKS = re.compile(r"[#\s]*Ranks:\s*(\d{1,7})\s*$")
_DATATYPE = re.compile(r"[#\s]*Datatype:\s*(\w+)")
_COLUMNS = re.compile(r"[#\s]*(?:Size|Avg Latency\(us\)|Overall\(us\)|Latency \(us\))(?:\s|$)")
_COMMENT = re.compile(r"\s*#\s*(?:Overall =|\[|Send Buffer|Window|Synchron|Using|$|Warm)", re.IGNORECASE)
_SPACES = re.compile(r"\s{2,}|(?<=\))\s")
_FULL = ("size", "avg latency(us)", "min latency(us)", "max latency(us)", "iterations")


class OsuRow(NamedTuple):
    """One row: numbers by lower-case column name; `valid` is the validation result, None if it was off."""

    line: int
    cells: dict[str, PrintedNumber]
    valid: bool | None


@dataclass
class OsuTable:
    """One test; `library` is the word after OSU, such as MPI or MPI-CUDA; the title is empty if missing."""

    line: int
    title: str = ""
    library: str = "MPI"
    version: str | None = None
    dtype: str | None = None
    columns: tuple[str, ...] = ()
    pairs: int | None = None
    window: str | None = None
    stated_ranks: int | None = None
    command: str | None = None
    rows: list[OsuRow] = field(default_factory=list)


def osu_tables(lines: Iterable[LogLine]) -> Iterator[OsuTable]:
    """Every table in order; several rows without a title form a table without one."""
    command: str | None = None
    table: OsuTable | None = None
    for line in lines:
        text = line.text
        if title := _TITLE.match(text):
            if table:
                yield table
            table = OsuTable(line.number, title[3], title[2], title[4], command=command)
        elif row := _row(line, table.columns if table else ()):
            table = table or OsuTable(line.number, command=command)
            table.rows.append(row)
        elif table and not _take(table, text):
            yield table
            table = None
        if is_command(text):
            command = text.strip()[:1000]
    if table:
        yield table


def _take(table: OsuTable, text: str) -> bool:
    """Store what a line says about the table; False if the line ends it."""
    if pairs := _PAIRS.search(text):
        table.pairs, table.window = int(pairs[1]), pairs[2]
    elif ranks := _RANKS.match(text):
        table.stated_ranks = int(ranks[1])
    elif datatype := _DATATYPE.match(text):
        table.dtype = datatype[1]
    elif _COLUMNS.match(text) and table.title:
        table.columns = tuple(name.lower() for name in _SPACES.split(text.strip(" #")) if name)
    elif table.rows:
        return not (text.lstrip().startswith(("#", "```", "$")) and not _COMMENT.match(text))
    return True


def _row(line: LogLine, columns: tuple[str, ...]) -> OsuRow | None:
    """Parse a row: numbers only, optionally followed by a validation verdict; else None."""
    fields = line.text.split()
    if not 1 <= len(fields) <= 24 or not fields[0][0].isdigit():
        return None
    verdict = {"pass": True, "fail": False}.get(fields[-1].lower())
    printed = fields if verdict is None else fields[:-1]
    numbers = [number for field in printed if (number := printed_number(field))]
    if not numbers or len(numbers) < len(printed) or (len(numbers) == 1 and (not columns or "size" in columns)):
        return None
    names = tuple(name for name in columns if name != "validation")
    if len(names) != len(numbers):
        names = _unnamed(len(numbers), names)
    return OsuRow(line.number, dict(zip(names, numbers, strict=True)), verdict) if names else None


def _unnamed(count: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Column names for rows with more fields than the header: up to 7.3, -f prints five under two names."""
    if names and len(names) == 2 and names[0] == "size" and count == len(_FULL):
        return _FULL
    return _FULL[:2] if not names and count == 2 else ()
