"""nvbandwidth of NVIDIA: matrices as text and JSON (`-j`), in 10^9 bytes per second, or ns.

Tests between pairs of devices are single links: `->` in the title says that the row sends, `<-` that the column does,
and of a bidirectional test the total counts, which is the sum of both directions. The buffer size is not printed: it
comes from `-b` or `--bufferSize` in a command, else it is the default.
"""

import re

from .shared.collector import Collector
from .shared.copy_matrix import CopyMatrix, add_matrix
from .shared.json_text import documents
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "nvbandwidth"

_MARK = re.compile(r"^.{0,80}(?:memcpy|multicast|[Ll]atency|Bisect).{1,80}\((?:GB/s|ns)\)\s*$|\"bandwidth_matrix\"\s*:",
                   re.MULTILINE)
_TITLE = re.compile(r"((?:memcpy|multicast|memory latency|Device to Device Latency|Bisect)\b.{1,80}?)\((GB/s|ns)\)\s*$")
_RUNNING = re.compile(r"\bRunning (\w{1,80})\.")
_BUFFER = re.compile(r"nvbandwidth\s.*?(?:-b|--bufferSize)[ =](\d{1,9})\b")
_DEVICE_PAIRS = re.compile(r"(?:multinode_)?device_to_device_(bidirectional_)?memcpy_(?:read|write)_(?:ce|sm)$")
_HOST = {"host_to_device_memcpy_ce": "copy_h2d", "host_to_device_memcpy_sm": "copy_h2d",
         "device_to_host_memcpy_ce": "copy_d2h", "device_to_host_memcpy_sm": "copy_d2h"}
_FANS = {"all_to_one_": "incast", "one_to_all_": "outcast"}    # of each device in turn; busbw is the total
_ENDS = ("SUM ", "MIN ", "MAX ", "AVERAGE ", "Running ", "Waived", "&&&&", "NOTE:")
_DEFAULT_MiB = 512


def recognise(text: str) -> bool:
    """Whether `text` has matrices of this tool."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add every matrix."""
    found = [*_from_text(log, collector)]
    for number, document in documents(log.text):
        tests = document.get("nvbandwidth") if isinstance(document, dict) else None
        if isinstance(tests, dict) and isinstance(tests.get("testcases"), list):
            found += [made for test in tests["testcases"] if (made := _from_json(collector, number, test))]
    stated = next((int(buffer[1]) for line in log.lines if (buffer := _BUFFER.search(line.text))), None)
    notes = () if stated else (f"buffer size not printed: {_DEFAULT_MiB} MiB, the default, is assumed",)
    for matrix in found:
        add_matrix(collector, "nvbandwidth", matrix, (stated or _DEFAULT_MiB) << 20, notes)


def _from_text(log: Log, collector: Collector) -> list[CopyMatrix]:
    name, found = "", list[CopyMatrix]()
    matrix: CopyMatrix | None = None
    for line in log.lines:
        text = line.text
        if running := _RUNNING.search(text):
            name, matrix = running[1], None
        elif (title := _TITLE.search(text)) and '"' not in text:
            matrix = _matrix(name or title[1].strip(), line.number, title[1], title[2])
            found += [matrix] if matrix else []
        elif text.lstrip().startswith(_ENDS):
            matrix = None
        elif matrix and text.strip():
            _row(collector, matrix, line.number, text.split())
    return [one for one in found if one.rows]


def _matrix(test: str, line: int, title: str, unit: str) -> CopyMatrix | None:
    """An empty matrix; None for one direction of a bidirectional test, which the total includes."""
    pairs = _DEVICE_PAIRS.match(test)
    both_ways = bool(pairs and pairs[1])
    if re.search(r"\b(?:Read|Write)[12]\b", title):
        return None
    link = None if not pairs else "link_bi_bandwidth" if both_ways else "link_bandwidth"
    fan = next((op for name, op in _FANS.items() if test.startswith(name)), None)
    return CopyMatrix(test, line, 1e9 if unit == "GB/s" else 1e-9, link, "<- " not in title, unit == "ns",
                      _HOST.get(test), fan)


def _row(collector: Collector, matrix: CopyMatrix, line: int, fields: list[str]) -> None:
    """The labels of the columns, or a row: a label and as many cells."""
    if not matrix.columns:
        if 2 * sum(map(str.isdigit, fields)) >= len(fields):
            matrix.columns = tuple(fields)
        elif any(map(printed_number, fields)):
            collector.warn(line, f"not read, since columns have no labels: {' '.join(fields)!r:.80}")
        return
    numbers = sum(printed_number(field) is not None or field == "N/A" for field in fields)
    if 2 * numbers < max(len(fields), len(matrix.columns)):
        return      # another program's line in between
    collector.rows += 1
    cells = [printed_number(cell) for cell in fields[1:]]
    negative = any(cell and cell.value < 0 for cell in cells)
    if negative or len(cells) != len(matrix.columns) or cells.count(None) > fields.count("N/A"):
        collector.warn(line, f"row of {matrix.test} skipped: expected a label and {len(matrix.columns)} numbers or N/A")
        return
    matrix.rows.append((line, fields[0], cells))


def _from_json(collector: Collector, line: int, test: object) -> CopyMatrix | None:
    """A test of the JSON; of the three matrices of a bidirectional test, which follow each other, the last."""
    rows = test.get("bandwidth_matrix") if isinstance(test, dict) else None
    if not isinstance(test, dict) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    title = str(test.get("bandwidth_description", ""))
    matrix = _matrix(str(test.get("name", "")), line, title, "ns" if title.rstrip().endswith("(ns)") else "GB/s")
    width = len(rows[0]) if rows else 0
    if matrix is None or not width:
        return None
    if matrix.link and len(rows) == 3 * width:
        rows = rows[2 * width:]
    matrix.columns = tuple(map(str, range(width)))
    for label, row in enumerate(rows):
        collector.rows += 1
        cells: list[PrintedNumber | None] = [printed_number(str(cell)) for cell in row]
        negative = any(cell and cell.value < 0 for cell in cells)
        if negative or len(cells) != width or cells.count(None) > row.count("N/A"):
            collector.warn(line, f"row {label} of {matrix.test} skipped: expected {width} numbers or N/A")
            continue
        matrix.rows.append((line, str(label), cells))
    return matrix
