"""nvloom_cli of NVIDIA: a matrix per testcase, in 10^9 bytes per second or ns, separated by tabs.

The pairwise tests (`..._unidir_...`, `..._bidir_...`) are single links: the column sends, the row receives, and a
bidirectional figure is the sum of both directions. Other testcases are kept under their own names.
"""

import re

from .shared.collector import Collector
from .shared.copy_matrix import CopyMatrix, add_matrix
from .shared.log import Log
from .shared.printed_numbers import printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "nvloom"

_MARK = re.compile(r"^.{0,80}nvloom_cli \S|^.{0,80}ExecutionTime \w+ [\d.]+ s\s*$", re.MULTILINE)
_RUNNING = re.compile(r"\bRunning (\w{1,100})\s*$")
_BUFFER = re.compile(r"\bBuffer size: (\d{1,9}) MiB")
_END = re.compile(r"\s*(?:Min|Avg|Max|Total) (\w{1,100}) \S+ (GB/s|ns)\s*$|ExecutionTime |Done |testcase WAIVED")
_PAIRS = re.compile(r"(?:device|egm)_to_(?:device|egm)_(unidir|bidir)_(?:read|write)_(?:ce|sm)$")
_DEFAULT_MiB = 512


def recognise(text: str) -> bool:
    """Whether `text` has the heading or the closing line of a testcase of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every matrix."""
    size_MiB, found = None, list[CopyMatrix]()
    matrix: CopyMatrix | None = None
    for line in log.lines:
        text = line.text
        if buffer := _BUFFER.search(text):
            size_MiB = int(buffer[1])
        elif running := _RUNNING.search(text):
            pairs = _PAIRS.match(running[1])
            link = None if not pairs else "link_bi_bandwidth" if pairs[1] == "bidir" else "link_bandwidth"
            times = running[1].startswith("latency_")
            matrix = CopyMatrix(running[1], line.number, 1e-9 if times else 1e9, link, False, times)
            found.append(matrix)
        elif _END.match(text):
            matrix = None
        elif matrix and text.strip():
            _row(collector, matrix, line.number, text)
    found = [one for one in found if one.rows]
    notes = () if size_MiB else (f"buffer size not in the log: {_DEFAULT_MiB} MiB, the default, is assumed",)
    for one in found:
        add_matrix(collector, "nvloom", one, (size_MiB or _DEFAULT_MiB) << 20, notes)


def _row(collector: Collector, matrix: CopyMatrix, line: int, text: str) -> None:
    """The labels of the columns, or a row: a label, and as many cells, of which each may have a note behind `;`."""
    fields = [field for field in text.split() if field != "|"]
    if not matrix.columns:
        matrix.columns = tuple(fields)
        return
    collector.rows += 1
    printed = [field.partition(";")[0] for field in fields[1:]]
    cells = [printed_number(cell) for cell in printed]
    negative = any(cell and cell.value < 0 for cell in cells)
    if negative or len(cells) != len(matrix.columns) or cells.count(None) > printed.count("N/A"):
        collector.warn(line, f"row of {matrix.test} skipped: expected a label and {len(matrix.columns)} numbers or N/A")
        return
    matrix.rows.append((line, fields[0], cells))
