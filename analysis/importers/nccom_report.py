"""The JSON report of nccom-test (`--report-to-json-file`): sizes, times and bandwidths, but no operation or ranks.

busbw over algbw gives the number of ranks, and above 1 it is that of an all-reduce. Older versions count bandwidths in
2^30 bytes, so they are recomputed.
"""

import re

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, requested_op
from collbench.collectives.records.record import Imported

from .shared.bandwidth_pairs import Pair, implied_ranks
from .shared.collector import UNSTATED, Collector, Origin
from .shared.json_text import documents
from .shared.log import Log, split_lines
from .shared.printed_numbers import PrintedNumber, misfit, printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "nccom-test JSON"

_MARK = re.compile(r"\"size\(B\)\"\s*:")
_TIME = re.compile(r"time(?::(avg|p\d{1,2}))?\((us|ms|s)\)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def recognise(text: str) -> bool:
    """Whether `text` has rows of such a report."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add the rows of every report."""
    found = 0
    for line, document in documents(log.text):
        rows = document.get("results") if isinstance(document, dict) else None
        if isinstance(rows, list):
            numbers = _lines(log.text, line, len(rows))
            found += len(rows)
            _report(collector, [(number, row) for number, row in zip(numbers, rows, strict=True)
                                if isinstance(row, dict)])
    printed = len(_MARK.findall(log.text))
    collector.rows += printed
    if found < printed:
        collector.warn(next((line.number for line in log.lines if _MARK.search(line.text)), None),
                       f"{printed - found} of {printed} rows are in an incomplete JSON document: left out")


def _lines(text: str, first: int, rows: int) -> list[int]:
    """The line at which each row begins, in a document that begins at line `first`."""
    begun = [number for number, line in enumerate(split_lines(text), 1) if number >= first
             for _ in range(line.count("{"))]
    return begun[1:rows + 1] if len(begun) > rows else [first] * rows


def _report(collector: Collector, rows: list[tuple[int, dict[str, object]]]) -> None:
    pairs = _pairs(rows)
    op = requested_op(collector.hints.op) if collector.hints.op else None
    above = [pair for pair in pairs if pair[1].value > pair[0].value * (1 + 1e-6)]
    notes: tuple[str, ...] = ()
    if not op and 2 * len(above) > len(pairs):
        op, notes = "all_reduce", ("an all_reduce: busbw is above algbw",)
    implied = _implied(op, pairs) if op else None
    ranks = collector.hints.ranks or implied
    if rows and not op:
        collector.need_op(rows[0][0], len(rows))
        return
    if rows and not ranks:
        collector.need_ranks(rows[0][0], len(rows))
        return
    if rows and op and ranks:
        if not collector.hints.ranks:
            notes = (*notes, f"{ranks} ranks inferred from the two bandwidths")
        elif implied and implied != ranks:
            collector.warn(rows[0][0], f"busbw over algbw is that of {op} over {implied} ranks, not {ranks} as given")
        run = collector.run(Origin("nccom-test", library="Neuron collectives, version not stated", ranks=ranks))
        wrong: dict[str, list[int]] = {}
        for line, row in rows:
            _add(collector, run, line, row, op, ranks, notes, wrong)
        for words_, lines in wrong.items():
            collector.warn(lines[0], f"algbw is not size over time in {len(lines)} rows: {words_}; recomputed from the "
                                     "time")


def _pairs(rows: list[tuple[int, dict[str, object]]]) -> list[Pair]:
    found: list[Pair] = []
    for _, row in rows:
        algbw, busbw = (printed_number(str(row.get(f"{name}(GB/s)"))) for name in ("algbw", "busbw"))
        if algbw and busbw and algbw.value > 0:
            found.append((algbw, busbw))
    return found


def _implied(op: str, pairs: list[Pair]) -> int | None:
    """The number of ranks, from bandwidths that are printed with all their digits, or else rounded."""
    factor = OPERATIONS[op].bus_factor
    exact = [(PrintedNumber(algbw.value, 0.0), PrintedNumber(busbw.value, 0.0)) for algbw, busbw in pairs]
    return implied_ranks(factor, exact) or implied_ranks(factor, pairs)


def _add(collector: Collector, run: str, line: int, row: dict[str, object], op: str, ranks: int,
         notes: tuple[str, ...], wrong: dict[str, list[int]]) -> None:
    """Add one row, checked against its own bandwidth."""
    size, dtype = whole(str(row.get("size(B)"))), dtype_name(str(row.get("type", "")))
    times = {found[1] or "avg": PrintedNumber(number.value * _SECONDS[found[2]], number.error * _SECONDS[found[2]])
             for name, value in row.items()
             if (found := _TIME.fullmatch(name)) and (number := printed_number(str(value))) and number.value > 0}
    if size is None or size < 0 or not times:
        collector.warn(line, "row skipped: no size(B), or no time above zero")
        return
    kind = "avg" if "avg" in times else "p50" if "p50" in times else next(iter(times))
    algbw = printed_number(str(row.get("algbw(GB/s)")))
    if algbw and kind == "avg" and (words := misfit(size, times[kind], PrintedNumber(algbw.value * 1e9,
                                                    max(algbw.error, 5e-3) * 1e9), ITEMSIZES.get(dtype or ""), ranks)):
        wrong.setdefault(words, []).append(line)
    percentiles = {name: times[name].value for name in ("p50", "p95", "p99") if name in times}
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, dtype=dtype,
        redop="sum" if OPERATIONS[op].reduces else None, mode="streamed", time_s=times[kind].value,
        statistic="mean" if kind == "avg" else f"{kind} over calls", time_kind=UNSTATED,
        p50_s=percentiles.get("p50"), p95_s=percentiles.get("p95"), p99_s=percentiles.get("p99"),
        algorithm=str(row["algorithm"])[:40] if isinstance(row.get("algorithm"), str) else None,
        notes=notes, source=collector.source(line)))
