"""ucc_perftest: a head of settings, then count, size and three times; with -F also three bandwidths.

The size is that of one rank's buffer per peer in block operations; the bandwidth of an all-to-all counts n-1 blocks.
"""

import re

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .shared.collector import MEAN, Harvest, Origin
from .shared.log import Log
from .shared.names import dtype_name, is_known, op_name
from .shared.printed_numbers import figure, whole

__all__ = ["TITLE", "read", "recognise"]

TITLE = "ucc_perftest"

_MARK = re.compile(r"^[ \t#>*-]{0,16}Collective:[ \t]+\w+[ \t]*\r?\n.{0,16}Memory type:", re.MULTILINE)
_SETTING = re.compile(r"\s*(Collective|Memory type|Datatype|Reduction|Inplace):\s+(\S+)\s*$")


def recognise(text: str) -> bool:
    """Whether `text` has the head that this tool prints."""
    return bool(_MARK.search(text))


def read(log: Log, harvest: Harvest) -> None:
    """Add every row; the rank count is printed nowhere, but follows from the bandwidth of block operations."""
    settings: dict[str, str] = {}
    runs: dict[tuple[str, int], str] = {}
    for line in log.lines:
        if setting := _SETTING.match(line.text):
            settings[setting[1]] = setting[2]
            continue
        fields = line.text.split()
        cells = [figure(field) for field in fields]
        if "Collective" not in settings or len(cells) < 3 or None in cells or whole(fields[1]) is None:
            continue
        harvest.rows += 1
        op = op_name(settings["Collective"])
        ranks, notes = harvest.asked.ranks, ()
        if not ranks and len(cells) >= 8 and is_known(op) and OPERATIONS[op].in_blocks:
            ranks = round(cells[5].value * 1e3 * cells[2].value / cells[1].value) + 1
            notes = (f"{ranks} ranks worked out from the bandwidth",)
        if not ranks:
            harvest.need(line.number, f"the number of ranks of {op}", "--ranks N", 1)
            continue
        if (op, ranks) not in runs:
            runs[op, ranks] = harvest.run(Origin("ucc_perftest", library="UCC, version not stated",
                                                 device=settings.get("Memory type"), ranks=ranks))
        _add(harvest, runs[op, ranks], line.number, settings, op, ranks, fields, notes)


def _add(harvest: Harvest, run: str, line: int, settings: dict[str, str], op: str, ranks: int, fields: list[str],
         notes: tuple[str, ...]) -> None:
    size = int(fields[1])
    operation = OPERATIONS[op] if is_known(op) else None
    average, *others = (figure(field) for field in fields[2:5])
    low, high = others if len(others) == 2 else (None, None)
    harvest.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if operation and operation.in_blocks else size,
        native_size_bytes=size, dtype=dtype_name(settings.get("Datatype")),
        redop=settings.get("Reduction", "sum").lower() if operation and operation.reduces else None,
        in_place=settings.get("Inplace") == "1" if operation and operation.has_in_place else None, mode="isolated",
        time_s=average.value / 1e6, statistic="mean over ranks of the mean over calls", time_kind=MEAN,
        rank_min_s=low.value / 1e6 if low else None, rank_max_s=high.value / 1e6 if high else None, notes=notes,
        source=harvest.source(line)))
