"""Tidy CSV: one row per measurement, columns by name; also the format of `collbench export --format csv`.

Required are collective, n_ranks, message_bytes and time_us; a missing time is computed from algbw_GBps, or from
busbw_GBps if it is defined as in nccl-tests. See docs/formats.md for the others.
"""

import csv
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import dtype_name, is_known, op_name, plain
from collbench.collectives.records.record import MODES, STATUSES, Imported, Mode, Status

from ..text.safe_csv import unescape
from .shared.collector import MEAN, ROOT, SLOWEST, UNSTATED, Collector, Origin
from .shared.log import Log, split_lines

__all__ = ["TITLE", "read", "recognise"]

TITLE = "tidy CSV"

_ALIASES = MappingProxyType({
    "op": "collective", "operation": "collective", "ranks": "nranks", "worldsize": "nranks",
    "size": "messagebytes", "sizebytes": "messagebytes", "bytes": "messagebytes", "lat": "timeus",
    "latencyus": "timeus"})
_NEEDED = ({"collective"}, {"nranks"}, {"messagebytes"}, {"timeus", "times", "algbwgbps", "busbwgbps"})
_HEAD = 20
_NUMBERS = ("timeus", "times", "algbwgbps", "busbwgbps", "repeats", "rankspernode", "nativesizebytes")
_MOST_BYTES = 1 << 62
_PLACES = MappingProxyType({"in-place": True, "inplace": True, "out-of-place": False, "outofplace": False})
_STREAMED = re.compile(r"nccl-tests|\bIMB\b|hccl_test|batch|back to back", re.IGNORECASE)
_KINDS = (
    (re.compile(r"slowest rank|makespan|max(?:imum)? over ranks|maximum over ranks", re.IGNORECASE), SLOWEST),
    (re.compile(r"rank 0|root rank|one rank", re.IGNORECASE), ROOT),
    (re.compile(r"(?:mean|avg|average)\b.{0,24}over ranks|nccl-tests|over ranks of mean", re.IGNORECASE), MEAN))


def recognise(text: str) -> bool:
    """Whether one of the first lines of `text` is a header with the required columns."""
    return _header(text) is not None


def _header(text: str) -> tuple[int, str, list[str]] | None:
    """Line number (from 1), delimiter and columns of the header."""
    for number, line in enumerate(split_lines(text[:65536])[:_HEAD], 1):
        for delimiter in ",;\t":
            names = [_column(name) for name in line.split(delimiter)]
            if all(choice & set(names) for choice in _NEEDED):
                return number, delimiter, names
    return None


def _column(name: str) -> str:
    key = plain(name.strip().strip('"'))
    return _ALIASES.get(key, key)


def read(log: Log, collector: Collector) -> None:
    """Add every row."""
    text = log.raw if _header(log.raw) else log.text        # cells are data: only a prefix on every line is taken off
    found = _header(text)
    if not found:
        return
    skipped, delimiter, names = found
    lines = split_lines(text, keep_ends=True)[skipped:]        # a quoted cell may contain line breaks
    reader = csv.reader(lines, delimiter=delimiter)
    runs: dict[tuple[str, ...], str] = {}
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            collector.warn(skipped + reader.line_num, f"row skipped: {error}")
            continue
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        collector.rows += 1
        line = skipped + reader.line_num
        if len(cells) != len(names):
            collector.warn(line, f"{len(cells)} values under {len(names)} column names")
            continue
        reason = _add(collector, runs, line, {name: unescape(cell) for name, cell in zip(names, cells, strict=True)})
        if reason:
            collector.warn(line, f"row skipped: {reason}")


def _add(collector: Collector, runs: dict[tuple[str, ...], str], line: int, cells: Mapping[str, str]) -> str | None:
    """Add a row; returns the reason if it cannot be used."""
    op, ranks, size = op_name(cells["collective"]), _whole(cells.get("nranks")), _whole(cells.get("messagebytes"))
    if not op:
        return "no collective"
    ranks = ranks or collector.hints.ranks
    if not ranks or ranks < 1:
        return f"n_ranks {cells.get('nranks', '')!r:.40}: expected a positive integer"
    if size is None and not cells.get("messagebytes"):
        return _add_without_size(collector, runs, line, cells, op, ranks)
    if size is None:
        return f"message_bytes {cells['messagebytes']!r:.40}: expected a non-negative integer"
    if unread := [name for name in _NUMBERS if cells.get(name) and _number(cells[name]) is None
                  and _whole(cells[name]) is None]:
        collector.warn(line, f"not a number: {', '.join(f'{name} {cells[name]!r:.24}' for name in unread)}")
    if cells.get("status") and cells["status"] not in STATUSES:
        return f"status {cells['status']!r:.24} is not known"
    time_s, notes = _time_s(cells, op, ranks, size)
    if time_s is None:
        return "no time, and no bandwidth that a time follows from"
    status = cast(Status, cells["status"]) if cells.get("status") in STATUSES else "ok"
    if "wrong" in cells.get("flags", ""):
        status = "wrong"
    collector.add(_result(collector, _run(collector, runs, cells, ranks), line, cells, op, ranks, size, time_s, notes,
                        status=status, reason=cells.get("reason") or ("flagged wrong" if status == "wrong" else None)))
    return None


def _add_without_size(collector: Collector, runs: dict[tuple[str, ...], str], line: int, cells: Mapping[str, str],
                      op: str, ranks: int) -> str | None:
    """Keep a row without a message size as unsupported, unless it needs none.

    A barrier moves no data, and expert-parallel tables may count tokens instead (`frames.tokens`).
    """
    time_s, notes = _time_s(cells, op, ranks, 0)
    tokens = not is_known(op) and "num_tokens_per_rank=" in cells.get("variant", "")
    has_payload = not tokens and (not is_known(op) or OPERATIONS[op].has_payload)
    notes = (*notes, "message size unknown: sizes are tokens per rank") if tokens else notes
    collector.add(_result(collector, _run(collector, runs, cells, ranks), line, cells, op, ranks, 0, time_s, notes,
                        status="unsupported" if has_payload else "ok",
                        reason="no message_bytes" if has_payload else None))
    return None


def _run(collector: Collector, runs: dict[tuple[str, ...], str], cells: Mapping[str, str], ranks: int) -> str:
    """One run per system, library, transport and device."""
    key = tuple(cells.get(name, "") for name in ("system", "library", "transport", "device"))
    if key not in runs:
        system, library, transport, device = key
        device = device or cells.get("accelerators", "")
        runs[key] = collector.run(Origin("csv", library=library or None, device=device or None, ranks=ranks,
                                       system=system or None, transport=transport or None))
    return runs[key]


def _result(collector: Collector, run: str, line: int, cells: Mapping[str, str], op: str, ranks: int, size: int,
            time_s: float | None, notes: tuple[str, ...], *, status: Status, reason: str | None) -> Imported:
    statistic = cells.get("statistic") or "not stated"
    variant = cells.get("variant") or None
    operation = OPERATIONS[op] if is_known(op) else None
    usual: Mode = "streamed" if _STREAMED.search(statistic) else "isolated"
    return Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=_whole(cells.get("nativesizebytes")),
        dtype=dtype_name(cells.get("dtype")), redop=cells.get("redop") or None,
        in_place=_in_place(cells, variant) if operation and operation.has_in_place else None,
        traffic=cells.get("traffic") or None, mode=cast(Mode, cells["mode"]) if cells.get("mode") in MODES else usual,
        time_s=time_s, statistic=statistic[:300],
        time_kind=cells.get("timekind") or _kind(statistic), repeats=_whole(cells.get("repeats")), notes=notes,
        algorithm=cells.get("algorithm") or None, protocol=cells.get("protocol") or None,
        ranks_per_node=_whole(cells.get("rankspernode")) or None, variant=variant,
        source=cells.get("source") or collector.source(line), status=status, reason=reason)


def _in_place(cells: Mapping[str, str], variant: str | None) -> bool | None:
    words = [cells.get("place", ""), *(variant or "").split(";")]
    return next((_PLACES[word.strip().lower()] for word in words if word.strip().lower() in _PLACES), None)


def _kind(statistic: str) -> str:
    """How a time combines ranks, from its description."""
    return next((kind for pattern, kind in _KINDS if pattern.search(statistic)), UNSTATED)


def _time_s(cells: Mapping[str, str], op: str, ranks: int, size: int) -> tuple[float | None, tuple[str, ...]]:
    """Seconds, and a note if they were computed from a bandwidth."""
    for name, scale in (("timeus", 1e6), ("times", 1.0)):
        if time := _number(cells.get(name)):
            return time / scale, ()
    if algbw := _number(cells.get("algbwgbps")):
        return (size / algbw / 1e9 or None), ("time computed from algbw",)
    words = cells.get("bwdefinition", "nccl-tests busbw")
    if (busbw := _number(cells.get("busbwgbps"))) and words.startswith("nccl-tests busbw") and is_known(op):
        return (size * OPERATIONS[op].bus_factor(ranks) / busbw / 1e9 or None), ("time computed from busbw",)
    return None, ()


def _number(text: str | None) -> float | None:
    """A finite number above zero, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 < value < 1e18 else None


def _whole(text: str | None) -> int | None:
    """A non-negative integer, also written 64.0, or None."""
    text = text or ""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(text) if text.isascii() and text.isdigit() and value < _MOST_BYTES else (
        int(value) if 0 <= value < 1e15 and value == int(value) else None)
