"""The JSON of nccl-tests (-J), schema 1 to 4, also truncated.

`env`, the environment of the run, is never read, and of `args` only the program name.
"""

import re

from collbench.collectives.cases.names import dtype_name

from .collector import Collector
from .json_text import documents, objects
from .nccl_log import Device, Table
from .nccl_row import Columns, Half, Row
from .printed_numbers import PrintedNumber

__all__ = ["json_tables"]

_SETTINGS = (("iterations", "iters"), ("aggregated_iterations", "agg iters"), ("graph", "graph"),
             ("minimum_bytes", "minBytes"))
_ROUNDING = 0.5e-6     # six decimals
_DEVICE_LINE = re.compile(r"\[[^\]]*\]\s*(.*)")


def json_tables(text: str, collector: Collector) -> list[Table]:
    """A table per document of nccl-tests; of a truncated document, the complete rows."""
    found = [_table(line, document, collector) for line, document in documents(text)
             if isinstance(document, dict) and isinstance(document.get("results"), list)]
    if found or not re.search(r"\"results\"\s*:\s*\[", text):
        return found
    return [_salvaged(text, collector)]


def _salvaged(text: str, collector: Collector) -> Table:
    """The complete rows of a truncated document."""
    table = Table(1)
    program = re.search(r"\"args\"\s*:\s*\[\s*\"([^\"]{1,200})\"", text)
    table.program = _program(program[1]) if program else None
    for _, device in objects(text, "rank"):
        _add_device(table, device)
    for line, result in objects(text, "size"):
        _add_row(table, result, line, collector)
    collector.warn(text.count("\n") + 1, f"cut short: {len(table.rows)} rows could be saved")
    return table


def _table(line: int, document: dict, collector: Collector) -> Table:
    """A `-J` document as the same table that the text output gives."""
    config = _mapping(document.get("config"))
    table = Table(line, columns=Columns(("redop", "root"), ("time", "algbw", "busbw", "#wrong"), 2))
    table.closed = True
    args = document.get("args")
    if isinstance(args, list) and args:
        table.program = _program(str(args[0])[:200])
    table.version = str(document["version"])[:40] if "version" in document else None
    table.library = _library(document.get("nccl_version"))
    table.config = {ours: int(value) for theirs, ours in _SETTINGS
                    if isinstance(value := config.get(theirs), int | float) and not isinstance(value, bool)}
    for device in _list(config.get("devices")):
        _add_device(table, _mapping(device))
    for result in _list(document["results"]):
        _add_row(table, _mapping(result), line, collector)
    bounds = _mapping(document.get("out_of_bounds"))
    if str(bounds.get("okay")).lower() == "false":
        table.out_of_bounds = int(_number(bounds.get("count")) or 1)
    return table


def _program(path: str) -> str:
    return path.rpartition("/")[2]


def _library(value: object) -> str | None:
    if isinstance(value, int) and value >= 10_000:
        return f"NCCL {value // 10000}.{value // 100 % 100}.{value % 100}"
    if not isinstance(value, str) or not value:
        return None
    return (f"NCCL {value}" if value[0].isdigit() else value)[:60]      # our own export names the library


def _add_device(table: Table, device: dict) -> None:
    rank, group = _number(device.get("rank")), _number(device.get("group"))
    if rank is not None and 0 <= rank < 1 << 24:
        info = str(device.get("device_info", ""))[:200]
        found = _DEVICE_LINE.match(info)
        table.devices.append(Device(int(rank), int(group or 0), str(device.get("hostname", ""))[:200],
                                    found[1] if found else info))


def _add_row(table: Table, result: dict, line: int, collector: Collector) -> None:
    """Add a result; `line` is that of the document, since the JSON parser keeps no positions."""
    size, count = _number(result.get("size")), _number(result.get("count"))
    halves = [_half(result, name) for name in ("out_of_place", "in_place")]
    if size is None or not 0 <= size < 1 << 62 or not any(halves):
        collector.warn(line, f"result {len(table.rows) + 1}: no size, or no time")
        return
    root = _number(str(result.get("root", "")).strip())
    redop = str(result.get("redop", "")).strip().lower()[:16] or None
    table.cpu_time = table.cpu_time or any("cpu_time" in _mapping(result.get(name)) for name in ("out_of_place",))
    table.rows.append(Row(line, int(size), int(count or 0), dtype_name(str(result.get("type"))) or "", redop,
                          None if root is None else int(root), halves[0], halves[1]))


def _half(result: dict, name: str) -> Half | None:
    group, calls = _mapping(result.get(name)), _mapping(result.get(f"{name}_per_iter"))
    time = _number(group.get("time", group.get("cpu_time")))
    if time is None:
        return None
    wrong = _number(group.get("nwrong"))
    return Half(PrintedNumber(time, _ROUNDING), _rate(group.get("alg_bw")), _rate(group.get("bus_bw")),
                None if wrong is None else int(wrong), p50_us=_number(calls.get("p50_us")),
                p95_us=_number(calls.get("p95_us")), p99_us=_number(calls.get("p99_us")))


def _rate(value: object) -> PrintedNumber | None:
    number = _number(value)
    return None if number is None else PrintedNumber(number, _ROUNDING)


def _number(value: object) -> float | None:
    """A finite number, given as JSON number or as string; the tool writes NaN as the string `nan`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)[:50]) > 40:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e19 else None


def _mapping(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list:
    return value if isinstance(value, list) else []
