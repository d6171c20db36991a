"""Parse one row of an nccl-tests table of any version: left fields, then one or two groups of time, bandwidths, errors.

Layouts (src/common.cu and src/*.cu of nccl-tests, rccl-tests): before August 2022 each program had its own left part
and an `error` column; since then size, count, type, redop, root and `#wrong`. `redop` may be blank, so rows are parsed
by counting fields; the header, if there is one, names the columns of a group.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from .names import ITEMSIZES, dtype_name
from .printed_numbers import PrintedNumber, printed_number, whole

__all__ = ["Columns", "Half", "Row", "header", "looks_like_a_row", "parse_row"]

_REDOPS = frozenset({"sum", "prod", "min", "max", "avg", "mulsum", "none", "all"})
_STAMP = re.compile(r"\d{4}-\d\d-\d\d\s+\d\d:\d\d:\d\d$")
_PLAIN = ("time", "algbw", "busbw", "#wrong")
_EVENTS = ("time", "hipevt", "algbw", "busbw", "#wrong")
_PER_ITERATION = (*_PLAIN, "i_min", "i_max", "i_p99", "i_cv%")
_GROUP_OF = {4: _PLAIN, 5: _EVENTS, 8: _PLAIN, 10: _EVENTS, 16: _PER_ITERATION}
_NAMES = re.compile(r"[#\s]*size\s+count\s+type\b(.*\btime\b.*)", re.IGNORECASE)


class Columns(NamedTuple):
    """The columns of a header: names left of the times (after type), and names in a group; all groups are equal.

    `old` tables have a column `error`, and only those left columns that the program needs.
    """

    left: tuple[str, ...]
    group: tuple[str, ...]
    groups: int
    old: bool = False


class Half(NamedTuple):
    """One group: in-place or out-of-place. Times in microseconds, bandwidths in GB/s, as printed.

    `wrong` counts wrong elements, None if unchecked; old versions print `deviation` instead.
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


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a text table or of JSON. `redop` and `root` are None if the column is missing or blank."""

    line: int
    size: int
    count: int
    dtype: str
    redop: str | None
    root: int | None
    out_of_place: Half | None
    in_place: Half | None
    tuned: tuple[str, str] | None = None      # algorithm and protocol, if the row names them


def header(text: str) -> Columns | None:
    """The columns of a header line; None for other lines."""
    found = _NAMES.match(text)
    if not found:
        return None
    names = [{"cputime": "time", "error": "#wrong", "wrong": "#wrong"}.get(name, name)
             for name in found[1].lower().split()]
    groups = names.count("time")
    if not groups:
        return None
    first = names.index("time")
    rest = [name for name in names[first:] if name not in ("algo", "proto", "nchannels", "timestamp")]
    return Columns(tuple(names[:first]), tuple(rest[:len(rest) // groups]), groups,
                   " error" in found[1].lower())


def looks_like_a_row(fields: list[str]) -> bool:
    """Whether the fields begin like a row: size, count and an element type."""
    return len(fields) >= 3 and fields[0].isdigit() and fields[1].isdigit() and dtype_name(fields[2]) in ITEMSIZES


def parse_row(line: int, text: str, columns: Columns | None) -> Row | None:
    """Parse a complete row; None for anything else."""
    fields = _STAMP.sub("", text).split()
    size, count = (whole(fields[0]), whole(fields[1])) if looks_like_a_row(fields) else (None, None)
    if size is None or count is None:
        return None
    fields, tuned = _tuned(fields)
    redop = fields[3] if len(fields) > 3 and fields[3].lower() in _REDOPS else None
    rest = fields[3 + (redop is not None):]
    root, rest = _root(rest, columns)
    group = _group(rest, columns)
    if group is None:
        return None
    halves = [_half(rest[start:start + len(group)], group) for start in range(0, len(rest), len(group))]
    if not 1 <= len(halves) <= 2 or not any(halves):
        return None
    return Row(line, size, count, dtype_name(fields[2]) or "", redop, root, halves[0],
               halves[1] if len(halves) == 2 else None, tuned)


def _tuned(fields: list[str]) -> tuple[list[str], tuple[str, str] | None]:
    """Split off the algorithm, protocol and channels that rccl-tests -A appends."""
    if len(fields) > 10 and fields[-1].isdigit() and fields[-2].isalnum() and fields[-3][:1].isalpha() \
            and fields[-3] != "N/A" and not fields[-2].isdigit():
        return fields[:-3], (fields[-3], fields[-2])
    return fields, None


def _root(rest: list[str], columns: Columns | None) -> tuple[int | None, list[str]]:
    """Split off the root, if the fields after type and redop begin with one."""
    if columns:
        has_root = len(rest) - 1 in (len(columns.group), columns.groups * len(columns.group))
    else:
        has_root = len(rest) - 1 in _GROUP_OF and (len(rest) != 5 or "." not in rest[0])
    root = whole(rest[0]) if has_root else None
    return (root, rest[1:]) if root is not None else (None, rest)


def _group(rest: list[str], columns: Columns | None) -> tuple[str, ...] | None:
    if columns and rest and len(rest) in (len(columns.group), columns.groups * len(columns.group)):
        return columns.group
    return _GROUP_OF.get(len(rest))


def _half(fields: list[str], names: tuple[str, ...]) -> Half | None:
    """One group; None if it has no time. Cells that are not numbers are unknown."""
    cells = dict(zip(names, fields, strict=False))
    time_us = printed_number(cells.get("time", ""))
    if time_us is None:
        return None
    p99 = printed_number(cells.get("i_p99", ""))
    wrong, deviation = _errors(cells.get("#wrong", ""))
    algbw, busbw = (printed_number(cells.get(name, "")) for name in ("algbw", "busbw"))
    return Half(time_us, algbw, busbw, wrong, deviation, p99_us=p99.value if p99 else None)


def _errors(text: str) -> tuple[int | None, float | None]:
    """Number of wrong elements, or the largest deviation, such as 2e-07, that versions before 2.13 print."""
    if text.endswith("*"):      # rccl-tests marks errors above its threshold
        return 1, None
    found = printed_number(text)
    if found is None:
        return None, None
    return (None, found.value) if "e" in text.lower() else (int(found.value), None)
