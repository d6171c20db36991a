"""gpu-benchmarks of the University of Maryland: `<bytes> <seconds> seconds` below a header with the rank count.

The size is a rank's contribution for an all-gather, and its whole buffer for other operations. Only the command names
the operation.
"""

import re

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known, op_name, requested_op
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.commands import is_command
from .shared.log import Log
from .shared.printed_numbers import printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "UMD gpu-benchmarks"

_MARK = re.compile(r"^.{0,64}\b\d{1,18} \d{1,9}\.\d{1,12} seconds[ \t\r]*$", re.MULTILINE)
_RANKS = re.compile(r"\s*Number of GPUs:\s*(\d{1,7})")
_CALLS = re.compile(r"\s*Number of iterations:\s*(\d{1,9})")
_PROGRAM = re.compile(r"/((?:all|reduce)[-_]?\w+)\.x\b")
_SAME_TIME = 0.1        # times that vary less than this while sizes vary tenfold are not transfer times


def recognise(text: str) -> bool:
    """Whether `text` has the header and rows of these programs."""
    return "Number of GPUs:" in text and bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row."""
    op, ranks, calls = None, None, None
    rows: list[tuple[int, int, float]] = []
    for line in log.lines:
        if is_command(line.text) and (program := _PROGRAM.search(line.text)):
            op = op_name(program[1])
        elif counted := _RANKS.match(line.text):
            ranks = int(counted[1])
        elif repeated := _CALLS.match(line.text):
            calls = int(repeated[1])
        fields = line.text.split()
        if len(fields) == 3 and fields[2] == "seconds" and whole(fields[0]) is not None \
                and (time := printed_number(fields[1])):
            rows.append((line.number, int(fields[0]), time.value))
        elif ranks and _resembles_a_row(fields):
            collector.warn(line.number, f"not read as a row: {line.text.strip()!r:.80}")
    collector.rows += len(rows)
    op = op or (requested_op(collector.hints.op) if collector.hints.op else None)
    if rows and not op:
        collector.need_op(rows[0][0], len(rows))
    if rows and op and ranks:
        _warn_if_constant(collector, rows)
        _add(collector, op, ranks, calls, rows)


def _resembles_a_row(fields: list[str]) -> bool:
    return 2 <= len(fields) <= 5 and ("seconds" in fields[1:] or sum(printed_number(field) is not None
                                                                     for field in fields) >= 2)


def _warn_if_constant(collector: Collector, rows: list[tuple[int, int, float]]) -> None:
    times, sizes = [time for _, _, time in rows], [size for _, size, _ in rows]
    if len(rows) > 2 and max(sizes) >= 10 * max(1, min(sizes)) and max(times) <= (1 + _SAME_TIME) * min(times):
        collector.warn(rows[0][0], "times do not depend on the size, so they are not dominated by the transfer")


def _add(collector: Collector, op: str, ranks: int, calls: int | None, rows: list[tuple[int, int, float]]) -> None:
    run = collector.run(Origin("gpu-benchmarks", library="library not stated", ranks=ranks))
    for line, size, time_s in rows:
        collector.add(Imported(
            run=run, op=op, ranks=ranks, message_bytes=size * ranks if op == "all_gather" else size,
            native_size_bytes=size, redop="sum" if is_known(op) and OPERATIONS[op].reduces else None, mode="isolated",
            time_s=time_s, statistic="rank 0, mean over calls", time_kind=ROOT, repeats=calls,
            source=collector.source(line)))
