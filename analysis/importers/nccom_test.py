"""nccom-test of AWS Neuron: rows as in nccl-tests, without in-place columns; its GB/s are GiB/s, so recomputed."""

import re
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.collector import UNSTATED, Collector, Origin
from .shared.log import Log
from .shared.names import ITEMSIZES, dtype_name, is_known, op_name, requested_op
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "nccom-test"

_HEADER = re.compile(r"^[ \t#>*-]{0,16}size\(B\)\s+count\(elems\)\s+type\s+time:?\S*\(us\)", re.MULTILINE)
_COMMAND = re.compile(r"\bnccom-test\b.*?\b(all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|allr|allg|redsct|"
                      r"sendrecv|permute)\b")
_RANKS = re.compile(r"\s(?:-r|--nworkers|--ntasks)[ =](\d{1,7})\b")
_SHORT = MappingProxyType({"allr": "all_reduce", "allg": "all_gather", "redsct": "reduce_scatter"})


class _NccomRow(NamedTuple):
    line: int
    size: int
    dtype: str | None
    time_us: PrintedNumber
    algbw_GBps: PrintedNumber | None


def recognise(text: str) -> bool:
    """Whether `text` has a header of this tool."""
    return bool(_HEADER.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row; operation and ranks from a command above the table, else from options."""
    op = requested_op(collector.hints.op) if collector.hints.op else None
    ranks = collector.hints.ranks
    rows: list[_NccomRow] = []
    for line in log.lines:
        if command := _COMMAND.search(line.text):
            op = op_name(_SHORT.get(command[1], command[1]))
            counted = _RANKS.search(line.text)
            ranks = int(counted[1]) if counted else ranks
        fields = line.text.split()
        if len(fields) == 6 and (size := whole(fields[0])) is not None and (time := printed_number(fields[3])) \
                and printed_number(fields[5]):
            rows.append(_NccomRow(line.number, size, dtype_name(fields[2]), time, printed_number(fields[4])))
    collector.rows += len(rows)
    for known, words in ((op, ("the operation", "--op NAME")), (ranks, ("the number of ranks", "--ranks N"))):
        if rows and not known:
            collector.need(rows[0][0], *words, len(rows))
    if rows and op and ranks:
        _add(collector, op, ranks, rows)


def _add(collector: Collector, op: str, ranks: int, rows: list[_NccomRow]) -> None:
    """Add the rows of a table, each checked against its own bandwidth."""
    run = collector.run(Origin("nccom-test", library="Neuron collectives, version not stated", ranks=ranks))
    wrong: dict[str, list[int]] = {}
    for line, size, dtype, time, algbw in rows:
        words = algbw and misfit(size, PrintedNumber(time.value / 1e6, time.error / 1e6),
                                 PrintedNumber(algbw.value * 1e9, algbw.error * 1e9), ITEMSIZES.get(dtype or ""), ranks)
        if words:
            wrong.setdefault(words, []).append(line)
        collector.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, dtype=dtype,
            redop="sum" if is_known(op) and OPERATIONS[op].reduces else None, mode="streamed",
            time_s=time.value / 1e6, statistic="mean", time_kind=UNSTATED, source=collector.source(line)))
    for words, lines in wrong.items():
        collector.warn(lines[0], f"algbw is not size over time in {len(lines)} rows: {words}; recomputed from the time")
