"""One row per case in the columns of nccl-tests, as many of them as fit."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from ..cases import catalog
from ..cases.axis_traffic import is_mesh
from ..cases.case import Case, format_size
from ..records.record import Mode, Record, Run
from ..statistics.stopping import median

__all__ = ["Table"]


class _Column(NamedTuple):
    """A column: its unit below its name, and its width in the full and in the narrow table."""

    unit: str
    wide: int
    narrow: int


# In the order of nccl-tests. The narrow table has sizes in KiB and MiB.
_COLUMNS = {
    "op": _Column("", 14, 15), "ranks": _Column("", 5, 5), "size": _Column("(B)", 11, 8),
    "count": _Column("(elements)", 11, 11), "type": _Column("", 9, 9), "redop": _Column("", 5, 5),
    "root": _Column("", 4, 4), "place": _Column("", 5, 5), "traffic": _Column("", 16, 16),
    "isolated": _Column("(us)", 10, 9), "+-": _Column("(%)", 5, 5), "empty": _Column("(us)", 6, 6),
    "streamed": _Column("(us)", 10, 9), "algbw": _Column("(GB/s)", 8, 8), "busbw": _Column("(GB/s)", 8, 8),
    "#wrong": _Column("", 6, 6), "n": _Column("", 5, 5)}
_OF_CASE = ("op", "ranks", "size", "count", "type", "redop", "root", "place", "traffic")
_ALWAYS = ("op", "ranks", "size", "isolated", "+-", "busbw", "#wrong")
_AS_FITS = ("streamed", "n", "algbw", "type", "count", "redop", "root", "empty", "traffic", "place")
_LONG_US = 1e5      # from here on without decimals


class Table:
    """Head and rows for a sweep."""

    def __init__(self, run: Run, cases: Iterable[Case], width: int | None) -> None:
        """`cases` are those of the rows; `width` is that of the terminal, None: unlimited."""
        self._width = width
        self._empty_s: dict[int, float] = {}
        texts: dict[str, set[str]] = {}
        for case in cases:
            texts.setdefault(case.op, set()).add(_traffic(case))
        self._wide = {"op": max(map(len, texts), default=0), "traffic": _longest(texts.values())}
        self._short: dict[str, dict[str, str]] = {}
        every = [name for name in _COLUMNS if name != "traffic" or _has_traffic(run)]
        if width is not None and self._total(every, narrow=False) > width and len(run.sweep.traffics) == 1 \
                and not any(_has_own_traffic(catalog.OPERATIONS[op]) for op in run.sweep.ops):
            every = [name for name in every if name != "traffic"]       # the same in all rows that have one
        self._narrow = width is not None and self._total(every, narrow=False) > width
        if self._narrow:
            self._short = {op: _shortened(known, _COLUMNS["traffic"].narrow) for op, known in texts.items()}
        self._names = self._fitting(run, every) if self._narrow else every

    def head(self) -> str:
        """Two comment lines with the columns and their units, as in nccl-tests."""
        units = {name: "" if name == "size" and self._narrow else _COLUMNS[name].unit for name in self._names}
        return "\n".join(f"#{self._line(cells, self._names)[1:].rstrip()}"
                         for cells in ({name: name for name in self._names}, units))

    def row(self, record: Record) -> str:
        """One case: medians of both modes in us, bandwidth of the streamed mode, counted samples of both.

        `empty` is the time of an empty call in the same isolated loop, which comes before all other cases.
        """
        case = record.case
        cells = {"op": case.op, "ranks": str(case.ranks), "count": str(case.count), "type": case.dtype or "-",
                 "size": str(case.bytes), "redop": case.redop or "none",
                 "root": "0" if case.operation.rooted else "-1", "place": "in" if case.in_place else "out",
                 "traffic": _traffic(case)}
        if self._narrow:
            cells["size"] = format_size(case.bytes) if case.bytes else "-"
            cells["traffic"] = self._short.get(case.op, {}).get(cells["traffic"], cells["traffic"])
        if record.status != "ok":
            names = [name for name in self._names if name in _OF_CASE]
            return f"{self._line(cells, names)}  {record.status.upper()}: {record.reason}"
        times_s = {timing.mode: timing.message_s(case) for timing in record.timings}
        isolated, streamed = times_s.get("isolated"), times_s.get("streamed")
        if case.op == "noop" and isolated:
            self._empty_s[case.members] = median(isolated)
        precision = next((timing.precision for timing in record.timings if timing.mode == "isolated"), None)
        rate = _rate(record, median(streamed or isolated or [0.0]))
        empty_s = self._empty_s.get(case.members)
        cells |= {"isolated": _micros(isolated), "+-": _percent(precision),
                  "empty": "-" if empty_s is None else f"{empty_s * 1e6:.2f}", "streamed": _micros(streamed),
                  "algbw": _gigabytes(rate), "busbw": _gigabytes(rate and rate * _factor(record)),
                  "#wrong": str(record.verification.wrong) if record.verification else "n/a",
                  "n": str(sum(map(len, times_s.values())))}
        messages = rate * _factor(record) / case.bytes if rate and case.operation.rates_messages else None
        if messages is not None and self._narrow:
            cells["busbw"] = f"{messages:.3g}/s"
        line = self._line(cells, self._names)
        warnings = _warnings(times_s) if messages is None else f"  {messages:.4g} messages/s{_warnings(times_s)}"
        return line + warnings if self._width is None or len(line) + len(warnings) <= self._width else line

    def _line(self, cells: Mapping[str, str], names: Sequence[str]) -> str:
        return " ".join(f"{cells[name]:>{self._width_of(name, self._narrow)}}" for name in names)

    def _total(self, names: Sequence[str], narrow: bool) -> int:
        return sum(self._width_of(name, narrow) + 1 for name in names) - 1

    def _width_of(self, name: str, narrow: bool) -> int:
        """That of the column, or of its longest text."""
        column = _COLUMNS[name]
        return max(column.narrow if narrow else column.wide, 0 if narrow and name == "traffic" else
                   self._wide.get(name, 0))

    def _fitting(self, run: Run, every: Sequence[str]) -> list[str]:
        """The indispensable columns, then those that tell the rows apart, then others as long as they fit."""
        sweep, chosen = run.sweep, set(_ALWAYS)
        rows = [catalog.OPERATIONS[op] for op in sweep.ops]
        apart = {"type": len(sweep.dtypes) > 1, "redop": len(sweep.redops) > 1,
                 "place": len(sweep.places) > 1 and any(row.has_in_place for row in rows),
                 "traffic": len(sweep.traffics) > 1 or any(map(_has_own_traffic, rows))}
        for name in [*(name for name, needed in apart.items() if needed), *_AS_FITS]:
            wanted = [one for one in every if one in chosen or one == name]
            if self._width is None or self._total(wanted, narrow=True) <= self._width:
                chosen.add(name)
        return [name for name in every if name in chosen]


def _traffic(case: Case) -> str:
    return case.axis.words if case.axis else case.traffic or "-"


def _longest(texts: Iterable[Collection[str]]) -> int:
    return max((len(text) for known in texts for text in known), default=0)


def _shortened(texts: Collection[str], most: int) -> dict[str, str]:
    """For each text what tells it from the others, in up to `most` characters.

    Parts that all texts begin or end with are left out, then names that all begin with: of
    `victim=all_reduce:aggressor=copy` and `victim=all_reduce:aggressor=all_to_all` remain `copy` and `all_to_all`.
    """
    short = {text: text for text in texts}
    for separators in (":", ":="):
        if len(short) > 1 and _longest([short.values()]) > most:
            begun = 1 + max(map(_common(short.values()).rfind, separators))
            last = _common([rest[begun:][::-1] for rest in short.values()])
            ended = 1 + last.rfind(":")
            short = {text: rest[begun:len(rest) - ended] for text, rest in short.items()}
    return {text: rest if len(rest) <= most else f"{rest[:most - 2]}.." for text, rest in short.items()}


def _common(texts: Iterable[str]) -> str:
    """What all begin with."""
    return "".join(column[0] for column in takewhile(lambda column: len({*column}) == 1, zip(*texts, strict=False)))


def _has_traffic(run: Run) -> bool:
    """Whether the table needs a column for the traffic pattern."""
    return any(map(is_mesh, run.sweep.traffics)) or any(catalog.OPERATIONS[op].grammar for op in run.sweep.ops)


def _has_own_traffic(row: catalog.Operation) -> bool:
    """Whether the operation is measured with texts of its own, whatever the sweep asks for."""
    return row.grammar is not None and not row.uneven


def _warnings(times_s: Mapping[Mode, list[float]]) -> str:
    """Modes whose times drifted during the measurement, or are bimodal."""
    import numpy as np

    from ..statistics.stability import flags, spread
    found = []
    for mode, values in times_s.items():
        samples = np.array(values)
        found += [f"{mode}: {flag}" for flag in flags(samples, spread(samples), 1.0) if flag in ("drift", "bimodal")]
    return f"  {', '.join(found)}" if found else ""


def _rate(record: Record, time_s: float) -> float | None:
    return record.case.bytes / time_s if record.case.operation.has_payload and time_s > 0 else None


def _factor(record: Record) -> float:
    return record.case.operation.bus_factor(record.case.ranks)


def _micros(times_s: list[float] | None) -> str:
    if not times_s:
        return "-"
    time_us = median(times_s) * 1e6
    return f"{time_us:.2f}" if time_us < _LONG_US else f"{time_us:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}" if share < 10 else f"{100 * share:.0f}"


def _gigabytes(rate_Bps: float | None) -> str:
    """Three decimals; fewer from 100 GB/s on, and up to six for three significant digits."""
    if rate_Bps is None:
        return "-"
    value = rate_Bps / 1e9
    decimals = 1 if value >= 100 else 3 if value >= 0.1 or value <= 0 else min(6, 2 - math.floor(math.log10(value)))
    return f"{value:.{decimals}f}"
