"""DLCOMM (dl_comm of Argonne): a table of seconds by iteration, with a column for each group of ranks.

The buffer is a rank's block in all-gather, gather and scatter, in `alltoall` what it sends to each peer, and in
`alltoallsingle`, reduce-scatter and `alltoall` of JAX its whole input. The time of an iteration is that of the group's
logging rank, and includes a barrier after the call. The bandwidth table adds up the buffers of all ranks: not used.
"""

import re
from dataclasses import dataclass, field
from statistics import median

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import dtype_name, is_known, op_name
from collbench.collectives.records.record import Imported

from .shared.collector import ROOT, Collector, Origin
from .shared.log import Log
from .shared.printed_numbers import PrintedNumber, printed_number

__all__ = ["TITLE", "read", "recognise"]

TITLE = "DLCOMM"

_MARK = re.compile(r"\[TIMERS\] ITERATION TABLE|\[TIMERS\]\[LOGGING RANK - \d{1,7}\] \((?:Flat|Within|Across)")
_TABLE = re.compile(r"\[(TIMERS|BANDWIDTH)\] (?:ITERATION|BANDWIDTH) TABLE(?: FOR (\w{1,40}))?")
_PREFIX = re.compile(r".{0,80}?\bDL_COMM\b.{0,20}?\b(?:OUTPUT|INFO)\b\]?\s?-?\s?")
_CONFIG = re.compile(r"\[CONFIG\] (World Size|Framework|Backend|Mode|Topology|Collective Name|Operation|Data Type|"
                     r"Buffer Size|Count|Iterations)\s*: (.{1,100})")
_GROUP = re.compile(r"\[GROUP CREATION\]\[(Flatview|(?:Within|Across) Group-\d{1,6})\] Ranks: \[([\d, ]{1,4000})\]")
_ONE = re.compile(r"\[TIMERS\]\[LOGGING RANK - \d{1,7}\] \((Flatview|(?:Within|Across)-Group-\d{1,6})\)\s*= (\S+) s\b")
_COLUMN = re.compile(r"\((Flatview|(?:Within|Across)-Group-\d{1,6})\)")
_BYTES = re.compile(r"\((\d{1,18}) bytes\)")
_BLOCKS = frozenset({"allgather", "gather", "scatter", "alltoall"})


@dataclass
class _Task:
    """What the log states above a table, and the times of each column."""

    settings: dict[str, str] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    line: int = 0
    name: str | None = None
    columns: tuple[str, ...] = ()
    times: dict[str, list[PrintedNumber]] = field(default_factory=dict)
    waiting: tuple[int, str] | None = None      # line and name of a collective whose times have not come yet


def recognise(text: str) -> bool:
    """Whether `text` has a table of iterations."""
    return bool(_MARK.search(text))


def read(log: Log, collector: Collector) -> None:
    """Add one result for each column of each table."""
    task = _Task()
    for line in log.lines:
        text = _PREFIX.sub("", line.text, count=1)
        if found := _TABLE.search(text):
            _end(collector, task)
            task.columns, task.times = (), {}
            task.line, task.name = (line.number, found[2] or "") if found[1] == "TIMERS" else (0, None)
        elif setting := _CONFIG.search(text):
            task.settings[setting[1]] = setting[2].strip()
            if setting[1] == "Mode":
                task.groups = {}
            elif setting[1] == "Collective Name":
                _end(collector, task)
                _missed(collector, task)
                task.waiting = line.number, setting[2].strip()
        elif group := _GROUP.search(text):
            task.groups[group[1].replace(" ", "-")] = group[2].count(",") + 1
        elif one := _ONE.search(text):
            _only(collector, task, line.number, one)
        elif task.name is not None and (columns := _COLUMN.findall(text)):
            task.columns = tuple(columns)
        elif task.name is not None and task.columns:
            _row(collector, task, line.number, text.split())
    _end(collector, task)
    _missed(collector, task)


def _missed(collector: Collector, task: _Task) -> None:
    if task.waiting:
        collector.warn(task.waiting[0], f"{task.waiting[1]}: the log has no times of it")
    task.waiting = None


def _only(collector: Collector, task: _Task, line: int, one: re.Match) -> None:
    """The time of a single iteration, which is in no table."""
    collector.rows += 1
    if (number := printed_number(one[2])) and number.value > 0:
        task.line, task.name = line, task.name or ""
        task.times.setdefault(one[1], []).append(number)
    else:
        collector.warn(line, f"time of {one[1]} skipped: expected seconds")


def _row(collector: Collector, task: _Task, line: int, fields: list[str]) -> None:
    """A row: the iteration, then seconds or a dash for each column."""
    if not fields or fields[0].startswith(("---", "LOGGING", "[")):
        return
    collector.rows += 1
    cells = dict(zip(task.columns, fields[1:], strict=False))
    numbers = {name: number for name, cell in cells.items() if (number := printed_number(cell)) and number.value > 0}
    if len(fields) != len(task.columns) + 1 or len(numbers) + fields.count("-") != len(task.columns):
        collector.warn(line, f"row skipped: expected an iteration and {len(task.columns)} times in seconds")
        return
    for name, number in numbers.items():
        task.times.setdefault(name, []).append(number)


def _end(collector: Collector, task: _Task) -> None:
    """Add the table that was read last."""
    if task.name is None:
        return
    task.waiting = None
    name = (task.name or task.settings.get("Collective Name", "")).lower()
    stated = _BYTES.search(task.settings.get("Buffer Size", task.settings.get("Count", "")))
    for column, times in task.times.items():
        ranks = _ranks(task, column) or collector.hints.ranks
        op = op_name({"alltoallsingle": "all_to_all"}.get(name, name)) if name else ""
        if not ranks or not op or not stated:
            missing = "number of ranks" if not ranks else "buffer size" if op else "operation"
            collector.warn(task.line, f"{len(times)} iterations of {column} left out: the log states no {missing}")
            continue
        if not is_known(op):
            collector.warn(task.line, f"{op!r:.40} is not a collective of DLCOMM: kept, not analysed")
        _add(collector, task, column, name, op, ranks, int(stated[1]), times)
    task.name, task.columns, task.times = None, (), {}


def _ranks(task: _Task, column: str) -> int | None:
    """Ranks of the group: listed, or from `2 nodes x 4 devices`."""
    if column in task.groups:
        return task.groups[column]
    shape = re.match(r"(\d{1,6}) nodes x (\d{1,6}) devices", task.settings.get("Topology", ""))
    if not shape:
        world = task.settings.get("World Size", "")
        return int(world) if column == "Flatview" and world.isdigit() else None
    nodes, devices = int(shape[1]), int(shape[2])
    return nodes * devices if column == "Flatview" else devices if column.startswith("Within") else nodes


def _add(collector: Collector, task: _Task, column: str, name: str, op: str, ranks: int, size: int,
         times: list[PrintedNumber]) -> None:
    """Add the median over iterations."""
    operation = OPERATIONS[op] if is_known(op) else None
    backend, framework = task.settings.get("Backend"), task.settings.get("Framework", "pytorch")
    run = collector.run(Origin("dlcomm", library=f"{framework} over {backend or 'a backend not stated'}", ranks=ranks))
    seconds = [time.value for time in times]
    blocks = name in _BLOCKS and (framework == "pytorch" or name == "allgather")
    collector.add(Imported(
        run=run, op=op, ranks=ranks, message_bytes=size * ranks if blocks else size, native_size_bytes=size,
        dtype=dtype_name(task.settings.get("Data Type")),
        redop=(task.settings.get("Operation") or "sum").lower() if operation and operation.reduces else None,
        mode="isolated", time_s=median(seconds), statistic="logging rank, median over iterations, with a barrier after",
        time_kind=ROOT, repeats=len(seconds), p50_s=median(seconds),
        ranks_per_node=1 if column.startswith("Across") else ranks if column.startswith("Within") else None,
        variant=None if column == "Flatview" else column, source=collector.source(task.line)))
