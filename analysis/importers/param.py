"""PARAM comms (train/comms/pt of facebookresearch/param): rows that begin with COMMS-RES; columns by name.

Percentiles are over ranks, of each rank's mean. Bandwidths are decimal, with the factors of nccl-tests. Quantised
and paired tests are left out, with a warning.
"""

import re
from collections.abc import Iterator
from types import MappingProxyType

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import Collector, Origin
from .shared.log import Log, LogLine
from .shared.printed_numbers import PrintedNumber, misfit, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "PARAM comms"

_MARK = re.compile(r"COMMS-RES")
_TAG = re.compile(r"COMMS-RES-(QUANT-)?([A-Za-z_]+?)-((?:b?float|u?int|fp|double|half|long|torch\.)\w*)\S*")
_WORLD = re.compile(r"\b(?:world[_ ]?size|num(?:ber)? ?(?:of )?ranks|nRanks)\s*[:=]\s*(\d{1,7})\b", re.IGNORECASE)
_NAMES = re.compile(r"\S+(?: \([A-Za-z/]+\))?")
_KNOWN = MappingProxyType({
    "size": "size", "total-size": "size", "num-elements": "count", "nelementsperrank": "count",
    "num-elements-per-rank": "count", "latency:p50": "p50", "time:p50": "p50", "p75": "p75", "p95": "p95",
    "min": "min", "max": "max", "algbw": "algbw", "busbw": "busbw"})
_USUAL = ("size", "count", "p50", "p75", "p95", "min", "max", "algbw", "busbw")
_SHORT = ("size", "count", "p50", "p75", "p95", "algbw", "busbw")


def recognise(text: str) -> bool:
    """Whether `text` has rows of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row of the log."""
    world = next((int(found[1]) for line in log.lines if (found := _WORLD.search(line.text))), None)
    ranks = world or collector.hints.ranks
    runs: list[str] = []
    for line, op, dtype, cells in _rows(log, collector):
        collector.rows += 1
        known = ranks or _implied_ranks(op, cells, dtype)
        if not known:
            collector.need_ranks(line, 1)
            continue
        if not runs:
            runs.append(collector.run(Origin("param", library="torch.distributed backend not stated", ranks=known)))
        _add(collector, runs[0], line, op, dtype, cells, known,
             () if ranks else (f"{known} ranks inferred from size and elements per rank",))


def _rows(log: Log, collector: Collector) -> Iterator[tuple[int, str, str | None, dict[str, PrintedNumber]]]:
    names: tuple[str, ...] = ()
    for line in log.lines:
        found = _TAG.search(line.text)
        if not found:
            if "COMMS-RES" in line.text or re.search(r"\b(?:Latency|Time)\(us\):p50", line.text):
                names = _columns(line)
            continue
        if found[1]:
            collector.warn(line.number, "a quantised test: left out, since its times cover several steps")
            continue
        numbers = [printed_number(field) for field in line.text[found.end():].split()]
        usual = {len(_USUAL): _USUAL, len(_USUAL) + 1: _USUAL, len(_SHORT): _SHORT, len(_SHORT) + 1: _SHORT}
        layout = names if names and len(names) <= len(numbers) else usual.get(len(numbers), ())
        cells = {name: number for name, number in zip(layout, numbers, strict=False) if number}
        if not {"size", "p50"} <= cells.keys():
            collector.warn(line.number, "a PARAM row without size and p50")
            continue
        if None in numbers:
            collector.warn(line.number, "a cell is not a number: not used")
        yield line.number, op_name(found[2]), dtype_name(found[3]), cells


def _columns(line: LogLine) -> tuple[str, ...]:
    """Our names for the columns of a header; empty if size or p50 is missing."""
    words = [re.sub(r"\s*\((?!us\):p50)[^)]*\)|\(us\)", "", word).lower()
             for word in _NAMES.findall(line.text.replace("COMMS-RES", " "))]
    names = [_KNOWN.get(word, f"?{word}") for word in words]
    return tuple(names) if "size" in names and "p50" in names else ()


def _implied_ranks(op: str, cells: dict[str, PrintedNumber], dtype: str | None) -> int | None:
    """Rank count from size over bytes per rank, if the size is the total of all ranks."""
    if not (is_known(op) and OPERATIONS[op].in_blocks and "count" in cells):
        return None
    share = cells["count"].value * ITEMSIZES.get(dtype or "", 0)
    ratio = cells["size"].value / share if share > 0 else 0
    return int(ratio) if ratio >= 2 and ratio == int(ratio) else None


def _add(collector: Collector, run: str, line: int, op: str, dtype: str | None, cells: dict[str, PrintedNumber],
         ranks: int, notes: tuple[str, ...]) -> None:
    """Add one row, checked against its own bandwidth."""
    size, time = int(cells["size"].value), cells["p50"]
    algbw, busbw = cells.get("algbw"), cells.get("busbw")
    words = algbw and misfit(size, PrintedNumber(time.value / 1e6, time.error / 1e6),
                             PrintedNumber(algbw.value * 1e9, algbw.error * 1e9), ITEMSIZES.get(dtype or ""), ranks)
    if words:
        collector.warn(line, f"AlgBW is not size over p50: {words}; recomputed from the time")

    def seconds(name: str) -> float | None:
        return cells[name].value / 1e6 if name in cells else None

    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size, dtype=dtype,
        redop="sum" if is_known(op) and OPERATIONS[op].reduces else None,
        traffic="even" if op == "all_to_all_v" else None, mode="isolated", time_s=time.value / 1e6,
        statistic="median over ranks of the mean over calls", time_kind="median over ranks",
        rank_min_s=seconds("min"), rank_max_s=seconds("max"), algbw_Bps=algbw.value * 1e9 if algbw else None,
        busbw_Bps=busbw.value * 1e9 if busbw else None, notes=notes, source=collector.source(line)))
