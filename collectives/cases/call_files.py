"""Lists of calls (see `calls`) as files: CSV or TOML.

    operation,bytes,axis,count,overlap          title = "one layer of a model"
    all_gather,25M,dp,2,no                      mesh = "dp=4,tp=2"
    all_reduce,1048576,tp,1,yes                 [[call]]
                                                operation = "all_gather"
                                                bytes = "25M"
                                                axis = "dp"
                                                count = 2

Only `operation` is required, and `bytes` of operations that have a message: the message size S of `Case.bytes`, so for
operations with one block per rank it is the total over the ranks of the axis; with `per_rank`, it is what each of them
contributes. In CSV, lines that begin with # are comments.
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import UsageError
from . import chakra
from .calls import Call, CallList
from .case import parse_size
from .catalog import OPERATIONS
from .mesh import is_axis, parse_mesh
from .names import requested_op

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["COLUMNS", "ENDINGS", "csv_text", "read_calls", "toml_text"]

COLUMNS = ("operation", "bytes", "axis", "count", "overlap", "per_rank")
_OURS = (".csv", ".toml")
ENDINGS = (*_OURS, *chakra.ENDINGS)
_MOST_CALLS = 10_000
_MOST_FILE_BYTES = 16 << 20
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0")


def read_calls(path: Path) -> CallList:
    """The list in a file, whose ending tells the format.

    Raises:
        UsageError: the file cannot be read, or is no list of calls: file, line or number of the call, and what was
            expected.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a list of calls is a file that ends in {' or '.join(_OURS)}, a trace of Chakra in "
                         f"{' or '.join(chakra.ENDINGS)}")
    if path.suffix.lower() in chakra.ENDINGS:
        return _list(path, chakra.read_chakra(path), None, "execution trace of Chakra")
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise UsageError(f"{path}: larger than {_MOST_FILE_BYTES >> 20} MiB, so no list of calls")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    mesh = title = None
    if path.suffix.lower() == ".toml":
        document = _toml(path, text)
        mesh, title = _word(path, document, "mesh"), _word(path, document, "title")
        rows: Iterable[tuple[str, Mapping[str, object]]] = _toml_rows(path, document)
    else:
        rows = _csv_rows(path, text)
    return _list(path, tuple(_call(where, row) for where, row in rows), mesh, title)


def _list(path: Path, calls: tuple[Call, ...], mesh: str | None, title: str | None) -> CallList:
    """The list. UsageError if it is empty or too long, or if its mesh lacks an axis."""
    if not 1 <= len(calls) <= _MOST_CALLS:
        raise UsageError(f"{path}: {len(calls)} calls; a list has from 1 to {_MOST_CALLS}")
    found = CallList(path.stem, calls, mesh, title, str(path))
    if mesh and (missing := [axis for axis in found.axes if axis not in parse_mesh(mesh).names]):
        raise UsageError(f"{path}: axis {missing[0]} is not in the mesh {mesh}")
    return found


def csv_text(calls: CallList) -> str:
    """The list as CSV, which `read_calls` reads back; mesh and title become comments."""
    out = io.StringIO()
    for word in (calls.title, calls.mesh and f"mesh: {calls.mesh}"):
        if word:
            out.write(f"# {word}\n")
    writer = csv.writer(out, lineterminator="\n")
    some = any(call.per_rank for call in calls.calls)
    writer.writerow(COLUMNS if some else COLUMNS[:-1])
    writer.writerows((call.op, call.bytes, call.axis or "", call.count, "yes" if call.overlap else "no",
                      *(["yes" if call.per_rank else "no"] if some else [])) for call in calls.calls)
    return out.getvalue()


def toml_text(calls: CallList) -> str:
    """The list as TOML, which `read_calls` reads back."""
    quoted = {key: msgspec.json.encode(value).decode()      # a JSON string is a TOML string
              for key, value in (("title", calls.title), ("mesh", calls.mesh)) if value}
    lines = [f"{key} = {value}" for key, value in quoted.items()]
    for call in calls.calls:
        lines += ["", "[[call]]", f'operation = "{call.op}"', f"bytes = {call.bytes}"]
        lines += [f'axis = "{call.axis}"'] if call.axis else []
        lines += [f"count = {call.count}"] if call.count != 1 else []
        lines += ["overlap = true"] if call.overlap else []
        lines += ["per_rank = true"] if call.per_rank else []
    return "\n".join(lines).lstrip("\n") + "\n"


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Where each row is, and its cells by column."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1)
             if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise UsageError(f"{path}: empty; expected a line with the columns {','.join(COLUMNS)}")
    rows = [(number, [cell.strip() for cell in cells])
            for (number, _), cells in zip(lines, csv.reader(line for _, line in lines), strict=False)]
    first, header = rows[0]
    names = [name.lower() for name in header]
    _known(f"{path}:{first}", names)
    for number, cells in rows[1:]:
        if len(cells) > len(names):
            raise UsageError(f"{path}:{number}: {len(cells)} cells for {len(names)} columns")
        yield f"{path}:{number}", {name: cell for name, cell in zip(names, cells, strict=False) if cell}


def _toml(path: Path, text: str) -> Mapping[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    if unknown := document.keys() - {"title", "mesh", "call"}:
        raise UsageError(f"{path}: unknown key {min(unknown)!r:.60}: known are title, mesh and [[call]]")
    return document


def _toml_rows(path: Path, document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, object]]]:
    tables = document.get("call", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{path}: calls are tables, each headed [[call]]")
    for number, table in enumerate(tables, 1):
        where = f"{path}: call {number}"
        _known(where, table)
        yield where, table


def _word(path: Path, document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{path}: {key} is text in quotes")
    return value


def _known(where: str, names: Iterable[str]) -> None:
    given = list(names)
    unknown = [f"unknown column {name!r:.60}" for name in given if name not in COLUMNS]
    if problem := unknown or ["column operation is missing"] * ("operation" not in given):
        raise UsageError(f"{where}: {problem[0]}; known are {', '.join(COLUMNS)}, of which the first two are needed")


def _call(where: str, row: Mapping[str, object]) -> Call:
    try:
        op = requested_op(str(row.get("operation", "")))
        size = parse_size(str(row.get("bytes", ""))) if OPERATIONS[op].has_payload else 0
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    count, axis = str(row.get("count", 1)), row.get("axis")
    flags = {name: str(row.get(name, "no")).lower() for name in ("overlap", "per_rank")}
    if not (count.isascii() and count.isdecimal() and 1 <= len(count) <= 9 and int(count) >= 1):
        raise UsageError(f"{where}: count {count!r:.40}: expected a whole number of at least 1")
    for name, flag in flags.items():
        if flag not in (*_YES, *_NO):
            raise UsageError(f"{where}: {name} {flag!r:.40}: expected yes or no")
    if axis is not None and not is_axis(str(axis)):
        raise UsageError(f"{where}: axis {str(axis)!r:.40}: expected a name such as tp, of letters and digits")
    return Call(op, size, None if axis is None else str(axis), int(count),
                *(flag in _YES for flag in flags.values()))
