"""ucc_perftest: a header of settings, then count, size and three times; with -F also three bandwidths.

In block operations the size is per rank or peer; the bandwidth of an all-to-all counts n-1 blocks.
"""

import re

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, Collector, Origin
from .shared.log import Log
from .shared.names import dtype_name, is_known, op_name
from .shared.printed_numbers import PrintedNumber, printed_number, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "ucc_perftest"

_MARK = re.compile(r"^[ \t#>*-]{0,16}Collective:[ \t]+\w+[ \t]*\r?\n.{0,16}Memory type:", re.MULTILINE)
_SETTING = re.compile(r"\s*(Collective|Memory type|Datatype|Reduction|Inplace):\s+(\S+)\s*$")


def recognise(text: str) -> bool:
    """Whether `text` has the header of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every row; the rank count is not printed, but follows from the bandwidth of block operations."""
    settings: dict[str, str] = {}
    runs: dict[tuple[str, int], str] = {}
    for line in log.lines:
        if setting := _SETTING.match(line.text):
            settings[setting[1]] = setting[2]
            continue
        fields = line.text.split()
        cells = [number for field in fields if (number := printed_number(field))]
        if "Collective" not in settings or not 3 <= len(cells) == len(fields) or whole(fields[1]) is None:
            continue
        collector.rows += 1
        op = op_name(settings["Collective"])
        ranks, notes = collector.hints.ranks, tuple[str, ...]()
        if not ranks and len(cells) >= 8 and cells[1].value > 0 and is_known(op) and OPERATIONS[op].in_blocks:
            ranks = round(cells[5].value * 1e3 * cells[2].value / cells[1].value) + 1
            notes = (f"{ranks} ranks inferred from the bandwidth",)
        if not ranks:
            collector.need(line.number, f"the number of ranks of {op}", "--ranks N", 1)
            continue
        if (op, ranks) not in runs:
            runs[op, ranks] = collector.run(Origin("ucc_perftest", library="UCC, version not stated",
                                                 device=settings.get("Memory type"), ranks=ranks))
        _add(collector, runs[op, ranks], line.number, settings, op, ranks, int(fields[1]), cells[2:5], notes)


def _add(collector: Collector, run: str, line: int, settings: dict[str, str], op: str, ranks: int, size: int,
         times: list[PrintedNumber], notes: tuple[str, ...]) -> None:
    operation = OPERATIONS[op] if is_known(op) else None
    average, *others = times
    low, high = others if len(others) == 2 else (None, None)
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if operation and operation.in_blocks else size,
        native_size_bytes=size, dtype=dtype_name(settings.get("Datatype")),
        redop=settings.get("Reduction", "sum").lower() if operation and operation.reduces else None,
        in_place=settings.get("Inplace") == "1" if operation and operation.has_in_place else None, mode="isolated",
        time_s=average.value / 1e6, statistic="mean over ranks of the mean over calls", time_kind=MEAN,
        rank_min_s=low.value / 1e6 if low else None, rank_max_s=high.value / 1e6 if high else None, notes=notes,
        source=collector.source(line)))
