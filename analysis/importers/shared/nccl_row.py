"""Parse one row of an nccl-tests table of any version: left fields, then one or two groups of time, bandwidths, errors.

Layouts (src/common.cu and src/*.cu of nccl-tests, rccl-tests): before August 2022 each program had its own left part
and an `error` column; since then size, count, type, redop, root and `#wrong`. `redop` may be blank, so a row's fields
are counted; the heading, if there is one, names the columns of a group and their units. A field too many, or one that
cannot be read, is a fault of the row and decides nothing else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from collbench.collectives.cases.names import ITEMSIZES, dtype_name

from .printed_numbers import PrintedNumber, misfit, printed_number, scaled, whole
from .units import per_second, rate_scale, units_of

__all__ = ["Columns", "Half", "Row", "header", "looks_like_a_row", "parse_row", "resembles_a_row", "with_units"]

_REDOPS = frozenset({"sum", "prod", "min", "max", "avg", "mulsum", "none", "all"})
_STAMP = re.compile(r"\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d$")
_PLAIN = ("time", "algbw", "busbw", "#wrong")
_EVENTS = ("time", "hipevt", "algbw", "busbw", "#wrong")
_PER_ITERATION = (*_PLAIN, "i_min", "i_max", "i_p99", "i_cv%")
_GROUP_OF = {4: _PLAIN, 5: _EVENTS, 8: _PLAIN, 10: _EVENTS, 16: _PER_ITERATION}
_NAMES = re.compile(r"[#\s]*size\s+count\s+type\b(.*\btime\b.*)", re.IGNORECASE)
_UNITS = re.compile(r"[#\s]*(?:\([^()\s]{1,16}\)\s*){3,}$")
_SHORTEST = 11      # fields of a row with both halves
_MOST_MORE = 8       # fields too many; beyond that it is no row


class Columns(NamedTuple):
    """The columns of a header: names left of the times (after type), and names in a group; all groups are equal.

    `old` tables have a column `error`, and only those left columns that the program needs. A table whose bandwidth
    columns are unknown has no `group`: its rows are not read. `time_us` and `rate_GBps` are the units of the table, in
    microseconds and 10^9 bytes per second.
    """

    left: tuple[str, ...]
    group: tuple[str, ...]
    groups: int
    old: bool = False
    tuned: bool = False
    time_us: float = 1.0
    rate_GBps: float = 1.0


class Half(NamedTuple):
    """One group: in-place or out-of-place. Times in microseconds, bandwidths in GB/s.

    `wrong` counts wrong elements, None if unchecked; old versions print `deviation` instead. `unread` is set where the
    cell could not be read, which says nothing.
    """

    time_us: PrintedNumber
    algbw: PrintedNumber | None
    busbw: PrintedNumber | None
    wrong: int | None = None
    deviation: float | None = None
    p50_us: float | None = None
    p95_us: float | None = None
    p99_us: float | None = None
    cpu: bool = False
    unread: bool = False

    def holds_together(self, size: int) -> bool:
        """Whether the bandwidth is size over time, as far as both are printed."""
        return self.algbw is None or misfit(size, scaled(self.time_us, 1e-6), scaled(self.algbw, 1e9)) is None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a text table or of JSON. `redop` and `root` are None if the column is missing or blank.

    `faults` says what in the row could not be used.
    """

    line: int
    size: int
    count: int
    dtype: str
    redop: str | None
    root: int | None
    out_of_place: Half | None
    in_place: Half | None
    tuned: tuple[str, str] | None = None      # algorithm and protocol, if the row names them
    faults: tuple[str, ...] = ()
    groups: int = 2                           # printed, read or not
    fields: int = 0                           # of the line

    @property
    def halves(self) -> list[Half]:
        """The groups that could be read."""
        return [half for half in (self.out_of_place, self.in_place) if half]


def header(text: str) -> Columns | None:
    """The columns of a header line; None for other lines."""
    found = _NAMES.match(text)
    if not found:
        return None
    names = [{"cputime": "time", "error": "#wrong", "wrong": "#wrong"}.get(name, name)
             for name in re.sub(r"\([^()\s]*\)", "", found[1].lower()).split()]
    groups = names.count("time")
    if not groups:
        return None
    first = names.index("time")
    rest = [name for name in names[first:] if name not in ("algo", "proto", "nchannels", "timestamp")]
    width = len(rest) // groups
    parts = [tuple(rest[start:start + width]) for start in range(0, width * groups, width)]
    group = next((part for part in parts if part[0] == "time" and {"algbw", "busbw"} <= set(part)), ())
    return _scaled_by(Columns(tuple(names[:first]), group, groups if group else 0, "error" in found[1].lower().split(),
                              "algo" in names), units_of(found[1]))


def with_units(columns: Columns, text: str) -> Columns | None:
    """`columns` with the units of the line below a header, such as `(us)  (GB/s)`; None for other lines."""
    return _scaled_by(columns, units_of(text)) if _UNITS.match(text) else None


def _scaled_by(columns: Columns, units: Sequence[str]) -> Columns:
    """The units that most columns have; a unit that is none decides nothing."""
    times = [1e6 / scale for unit in units if (scale := per_second(unit))]
    rates = [scale / 1e9 for unit in units if (scale := rate_scale(unit))]
    return columns._replace(time_us=max(times, key=times.count) if times else columns.time_us,
                            rate_GBps=max(rates, key=rates.count) if rates else columns.rate_GBps)


def looks_like_a_row(fields: list[str]) -> bool:
    """Whether the fields begin like a row: size, count and an element type."""
    return len(fields) >= 3 and fields[0].isdigit() and fields[1].isdigit() and dtype_name(fields[2]) in ITEMSIZES


def resembles_a_row(text: str, columns: Columns | None, usual: int | None = None) -> bool:
    """Whether a line that is no row was meant as one: about as many fields, most of them cells.

    Args:
        usual: fields of the row above. Without a row and a heading, a line of a known layout with a type or redop.
    """
    fields = text.split()
    if not fields or fields[0][0] == "#" or "NCCL " in text or (columns is not None and not columns.group):
        return False
    named = [dtype_name(field) in ITEMSIZES or field.lower() in _REDOPS for field in fields]
    cells = sum(_is_cell(field) or name for field, name in zip(fields, named, strict=True))
    if columns is None and usual is None:
        return len(fields) >= _SHORTEST and any(named[2:5]) and cells >= len(fields) - 1
    expected = 3 + len(columns.left) + columns.groups * len(columns.group) if columns else usual or 0
    return abs(len(fields) - expected) <= 3 and 2 * cells > len(fields) + 2


def parse_row(line: int, text: str, columns: Columns | None) -> Row | None:
    """Parse a complete row; None for anything else."""
    fields = [field for field in _STAMP.sub("", text).split() if field != "|"]
    size, count = (whole(fields[0]), whole(fields[1])) if looks_like_a_row(fields) else (None, None)
    if size is None or count is None or (columns and not columns.group):
        return None
    fields, tuned = _tuned(fields, columns)
    redop = fields[3] if len(fields) > 3 and fields[3].lower() in _REDOPS else None
    rest = fields[3 + (redop is not None):]
    faults: list[str] = []
    root, rest, group = _aligned(size, rest, columns, faults)
    if not group:
        return None
    halves = [_half(rest[start:start + len(group)], group, columns, words, faults)
              for start, words in zip(range(0, len(rest), len(group)), ("out-of-place", "in-place"), strict=False)]
    if not 1 <= len(rest) // len(group) <= 2 or (not any(halves) and not faults):
        return None
    return Row(line, size, count, dtype_name(fields[2]) or "", redop, root, halves[0],
               halves[1] if len(halves) == 2 else None, tuned, tuple(faults), len(halves), len(fields))


def _tuned(fields: list[str], columns: Columns | None) -> tuple[list[str], tuple[str, str] | None]:
    """Split off the algorithm, protocol and channels that rccl-tests -A appends."""
    if len(fields) > 10 and fields[-1].isdigit() and fields[-2].isalnum() and fields[-3][:1].isalpha() \
            and fields[-3] != "N/A" and not fields[-2].isdigit():
        return fields[:-3], (fields[-3], fields[-2])
    if columns and columns.tuned and fields[-3:] == ["N/A"] * 3:
        return fields[:-3], None
    return fields, None


def _aligned(size: int, rest: list[str], columns: Columns | None,
             faults: list[str]) -> tuple[int | None, list[str], tuple[str, ...]]:
    """Root, cells of the groups, and the names of a group; no names if the fields are not those of a row."""
    if columns is None:
        has_root = len(rest) - 1 in _GROUP_OF and (len(rest) != 5 or "." not in rest[0])
        root = whole(rest[0]) if has_root else None
        cells = rest[1:] if root is not None else rest
        return root, cells, _GROUP_OF.get(len(cells), ())
    group, full = columns.group, columns.groups * len(columns.group)
    has_root = "root" in columns.left
    if len(rest) - has_root in (full, len(group)) and (not has_root or whole(rest[0]) is not None
                                                       or not _is_cell(rest[0])):
        return whole(rest[0]) if has_root else None, rest[has_root:], group
    return _shortened(size, rest, columns, faults)


def _shortened(size: int, rest: list[str], columns: Columns,
               faults: list[str]) -> tuple[int | None, list[str], tuple[str, ...]]:
    """As `_aligned`, for a row with fields too many: words are left out first, then what stands behind the last."""
    full, has_root = columns.groups * len(columns.group), "root" in columns.left
    for fields in (rest, [field for field in rest if _is_cell(field)]):
        root = whole(fields[0]) if has_root and fields else None
        cells = fields[has_root:has_root + full]
        if len(cells) < full or len(rest) - full > _MOST_MORE or (has_root and root is None) \
                or not _fit(size, cells, columns):
            continue
        more = len(rest) - full - has_root
        faults.append(f"{more} field{'' if more == 1 else 's'} more than the heading names: left out")
        return root, cells, columns.group
    return None, [], ()


def _fit(size: int, cells: list[str], columns: Columns) -> bool:
    """Whether every group has a time above zero, and the bandwidth that follows from it."""
    width = len(columns.group)
    halves = [_half(cells[start:start + width], columns.group, columns, "", [])
              for start in range(0, len(cells), width)]
    return all(half is not None and half.time_us.value > 0 and half.holds_together(size) for half in halves)


def _half(fields: list[str], names: tuple[str, ...], columns: Columns | None, place: str,
          faults: list[str]) -> Half | None:
    """One group; None if it has no time. Cells that are not numbers are unknown, and faults unless they are N/A."""
    cells = dict(zip(names, fields, strict=False))
    numbers = {name: printed_number(cells.get(name, "")) for name in ("time", "algbw", "busbw", "i_p99")}
    absent = all(cells.get(name, "N/A") == "N/A" for name in numbers)
    unread = [name for name in ("time", "algbw", "busbw") if numbers[name] is None and name in cells and not absent]
    if (time_us := numbers["time"]) is None:
        if unread:
            faults.append(f"{place} time {cells['time']!r:.24} is not a number: left out")
        return None
    faults += [f"{place} {name} {cells[name]!r:.24} is not a number: not compared" for name in unread]
    wrong, deviation, known = _errors(cells.get("#wrong", "N/A"))
    if not known:
        faults.append(f"{place} number of errors {cells['#wrong']!r:.24} is not a number: taken as not checked")
    unit_us, unit_GBps = (columns.time_us, columns.rate_GBps) if columns else (1.0, 1.0)
    algbw, busbw = (rate and scaled(rate, unit_GBps) for rate in (numbers["algbw"], numbers["busbw"]))
    p99 = numbers["i_p99"]
    return Half(scaled(time_us, unit_us), algbw, busbw, wrong, deviation, p99_us=p99.value * unit_us if p99 else None,
                unread=not known)


def _errors(text: str) -> tuple[int | None, float | None, bool]:
    """Number of wrong elements, or the largest deviation, such as 2e-07, that versions before 2.13 print.

    The last is whether the cell could be read: N/A could, and means that nothing was checked.
    """
    if text.endswith("*") and text[:-1].isdigit():      # rccl-tests marks errors above its threshold
        return 1, None, True
    found = printed_number(text)
    if found is None or found.value < 0:
        return None, None, text == "N/A"
    return (None, found.value, True) if "e" in text.lower() else (int(found.value), None, True)


def _is_cell(text: str) -> bool:
    return text == "N/A" or printed_number(text) is not None
