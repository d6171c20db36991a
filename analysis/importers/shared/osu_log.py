"""Parse output of OSU micro-benchmarks, and of tools with the same format, into tables."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from .commands import is_command
from .log import LogLine
from .printed_numbers import PrintedNumber, printed_number, scaled, whole
from .rows import meant_as_row
from .units import per_second, rate_scale

__all__ = ["OsuRow", "OsuTable", "osu_tables"]

_TITLE = re.compile(r"[#\s]*(OSU|OMB Python|OMB-Py)\s+(\S+)\s+(.*?)\s*(?:\s(?:Test|Benchmark))?\s*(?:v(\d[\w.]*))?\s*$")
_PAIRS = re.compile(r"\[ pairs: (\d{1,7}) \]\s*\[ window size: (\d{1,7}|varied) \]")
_RANKS = re.compile(r"[#\s]*Ranks:\s*(\d{1,7})\s*$")
_DATATYPE = re.compile(r"[#\s]*Datatype:\s*(\w+)")
_COLUMNS = re.compile(r"[#\s]*(?:Size|Avg Latency\s?\(\ws\)|Overall\s?\(\ws\)|Latency \(\ws\))(?:\s|$)")
_ALONE = re.compile(r"[#\s]*Size\s+.{0,80}(?:\(\w{1,2}s\)|\b[GM]B/s)|[#\s]*(?:Avg )?Latency ?\(\ws\)")
_PROGRAM = re.compile(r"\bosu_([a-z_]{2,32})\b")
_COMMENT = re.compile(r"\s*#\s*(?:Overall =|\[|Send Buffer|Window|Synchron|Using|$|Warm)", re.IGNORECASE)
_OTHER_TABLE = 4        # numbers behind those of the columns: the row of another tool
_SPACES = re.compile(r"\s{2,}|\t|(?<=\))\s")
_UNIT = re.compile(r"(?<=\()([mnu]?s)\)$|\b([kmgt]i?b/s)\)?$")
_TITLES = MappingProxyType({
    "latency": "Latency", "bw": "Bandwidth", "bibw": "Bi-Directional Bandwidth", "multi_lat": "Multi Latency",
    "mbw_mr": "Multiple Bandwidth / Message Rate", "bw_fan_in": "Bandwidth Congestion In",
    "bw_fan_out": "Bandwidth Congestion Out"})
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
    scales: tuple[float, ...] = ()
    pairs: int | None = None
    window: str | None = None
    stated_ranks: int | None = None
    command: str | None = None
    rows: list[OsuRow] = field(default_factory=list)


def osu_tables(lines: Iterable[LogLine], faults: list[tuple[int, str]]) -> Iterator[OsuTable]:
    """Every table in order; rows without a title form a table without one, as does a second heading below rows.

    A command or the name of a program belongs to the table that follows it. Lines that are not read as rows are added
    to `faults`.
    """
    reader = _Reader(faults)
    for line in lines:
        if finished := reader.take(line):
            yield finished
    if reader.table:
        yield reader.table


class _Reader:
    """Reads line by line; holds the current table, and the command and program for the next one."""

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self.table: OsuTable | None = None
        self._faults = faults
        self._command: str | None = None
        self._program: str | None = None

    def take(self, line: LogLine) -> OsuTable | None:
        """Read one line; returns the table that it ends."""
        text, ended = line.text, None
        if title := _TITLE.match(text):
            ended = self._begin(OsuTable(line.number, title[3], title[2], title[4]))
        elif _ALONE.match(text) and (self.table is None or self.table.rows):
            heading = OsuTable(line.number, _title(self._program, text))
            ended = self._begin(heading)
            _take(heading, text)
        elif row := _row(line, self.table, self._faults):
            if self.table is None:
                self._begin(OsuTable(line.number))
            if self.table:
                self.table.rows.append(row)
        elif self.table and not _take(self.table, text):
            ended, self.table = self.table, None
        if is_command(text):
            self._command = text.strip()[:1000]
        if named := _PROGRAM.search(text):
            self._program = named[1]
        return ended

    def _begin(self, table: OsuTable) -> OsuTable | None:
        """Begin a table, to which the last command and program belong; returns the one before it."""
        ended, self.table = self.table, table
        table.command, self._command, self._program = self._command, None, None
        return ended


def _title(program: str | None, heading: str) -> str:
    """The title that `program` prints, if its kind is that of the heading; else empty."""
    if program is None:
        return ""
    blocking = program.removeprefix("i") if program[1:] and program.startswith(("iall", "ib", "ig", "ir", "is")) \
        else program
    title = _TITLES.get(program) or ("Non-blocking " if blocking != program else "") + f"{blocking.title()} Latency"
    return title if ("Bandwidth" in title) == ("B/s" in heading) else ""


def _take(table: OsuTable, text: str) -> bool:
    """Store what a line says about the table; False if the line ends it."""
    if pairs := _PAIRS.search(text):
        table.pairs, table.window = int(pairs[1]), pairs[2]
    elif ranks := _RANKS.match(text):
        table.stated_ranks = int(ranks[1])
    elif datatype := _DATATYPE.match(text):
        table.dtype = datatype[1]
    elif _COLUMNS.match(text) and not table.rows:
        words = [name.lower() for name in _SPACES.split(text.strip(" #\t")) if name.strip()]
        table.columns, table.scales = tuple(_usual(word)[0] for word in words), tuple(_usual(word)[1] for word in words)
    elif table.rows:
        return not (text.lstrip().startswith(("#", "```", "$")) and not _COMMENT.match(text))
    return True


def _usual(name: str) -> tuple[str, float]:
    """A column's name with the usual unit, us or MB/s, and the factor from its own."""
    found = _UNIT.search(name)
    if not found:
        return name, 1.0
    if times := per_second(found[1] or ""):
        return name[:found.start(1)] + "us)", 1e6 / times
    rate = rate_scale(found[2][0].upper() + found[2][1:].replace("b", "B"))
    return name[:found.start(2)] + "mb/s" + name[found.end(2):], (rate or 1e6) / 1e6


def _row(line: LogLine, table: OsuTable | None, faults: list[tuple[int, str]]) -> OsuRow | None:
    """Parse a row: numbers, optionally a validation verdict; else None, with a fault if it was meant as a row."""
    columns = table.columns if table else ()
    fields = line.text.split()
    if not 1 <= len(fields) <= 24 or not (fields[0][0].isdigit() or (table and _resembles(fields, table))):
        return None
    verdict = {"pass": True, "fail": False}.get(fields[-1].lower())
    printed = fields if verdict is None else fields[:-1]
    numbers = [number for field in printed if (number := printed_number(field))]
    names = tuple(name for name in columns if name != "validation")
    if names and len(numbers) < len(printed):
        return _remarked(line, table, printed, names, faults)
    if not numbers or len(numbers) < len(printed) or (len(numbers) == 1 and (not columns or "size" in columns)):
        if names and numbers:
            faults.append((line.number, f"not read as a row: {line.text.strip()!r:.80}"))
        return None
    if len(names) != len(numbers):
        names = _unnamed(len(numbers), names)
        if not names and columns:
            faults.append((line.number, f"{len(numbers)} numbers under {len(columns)} column names: left out"))
    return _cells(line, table, names, numbers, verdict) if names else None


def _cells(line: LogLine, table: OsuTable | None, names: tuple[str, ...], numbers: list[PrintedNumber],
           verdict: bool | None) -> OsuRow:
    factors = table.scales if table and len(table.scales) == len(numbers) else (1.0,) * len(numbers)
    return OsuRow(line.number, {name: scaled(number, factor)
                                for name, number, factor in zip(names, numbers, factors, strict=True)}, verdict)


def _remarked(line: LogLine, table: OsuTable | None, printed: list[str], names: tuple[str, ...],
              faults: list[tuple[int, str]]) -> OsuRow | None:
    """A row with a remark behind it; None, with a fault, if a cell is no number."""
    numbers = [number for field in printed[:len(names)] if (number := printed_number(field))]
    rest = " ".join(printed[len(names):])
    if len(numbers) == len(names) and not any(printed_number(field) for field in printed[len(names):]):
        faults.append((line.number, f"left out behind a row: {rest!r:.60}"))
        return _cells(line, table, names, numbers, None)
    others = sum(printed_number(field) is not None for field in printed[len(names):])
    if others < _OTHER_TABLE and (whole(printed[0]) is not None or (table and _resembles(printed, table))):
        faults.append((line.number, f"not read as a row: {line.text.strip()!r:.80}"))
    return None


def _resembles(fields: list[str], table: OsuTable) -> bool:
    """Whether a line that does not begin with a number was meant as a row: as many fields, all others numbers."""
    usual = len(table.rows[-1].cells) if table.rows else len(table.columns)
    return len(fields) == usual > 1 and meant_as_row(fields, usual) and all(map(printed_number, fields[1:]))


def _unnamed(count: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Column names for rows with more fields than the header: up to 7.3, -f prints five under two names."""
    if names and len(names) == 2 and names[0] == "size" and count == len(_FULL):
        return _FULL
    return _FULL[:2] if not names and count == 2 else ()
