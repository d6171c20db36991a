"""hccl_test of Ascend CANN: four fields between bars, the time of the root rank alone.

The table has neither operation nor rank count: they come from the command above it, or from options. The size is that
of the whole buffer. The bandwidth is size over time, in 10^9 or, in older versions, 2^30 bytes: it is recomputed.
"""

import re
from dataclasses import dataclass, field

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Harvest, Origin
from .shared.commands import launched_ranks
from .shared.log import Log
from .shared.names import ITEMSIZES, asked_op, dtype_name, is_known, op_name
from .shared.printed_numbers import Figure, figure, misfit, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "hccl_test"

_HEADER = re.compile(r"^.{0,80}data_size\s*\(Bytes\):?\s*\|", re.MULTILINE)
_COMMAND = re.compile(r"\b(\w+?)_test\b\s+-")
_OPTION = re.compile(r"\s-(d|o|p)\s+(\w+)")
_ITERATIONS = re.compile(r"\biters is (\d{1,9})")
_SIMULATED_US = 1000.0


@dataclass
class _Table:
    line: int
    op: str | None = None
    ranks: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    calls: int | None = None
    command: str | None = None
    rows: list[tuple[int, int, Figure, Figure | None, str]] = field(default_factory=list)


def recognise(text: str) -> bool:
    """Whether `text` has a header of this tool."""
    return bool(_HEADER.search(text))


def read(log: Log, harvest: Harvest) -> None:
    """Add every table of the log."""
    said = _Table(1)
    for table in _tables(log, harvest, said):
        harvest.rows += len(table.rows)
        op = table.op or (asked_op(harvest.asked.op) if harvest.asked.op else None)
        ranks = harvest.asked.ranks if table.ranks is None else table.ranks
        missing = [words for known, words in ((op, ("the operation", "--op NAME")),
                                              (ranks, ("the number of ranks", "--ranks N"))) if not known]
        for words in missing if table.rows else ():
            harvest.need(table.line, *words, len(table.rows))
        if not missing and table.rows:
            _add(harvest, table, str(op), int(ranks or 0))


def _tables(log: Log, harvest: Harvest, said: _Table) -> list[_Table]:
    """Tables, each with what the command and settings above it say."""
    found: list[_Table] = []
    for line in log.lines:
        text = line.text
        if _HEADER.match(text):
            found.append(_Table(line.number, said.op, said.ranks, dict(said.options), said.calls, said.command))
        elif command := _COMMAND.search(text):
            said.op, said.options = op_name(command[1]), dict(_OPTION.findall(text))
            said.ranks, said.command = launched_ranks(text), text.strip(" #$")[:500]
        elif calls := _ITERATIONS.search(text):
            said.calls = int(calls[1])
        elif found and text.count("|") == 3 and "check result failed" not in text:
            _row(found[-1], harvest, line.number, [cell.strip() for cell in text.split("|")])
    return found


def _row(table: _Table, harvest: Harvest, line: int, cells: list[str]) -> None:
    size, time = whole(cells[0]), figure(cells[1])
    if size is None or size < 0 or time is None:
        if cells[0][:1].isdigit():
            harvest.warn(line, "no size, or no time")
        return
    table.rows.append((line, size, time, figure(cells[2]), cells[3].lower()))


def _add(harvest: Harvest, table: _Table, op: str, ranks: int) -> None:
    """The rows of a table into the harvest, each checked against its own bandwidth."""
    _check(harvest, table, ranks)
    reduces = is_known(op) and OPERATIONS[op].reduces
    per_node = whole(table.options.get("p", ""))
    run = harvest.run(Origin("hccl_test", library="HCCL, version not stated", device="npu", ranks=ranks,
                             command=table.command))
    for line, size, time, rate, verdict in table.rows:
        harvest.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size,
            dtype=dtype_name(table.options.get("d")), redop=table.options.get("o", "sum") if reduces else None,
            traffic="even" if op == "all_to_all_v" else None, mode="streamed", time_s=time.value / 1e6,
            statistic="root rank, mean over a batch", time_kind=ROOT, repeats=table.calls,
            algbw_Bps=rate.value * 1e9 if rate else None, checked=verdict in ("success", "failed"),
            status="wrong" if verdict == "failed" else "ok",
            reason="the tool's own check failed" if verdict == "failed" else None,
            ranks_per_node=per_node if per_node and per_node <= ranks else None, source=harvest.source(line)))


def _check(harvest: Harvest, table: _Table, ranks: int) -> None:
    """The unit of the bandwidth, and whether anything was measured at all."""
    wrong: dict[str, list[int]] = {}
    itemsize = ITEMSIZES.get(dtype_name(table.options.get("d")) or "")
    for line, size, time, rate, _ in table.rows:
        words = rate and misfit(size, Figure(time.value / 1e6, time.error / 1e6),
                                Figure(rate.value * 1e9, rate.error * 1e9), itemsize, ranks)
        if words:
            wrong.setdefault(words, []).append(line)
    for words, lines in wrong.items():
        harvest.warn(lines[0], f"alg_bandwidth is not size over time in {len(lines)} rows: {words}; recomputed from "
                     "the time")
    if all(time.value == _SIMULATED_US for _, _, time, _, _ in table.rows):
        harvest.warn(table.line, "every time is 1000.00 us: that is the simulator's constant, not a measurement")
