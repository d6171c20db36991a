"""mscclpp-test: JSON lines of name, kernel, ranks, ranksPerNode, size, time, algBw, busBw."""

import re

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import UNSTATED, Collector, Origin
from .shared.json_text import documents
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, misfit, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "mscclpp-test"

_NUMBERS = ("ranks", "ranksPerNode", "size", "time", "algBw", "busBw")
_LEAST_KEYS = 4         # of those above, by which an object is one of this tool
_MARK = re.compile(r"^[ \t]{0,64}\{\s{0,64}\"name\"\s*:\s*\"\w+\"\s*,\s*\"kernel\"\s*:", re.MULTILINE)


def recognise(text: str) -> bool:
    """Whether `text` has lines of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every line."""
    runs: dict[int, str] = {}
    begun: set[int] = set()
    for line, row in documents(log.text):
        begun.add(line)
        if not isinstance(row, dict) or len(row.keys() & {"name", "kernel", *_NUMBERS}) < _LEAST_KEYS:
            continue
        collector.rows += 1
        if not is_known(op_name(str(row.get("name")))) or "kernel" not in row:
            collector.warn(line, f"no kernel of a known collective: name {str(row.get('name'))!r:.40}")
        if "name" not in row:
            continue
        cells = {name: printed_number(str(row.get(name))) for name in _NUMBERS}
        ranks, size, time = cells["ranks"], cells["size"], cells["time"]
        if not (ranks and size and time and ranks.value >= 1 and size.value >= 0):
            collector.warn(line, "no ranks, size or time")
            continue
        count = int(ranks.value)
        if count not in runs:
            runs[count] = collector.run(Origin("mscclpp-test", library="MSCCL++, version not stated", ranks=count))
        unread = [name for name, cell in cells.items() if cell is None and name in row]
        if unread:
            collector.warn(line, f"not numbers, and not used: {', '.join(unread)}")
        _add(collector, runs[count], line, row, cells, count, int(size.value), time)
    collector.warn_of((line.number, "not read as a row: no whole JSON object") for line in log.lines
                      if line.number not in begun and _keys_in(line.text) >= _LEAST_KEYS)


def _keys_in(text: str) -> int:
    return sum(f'"{name}"' in text for name in ("kernel", *_NUMBERS))


def _add(collector: Collector, run: str, line: int, row: dict[str, object],
         cells: dict[str, PrintedNumber | None], ranks: int, size: int, time: PrintedNumber) -> None:
    op = op_name(str(row["name"]))
    algbw, busbw, node = (cells[name] for name in ("algBw", "busBw", "ranksPerNode"))
    words = algbw and misfit(size, PrintedNumber(time.value / 1e6, time.error / 1e6),
                             PrintedNumber(algbw.value * 1e9, algbw.error * 1e9), ranks=ranks)
    if words:
        collector.warn(line, f"algBw is not size over time: {words}; recomputed from the time")
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size, native_size_bytes=size,
        redop="sum" if is_known(op) and OPERATIONS[op].reduces else None, mode="streamed", time_s=time.value / 1e6,
        statistic="mean over a batch", time_kind=UNSTATED, algbw_Bps=algbw.value * 1e9 if algbw else None,
        busbw_Bps=busbw.value * 1e9 if busbw else None,
        algorithm=f"kernel {row['kernel']}"[:40] if "kernel" in row else None,
        ranks_per_node=int(node.value) if node else None, source=collector.source(line)))
