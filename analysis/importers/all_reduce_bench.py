"""all_reduce_bench.py of ml-engineering: bandwidths by payload, from which the time follows.

algbw is payload over time, averaged over ranks and calls, in 10^9 bytes per second. The payload is in binary units,
rounded down to whole ones. `--profile_stability` prints every call of one payload; older versions print one payload
only, in 10^9 bytes.
"""

import re
from dataclasses import dataclass, field

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.bandwidth_pairs import agree
from .shared.collector import MEAN, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "all_reduce_bench of ml-engineering"

_MARK = re.compile(r"The (?:average|[\d.]{1,20}GiB payload) bandwidth of all_reduce (?:over|with a)\b")
_TABLE = re.compile(r"The average bandwidth of all_reduce over (?P<ranks>\d{1,7}) ranks "
                    r"\((?:\d{1,9} warmups / )?(?P<calls>\d{1,9}) trials")
_PROFILE = re.compile(r"The (?P<GiB>[\d.]{1,20})GiB payload bandwidth of all_reduce over (?P<ranks>\d{1,7}) ranks")
_ONE = re.compile(r"The average bandwidth of all_reduce with a (?P<GB>[\d.]{1,30})GB payload "
                  r"\((?P<calls>\d{1,9}) trials, (?P<ranks>\d{1,7}) ranks")
_TITLES = (_TABLE, _PROFILE, _ONE)
_LONE = re.compile(r"(?:^|[\s:\]])(algbw|busbw):\s*([\d.]{1,30}) ?GBps")
_PAYLOAD = re.compile(r"(\d{1,15})([KMGTPE]?)iB")
_RATE = re.compile(r"([\d.]{1,30}) ?GBps")
_FACTOR = OPERATIONS["all_reduce"].bus_factor


@dataclass
class _Table:
    """The rows below one title; `size` is the payload that the title states."""

    run: str
    ranks: int
    calls: int | None
    size: int | None
    profile: bool
    columns: tuple[str, ...] = ("payload", "busbw", "algbw")
    lone: dict[str, PrintedNumber | None] = field(default_factory=dict)
    each: list[tuple[int, PrintedNumber, PrintedNumber]] = field(default_factory=list)


def recognise(text: str) -> bool:
    """Whether `text` has a title of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row under a title."""
    table: _Table | None = None
    for line in log.lines:
        if title := next((found for pattern in _TITLES if (found := pattern.search(line.text))), None):
            _end(collector, table)
            table = _begin(collector, title)
        elif table and (lone := _LONE.search(line.text)):
            table.lone[lone[1]] = printed_number(lone[2])
            if len(table.lone) == 2:
                collector.rows += 1
                _add(collector, table, line.number, table.size, table.lone["algbw"], table.lone["busbw"])
                table.lone = {}
        elif table and (cells := line.text.replace("|", " ").replace(" GBps", "GBps").split()):
            _row(collector, table, line.number, cells)
    _end(collector, table)


def _begin(collector: Collector, title: re.Match) -> _Table:
    facts = title.groupdict()
    size = None
    for unit, scale in (("GiB", 1 << 30), ("GB", 10**9)):
        if unit in facts and (stated := printed_number(facts[unit])):
            size = int(round(stated.value * scale, 3))      # as the tool does, but for the error of a decimal fraction
    run = collector.run(Origin("all_reduce_bench", library="torch.distributed backend not stated",
                               ranks=int(facts["ranks"])))
    return _Table(run, int(facts["ranks"]), int(facts["calls"]) if "calls" in facts else None, size, "GiB" in facts)


def _row(collector: Collector, table: _Table, line: int, cells: list[str]) -> None:
    """Add a row of a table, or take the names of its columns."""
    if "busbw" in cells:
        table.columns = tuple(cells)
        return
    if not any("GBps" in cell for cell in cells) or len(cells) > len(table.columns) + 1:
        return
    collector.rows += 1
    named = dict(zip(table.columns, cells, strict=False))
    algbw, busbw = (_rate(named.get(name, "")) for name in ("algbw", "busbw"))
    if table.profile:
        if algbw and busbw and len(cells) == len(table.columns):
            table.each.append((line, algbw, busbw))
        else:
            collector.warn(line, "row skipped: expected a bus bandwidth and an algorithm bandwidth in GBps")
        return
    payload = _PAYLOAD.fullmatch(named.get("payload", ""))
    size = int(payload[1]) << 10 * " KMGTPE".index(payload[2] or " ") if payload else None
    notes = ("payload printed rounded down to a whole unit",) if size and size & (size - 1) else ()
    _add(collector, table, line, size if len(cells) == len(table.columns) else None, algbw, busbw, notes)


def _rate(cell: str) -> PrintedNumber | None:
    found = _RATE.fullmatch(cell)
    return printed_number(found[1]) if found else None


def _add(collector: Collector, table: _Table, line: int, size: int | None, algbw: PrintedNumber | None,
         busbw: PrintedNumber | None, notes: tuple[str, ...] = ()) -> None:
    """Add one payload, unless its two bandwidths contradict each other: the time depends on them alone."""
    if not size or not algbw or not busbw or algbw.value <= 0:
        collector.warn(line, "row skipped: expected a payload, such as 32KiB, and two bandwidths in GBps above zero")
        return
    if not agree((algbw, busbw), _FACTOR(table.ranks)):
        collector.warn(line, f"row skipped: busbw is not algbw times 2(n-1)/n for {table.ranks} ranks")
        return
    collector.add(Imported(
        run=table.run, op="all_reduce", ranks=table.ranks, message_bytes=size, native_size_bytes=size, dtype="float32",
        redop="sum", in_place=True, mode="isolated", time_s=size / (algbw.value * 1e9),
        statistic="payload over bandwidth, mean over ranks and calls", time_kind=MEAN, repeats=table.calls,
        algbw_Bps=algbw.value * 1e9, busbw_Bps=busbw.value * 1e9, notes=("time computed from algbw", *notes),
        source=collector.source(line)))


def _end(collector: Collector, table: _Table | None) -> None:
    """Add the median of the calls of `--profile_stability` as one result."""
    if table is None or not table.each:
        return
    line = table.each[0][0]
    algbw, busbw = (sorted(rates, key=lambda rate: rate.value)[len(rates) // 2]
                    for rates in ([row[1] for row in table.each], [row[2] for row in table.each]))
    table.calls = len(table.each)
    _add(collector, table, line, table.size, algbw, busbw, (f"median of {table.calls} calls",))
