"""Turn nccl-tests tables into imported results: determine operation and ranks, and check the units."""

import re
from collections import Counter
from collections.abc import Iterable
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.cases.names import ITEMSIZES, is_known, op_name, requested_op
from collbench.collectives.records.record import Imported

from .collector import MEAN, Collector, Origin, joined
from .infer_operation import bus_ratio, factor_of, fitting_operations, signatures
from .log import Log
from .nccl_log import Table, tables
from .nccl_row import Half, Row
from .printed_numbers import misfit, scaled

__all__ = ["import_tables", "import_text"]

_REDUCING = ("all_reduce", "reduce_scatter", "reduce")
_PROGRAM = re.compile(r"(?:.*/)?(\w+?)_perf\w*")
# Versions before 2.13 count a result as wrong above this deviation (src/common.cu, DeltaMaxValue).
_TOLERANCE = MappingProxyType({"float16": 1e-2, "bfloat16": 1e-2, "float32": 1e-5, "float64": 1e-12})


class _Meaning(NamedTuple):
    op: str
    ranks: int
    notes: tuple[str, ...]


def import_text(log: Log, collector: Collector) -> None:
    """Add every run in the text of a log, and warn of truncated rows."""
    faults: list[tuple[int, str]] = []
    read_rows: set[int] = set()
    for stream in log.streams():
        import_tables(collector, [_unread(table, read_rows) for table in tables(stream, faults)])
    collector.warn_of(faults)


def _unread(table: Table, read_rows: set[int]) -> Table:
    """The table without rows of earlier streams: lines without a task are in every stream."""
    table.rows = [row for row in table.rows if row.line not in read_rows]
    read_rows.update(row.line for row in table.rows)
    return table


def import_tables(collector: Collector, found: Iterable[Table]) -> None:
    """Add every table that has rows."""
    for table in found:
        if not table.rows:
            if table.failure and (table.devices or table.config or table.columns):
                collector.warn(table.line, f"a run without rows: {table.failure}")
            continue
        collector.rows += len(table.rows)
        meaning = _meaning(collector, table)
        if meaning is None:
            continue
        misprinted = _misprinted(table, meaning)
        _warn_about(collector, table, meaning, misprinted)
        run = collector.run(_origin(table, meaning))
        for row in table.rows:
            for in_place, half in ((False, row.out_of_place), (True, row.in_place)):
                if half and (row.line, in_place) in misprinted:
                    collector.warn(row.line, f"time or size is misprinted, since algbw and busbw agree: "
                                   f"{'in-place' if in_place else 'out-of-place'} half left out")
                elif half:
                    collector.add(_imported(collector, table, meaning, run, row, half, in_place))


def _origin(table: Table, meaning: _Meaning) -> Origin:
    complete = sorted(table.devices, key=lambda device: device.rank) if _is_complete(table, meaning.ranks) else []
    vendor = "RCCL" if table.tool == "rccl-tests" else "NCCL"
    return Origin(table.tool, table.version, table.library or f"{vendor}, version not stated",
                  table.devices[0].name if table.devices else None, meaning.ranks,
                  tuple(device.host for device in complete), table.command,
                  transport=table.transport)


def _is_complete(table: Table, ranks: int) -> bool:
    return len({device.rank for device in table.devices}) == len(table.devices) == ranks


def _ranks_per_node(table: Table, ranks: int) -> int | None:
    """Ranks per host if the device list is complete and all hosts have equally many."""
    counts = set(Counter(device.host for device in table.devices).values())
    return counts.pop() if len(counts) == 1 and _is_complete(table, ranks) else None


def _listed_ranks(collector: Collector, table: Table) -> int | None:
    """Rank count from the device list; of the first group if there are several."""
    if not table.devices:
        return None
    firsts = sum(device.rank == 0 for device in table.devices)
    if firsts > 1:
        collector.warn(table.line, f"rank 0 is listed {firsts} times: these are {firsts} jobs at once, not one of "
                       f"{firsts} ranks")
    groups = {device.group for device in table.devices}
    if len(groups) > 1:
        table.settings.append(f"{len(groups)} groups at once")
        return sum(device.group == min(groups) for device in table.devices)
    return max(max(device.rank for device in table.devices) + 1, len(table.devices) + table.damaged)


def _meaning(collector: Collector, table: Table) -> _Meaning | None:
    """Operation and ranks from the log, else the options, else the columns; None if unknown."""
    listed = _listed_ranks(collector, table)
    notes: list[str] = []
    if listed and table.elided:
        collector.warn(table.elided, f"lines are left out here: {len(table.devices)} listed ranks may not be all")
        listed = None
    elif listed and collector.hints.ranks not in (None, listed):
        collector.warn(table.line, f"the log lists {listed} ranks: --log-ranks {collector.hints.ranks} is "
                       "ignored for it")
    ranks = listed or collector.hints.ranks
    fits = fitting_operations(table.rows, ranks, table.columns)
    if listed and not fits:       # the columns know better than a list that lost lines
        fits = {op: count for op, count in fitting_operations(table.rows, None, table.columns).items()
                if count and (count > listed or table.damaged)}
        ranks = None if fits else ranks
    if not fits and len(unlike := fitting_operations(table.rows, ranks, table.columns, counts=False)) == 1:
        fits = unlike
        collector.warn(table.rows[0].line, "counts do not belong to the sizes: not used")
    op = _operation(collector, table, fits, notes)
    if op is None:
        return None
    if op in signatures() and op not in fits and set(fits) != {"hypercube"}:
        collector.warn(table.rows[0].line, f"columns do not look like {op}" + (f" over {ranks} ranks" if ranks else "")
                     + _what_fits(table, ranks))
    if ranks is None and (ranks := fits.get(op)):
        if listed and not table.damaged:
            collector.warn(table.line, f"{listed} ranks are listed, but the columns fit {ranks}: {ranks} taken")
        notes.append(f"{ranks} ranks inferred from the columns")
    _warn_of_gaps(collector, table, op, listed)
    if ranks is None:
        collector.need_ranks(table.rows[0].line, len(table.rows), op)
        return None
    return _Meaning(op, ranks, tuple(notes))


def _warn_of_gaps(collector: Collector, table: Table, op: str, listed: int | None) -> None:
    """Warn if ranks are missing in the list of devices, unless the columns give the same number."""
    missing = (listed or 0) - len(table.devices) - table.damaged
    if missing > 0 and len({device.group for device in table.devices}) == 1 \
            and fitting_operations(table.rows, None, table.columns).get(op) != listed:
        collector.warn(table.line, f"{missing} of at least {listed} ranks are missing in the list of devices")


def _what_fits(table: Table, ranks: int | None) -> str:
    if ranks is None:
        return ""
    others = {op: count for op, count in fitting_operations(table.rows, None, table.columns).items() if count}
    return "; they fit " + " or ".join(f"{op} over {count}" for op, count in others.items()) if others else ""


def _operation(collector: Collector, table: Table, fits: dict[str, int | None], notes: list[str]) -> str | None:
    """The operation: from the program name, the option or the log, or the only one that fits the columns."""
    if table.program and (program := _PROGRAM.fullmatch(table.program)):
        op = op_name(program[1])
        if op in signatures() or is_known(op) or len(fits) != 1:
            return op
        collector.warn(table.line, f"program {table.program!r:.60} is not known: taken as {next(iter(fits))}, whose "
                       "columns it has")
    if collector.hints.op:
        return requested_op(collector.hints.op)
    if table.mention and ((op := op_name(table.mention)) in fits or _decides(op, fits)):
        notes.append(f"operation named in line {table.mention_line}")
        return op
    if len(fits) == 1:
        notes.append("operation inferred from the columns")
        return next(iter(fits))
    if set(fits) == {"all_reduce", "send_recv"}:
        notes.append("all_reduce assumed: over two ranks a send_recv prints the same columns")
        collector.warn(table.rows[0].line, "assumed to be an all_reduce; over two ranks a send_recv prints the same "
                       "columns: give --log-op send_recv if it is one")
        return "all_reduce"
    choice = f" (it could be {', '.join(fits)})" if fits else ""
    collector.need_op(table.rows[0].line, len(table.rows), choice)
    return None


def _decides(op: str, fits: dict[str, int | None]) -> bool:
    """Whether a command decides although its columns do not fit.

    Nothing else fits, or only the hypercube, whose columns those of an all-gather or a reduce-scatter were until 2020.
    """
    return not fits or (set(fits) == {"hypercube"} and op in ("all_gather", "reduce_scatter"))


def _warn_about(collector: Collector, table: Table, meaning: _Meaning, misprinted: set[tuple[int, bool]]) -> None:
    """Warn of faults of the whole table and its units: one warning for each kind, with the first line."""
    wrong: dict[str, list[int]] = {}
    for row in table.rows:
        for in_place, half in ((False, row.out_of_place), (True, row.in_place)):
            if half and half.algbw and (row.line, in_place) not in misprinted and meaning.op in signatures() \
                    and meaning.op != "hypercube":
                words = misfit(row.size, scaled(half.time_us, 1e-6), scaled(half.algbw, 1e9),
                               ITEMSIZES.get(row.dtype), meaning.ranks)
                if words:
                    wrong.setdefault(words, []).append(row.line)
    for words, lines in wrong.items():
        collector.warn(lines[0], f"algbw is not size over time in {len(lines)} places: {words}; recomputed from the "
                       "time")
    _warn_of_busbw(collector, table, meaning)
    _warn_of_redop(collector, table, meaning)
    if table.ended:
        collector.warn(table.ended[0], f"the run failed after {len(table.rows)} rows: {table.ended[1]}")
    largest, last = table.config.get("maxBytes"), table.rows[-1]
    if largest and max(row.size for row in table.rows) > largest:
        collector.warn(last.line, f"sizes exceed maxBytes {largest}: header and table are from different runs")
    elif largest and not table.closed and table.out_of_bounds == 0 and last.size * 2 <= largest:
        collector.warn(last.line, f"cut short: the last row is {last.size} of {largest} bytes, and there is no summary")
    if table.out_of_bounds and not any(_is_wrong(row, half) for row in table.rows
                                       for half in (row.out_of_place, row.in_place)):
        collector.warn(last.line, f"the tool found {table.out_of_bounds} values out of bounds, but no row shows which")


def _warn_of_busbw(collector: Collector, table: Table, meaning: _Meaning) -> None:
    """Warn of bus bandwidths that do not belong to the operation, unless none does, which is reported elsewhere."""
    factor = factor_of(meaning.op, meaning.ranks)
    ratios = [(row.line, bus_ratio(row, half)) for row in table.rows for half in row.halves]
    contrary = [line for line, (low, high) in ratios if factor is not None and not low <= factor <= high]
    if contrary and 2 * len(contrary) < len(ratios):
        collector.warn(contrary[0], f"busbw is not algbw times {factor:.4g} in {len(contrary)} of {len(ratios)} "
                       "places: recomputed from the time")


def _warn_of_redop(collector: Collector, table: Table, meaning: _Meaning) -> None:
    """Warn of rows without a reduction operation, where others name theirs."""
    without = [row.line for row in table.rows if row.redop is None]
    if len(without) < len(table.rows) and meaning.op in _REDUCING:
        collector.warn_of((line, "a row without a reduction operation: taken as unknown") for line in without)


def _misprinted(table: Table, meaning: _Meaning) -> set[tuple[int, bool]]:
    """Row and place of each time that contradicts both bandwidths of its row, where most others agree with theirs."""
    factor = factor_of(meaning.op, meaning.ranks)
    suspects, agree = set(), 0
    for row in table.rows:
        for in_place, half in ((False, row.out_of_place), (True, row.in_place)):
            if half is None or half.algbw is None or half.algbw.value <= 4 * half.algbw.error:
                continue
            if half.holds_together(row.size):
                agree += 1
            elif factor and half.busbw and abs(half.busbw.value - factor * half.algbw.value) \
                    <= half.busbw.error + factor * half.algbw.error + 2e-3 * half.busbw.value:
                suspects.add((row.line, in_place))
    return suspects if agree >= 2 * len(suspects) else set()


def _is_wrong(row: Row, half: Half | None) -> bool:
    if half is None:
        return False
    return bool(half.wrong) or (half.deviation or 0.0) > _TOLERANCE.get(row.dtype, 0.0)


def _imported(collector: Collector, table: Table, meaning: _Meaning, run: str, row: Row, half: Half,
              in_place: bool) -> Imported:
    algorithm, protocol = row.tuned or table.tuned.get(row.size) or (table.algorithm, table.protocol)
    wrong = _is_wrong(row, half)
    calls = table.config.get("iters")
    return Imported(
        run=run, op=meaning.op, ranks=meaning.ranks, message_bytes=row.size, native_size_bytes=row.size,
        dtype=row.dtype, redop=row.redop if meaning.op in _REDUCING else None,
        in_place=in_place, mode="streamed", time_s=half.time_us.value / 1e6,
        statistic="mean over ranks of a batch" + (f" of {calls} calls" if calls else "") + (
            ", time on the CPU to enqueue" if table.cpu_time else ""),
        time_kind=table.time_kind or ("enqueue time" if table.cpu_time else MEAN), repeats=calls,
        p50_s=_us(half.p50_us), p95_s=_us(half.p95_us), p99_s=_us(half.p99_us),
        algbw_Bps=half.algbw.value * 1e9 if half.algbw else None,
        busbw_Bps=half.busbw.value * 1e9 if half.busbw else None,
        checked=half.wrong is not None or half.deviation is not None, status="wrong" if wrong else "ok",
        reason=f"the tool's own check failed: {half.wrong or half.deviation:g} wrong" if wrong else None,
        notes=meaning.notes, algorithm=algorithm, protocol=protocol,
        ranks_per_node=_ranks_per_node(table, meaning.ranks), variant=_variant(table),
        source=collector.source(row.line))


def _variant(table: Table) -> str | None:
    """Settings that change the meaning of the times, as `variant`."""
    numbers = [f"{words}={table.config[name]}" for name, words, usual in (
        ("graph", "graph", 0), ("agg iters", "aggregated", 1), ("side_work", "side work", 0),
        ("unalign", "unaligned", 0)) if table.config.get(name, usual) != usual]
    return joined([*numbers, *table.settings, "enqueue time" if table.cpu_time else None])


def _us(value: float | None) -> float | None:
    return value / 1e6 if value is not None else None
