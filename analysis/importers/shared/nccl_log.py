"""Parse output of nccl-tests and tools with the same format into tables: header settings and rows.

Debug output of the library may split a row into pieces and stick to its cells; such rows are reassembled.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from .debug_output import TELLING, TUNED
from .log import LogLine
from .nccl_row import Columns, Row, header, looks_like_a_row, parse_row, resembles_a_row, with_units
from .printed_numbers import printed_number

__all__ = ["Device", "Table", "config_of", "tables"]

_CONFIG = re.compile(r"[#\s]*nThread\s+\d+\s+nGpus\s+\d+.*")
_PAIR = re.compile(r"(nThread|nGpus|minBytes|maxBytes|agg iters|(?<!warmup )iters|validation|graph|unalign|side_work)"
                   r":?\s+(\d{1,18})")
_DEVICE = re.compile(r"[#\s]*Rank\s+(\d{1,7})\s+(?:Group\s+(\d{1,7})\s+)?Pid\s+\d+\s+on\s+(\S+)\s+device\s+\S+\s+"
                     r"\[[^\]]*\]\s*(.*)")
_VERSION = re.compile(r"[#\s]*(nccl|rccl)-tests:?\s+[Vv]ersion\s+(\S+)(?:.*?-library=(\d+))?")
_STARTING = re.compile(r"[#\s]*Collective test starting:\s*(\S+)")
_LIBRARY = re.compile(r"\b([NR]CCL) version\s*:?\s*(\d+\.\d+\.\d+)")
# What our own export says of a table: its library, transport and kind of time.
_WRITTEN = re.compile(r"[#\s]*Written by collbench: (.{1,200}) over (\S{1,40}); time is (.{1,80})")
_FOOTER = re.compile(r"[#\s]*(?:Avg bus bandwidth|Collective test concluded)\b")
_BOUNDS = re.compile(r"[#\s]*Out of bounds values\s*:\s*(\d+)\s+(\w+)")
_HEADING = re.compile(r"\s*(?:#{2,6}\s|={3,}\s)")
_CHOICE = re.compile(r"\b(?:NCCL_)?(ALGO|PROTO)(?:=| set by environment to )\"?([\w,;^:]{1,40})", re.IGNORECASE)
_MENTION = re.compile(r"\b((?:all_?reduce|all_?gather|reduce_?scatter|broadcast|reduce|alltoallv?|all_to_all|gather|"
                      r"scatter|send_?recv|hypercube))_perf\w*", re.IGNORECASE)
_FAILURE = re.compile(r"(?:Test (?:NCCL |CUDA |HIP )?failure|launch failed|NCCL WARN|unhandled|rror:).{0,120}")
# What ends a run, whatever it has printed before; a warning of the library need not.
_ENDED = re.compile(r"(?:Test (?:NCCL |CUDA |HIP )?failure|unhandled \w+ error|Segmentation fault|core dumped|"
                    r"Bus error|mpirun noticed|exited on signal|CANCELLED|DUE TO TIME LIMIT|srun: error:|"
                    r"launch failed|out of memory).{0,120}")
_ELIDED = re.compile(r"[#\s]*[\[<(]?\s?(?:\.{3,}|\u2026|snip\w*|truncated|omitted)\s?[\])>]?\s*$", re.IGNORECASE)
_RANK_LINE = re.compile(r"[#\s]*Rank\s+\S+\s.{0,80}\bdevice\b|"
                         r"[#\s]*\S+\s+\d+\s.{0,40}\bPid\s+\d+\s.{0,80}\bdevice\b|"
                        r"[#\s]*Rank\s+\S+\s+(?:Group\s+\S+\s+)?Pid\s+\d+\s")
_DEBUG_HOST = re.compile(r"\s*(\S{1,128}?):\d{1,10}:\d{1,10} \[\d+\]")
_GLUED = re.compile(r"(?:\[\d{1,7}\] )?(\S{0,160}):\d{1,10}:\d{1,10} \[\d{1,4}\]?.*")
_ALGORITHMS = ("Tree", "Ring", "CollNetDirect", "CollNetChain", "NVLS", "NVLSTree", "PAT")
_PROTOCOLS = ("LL", "LL128", "Simple")
_MOST_PIECES = 16


@dataclass(frozen=True, slots=True)
class Device:
    """A line of the device list."""

    rank: int
    group: int
    host: str
    name: str


@dataclass
class Table:
    """One run of a test as printed; `line` is its first line."""

    line: int
    tool: str = "nccl-tests"
    version: str | None = None
    library: str | None = None
    transport: str | None = None
    time_kind: str | None = None
    program: str | None = None          # printed by the tool
    mention: str | None = None          # from a command or text above the table
    mention_line: int = 0
    devices: list[Device] = field(default_factory=list)
    config: dict[str, int] = field(default_factory=dict)
    columns: Columns | None = None
    rows: list[Row] = field(default_factory=list)
    algorithm: str | None = None
    protocol: str | None = None
    tuned: dict[int, tuple[str, str]] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    cpu_time: bool = False
    out_of_bounds: int = 0
    closed: bool = False
    failure: str | None = None
    ended: tuple[int, str] | None = None    # line and words of a failure after the first row
    damaged: int = 0                        # lines of the device list that could not be read
    elided: int = 0                         # line at which somebody left out others, before the first row
    command: str | None = None


def config_of(text: str) -> dict[str, int]:
    """The settings of a configuration line by name; empty for other lines."""
    return {name: int(value) for name, value in _PAIR.findall(text)} if _CONFIG.match(text) else {}


def tables(lines: Iterable[LogLine], faults: list[tuple[int, str]]) -> Iterator[Table]:
    """Every run in `lines`, in order, including runs without rows; incomplete rows are added to `faults`."""
    reader = _TableReader(faults)
    for line in lines:
        if finished := reader.take(line):
            yield finished
    yield reader.end()


class _TableReader:
    """Parses line by line; holds the current table and the pieces of a split row."""

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self._table = Table(1)
        self._faults = faults
        self._pieces: list[str] = []
        self._piece_line = 0
        self._hosts: set[str] = set()
        self._pending: dict[str, str | int | None] = {}      # settings above the next table

    def take(self, line: LogLine) -> Table | None:
        """Parse one line; returns the finished table if the line begins another."""
        text = line.text
        if not text.strip():
            return None
        if text.lstrip()[0].isdigit() and (row := parse_row(line.number, text, self._table.columns)) \
                and row.groups >= (self._table.columns.groups if self._table.columns else 1):
            self._drop_pieces()
            return self._row(row)
        finished = self._next(line.number) if self._begins_another(text) else None
        self._note(line.number, text)
        if cells := self._without_debug(text):
            self._piece(line.number, cells)
        elif self._resembles_a_row(text) and not self._table.closed:
            self._faults.append((line.number, f"not read as a row: {' '.join(text.split())!r:.100}"))
        return finished

    def _resembles_a_row(self, text: str) -> bool:
        """Whether a line that is no row was meant as one, by the heading or the rows above it."""
        rows = self._table.rows
        return resembles_a_row(text, self._table.columns, rows[-1].fields if rows else None)

    def end(self) -> Table:
        """The last table."""
        self._drop_pieces()
        return self._table

    def _row(self, row: Row) -> Table | None:
        """Add a row; after a footer it begins another table, without a header."""
        finished = self._next(row.line) if self._table.closed else None
        if not self._table.rows:
            for name, value in self._pending.items():
                setattr(self._table, name, value)
            for name in ("mention", "mention_line", "command"):
                self._pending.pop(name, None)
        self._table.rows.append(row)
        self._faults += [(row.line, words) for words in row.faults]
        return finished

    def _next(self, number: int) -> Table:
        self._drop_pieces()
        finished, self._table = self._table, Table(number, self._table.tool)
        return finished

    def _begins_another(self, text: str) -> bool:
        """Whether this line begins a table while the current one already has content."""
        table = self._table
        if header(text) or _HEADING.match(text):
            return bool(table.rows)
        if _CONFIG.match(text) or _VERSION.match(text):
            return bool(table.rows or table.columns)
        return bool(_STARTING.match(text)) and bool(table.rows or table.columns or table.program)

    def _note(self, number: int, text: str) -> None:
        """Store a setting from a line that is not a row."""
        table = self._table
        if self._note_debug(number, text) or self._note_device(number, text) or self._note_written(text):
            return
        if config := config_of(text):
            table.config = config
        elif version := _VERSION.match(text):
            table.tool, table.version = f"{version[1]}-tests", version[2]
            table.library = _library(version[1].upper(), version[3]) or table.library
        elif starting := _STARTING.match(text):
            table.program = starting[1]
        elif columns := header(text):
            table.columns, table.cpu_time = columns, "cputime" in text
            if not columns.group:
                self._faults.append((number, "a table without the columns algbw and busbw: not read"))
        elif table.columns and (scaled := with_units(table.columns, text)):
            table.columns = scaled
        elif bounds := _BOUNDS.match(text):
            table.out_of_bounds = int(bounds[1]) if bounds[2] != "OK" else 0
        elif _FOOTER.match(text):
            table.closed = True
        else:
            self._note_prose(number, text)

    def _note_debug(self, number: int, text: str) -> bool:
        """Whether a line is debug output of the library, which most lines of a long log are; stores its settings."""
        if "] NCCL INFO " not in text or not _DEBUG_HOST.match(text):
            return False
        if any(map(text.__contains__, TELLING)):
            self._note_prose(number, text)
        return True

    def _note_device(self, number: int, text: str) -> bool:
        """Store a line of the device list; returns whether it is one."""
        if device := _DEVICE.match(text):
            self._table.devices.append(Device(int(device[1]), int(device[2] or 0), device[3], device[4].strip()))
        elif _RANK_LINE.match(text):
            self._table.damaged += 1
            self._faults.append((number, f"not read as a line of the device list: {text.strip()!r:.100}"))
        else:
            return False
        return True

    def _note_written(self, text: str) -> bool:
        """Store what our own export says of the table; returns whether the line does."""
        written = _WRITTEN.match(text)
        if written:
            table = self._table
            table.library, table.transport, table.time_kind = written[1], written[2], written[3].strip()
        return written is not None

    def _note_prose(self, number: int, text: str) -> None:
        """Store settings from free text for the current table or the following ones."""
        table = self._table
        if _HEADING.match(text):
            self._pending = {}
        for name, value in _CHOICE.findall(text):
            self._pending["algorithm" if name.upper() == "ALGO" else "protocol"] = value
        if mention := _MENTION.search(text):
            self._pending.update(mention=mention[1], mention_line=number, command=text.strip()[:500])
        if tuned := TUNED.search(text):
            table.tuned[int(tuned[1])] = _names(tuned[2], tuned[3])
        if library := _LIBRARY.search(text):
            table.library = f"{library[1]} {library[2]}"
        if failure := _FAILURE.search(text):
            table.failure = table.failure or failure[0].strip()
        if table.rows and table.ended is None and (ended := _ENDED.search(text)):
            table.ended = number, ended[0].strip()
        if not table.rows and table.devices and _ELIDED.match(text):
            table.elided = number
        if "Blocking Enabled" in text:
            table.settings.append("blocking")

    def _without_debug(self, text: str) -> str | None:
        """Cells of a split row, without debug output that sticks to them; None if there are none."""
        if debug := _DEBUG_HOST.match(text):
            self._hosts.add(debug[1])
        if "[" in text and (glued := _GLUED.search(text)):
            text = text[:glued.start()] + self._cells_before_host(glued[1])
        fields = text.split()
        if looks_like_a_row(fields) or (fields and all(_is_cell(cell) for cell in fields)):
            return " ".join(fields)
        return None

    def _cells_before_host(self, glued: str) -> str:
        """The cell of a concatenated cell and host name, such as `-1node7`."""
        for host in self._hosts | {device.host for device in self._table.devices}:
            if glued.endswith(host):
                return glued[:len(glued) - len(host)]
        return ""

    def _piece(self, number: int, text: str) -> None:
        """Collect pieces of a row until it is complete."""
        if looks_like_a_row(text.split()):
            self._drop_pieces()
            self._piece_line = number
        elif not self._pieces:
            return
        self._pieces.append(text)
        row = parse_row(self._piece_line, " ".join(self._pieces), self._table.columns)
        groups = self._table.columns.groups if self._table.columns else 2
        if row and row.groups >= groups:
            self._pieces = [] if _holds_together(row) else self._pieces
            self._drop_pieces() if self._pieces else self._row(row)
        elif len(self._pieces) > _MOST_PIECES:
            self._drop_pieces()

    def _drop_pieces(self) -> None:
        """Give up on a row that did not get complete; a whole out-of-place half is kept."""
        if not self._pieces:
            return
        row = parse_row(self._piece_line, self._pieces[0], self._table.columns)
        alone = len(self._pieces) == 1
        self._pieces = []
        if row and row.halves and (alone or _holds_together(row)):
            self._row(replace(row, faults=(*row.faults, "a row that is cut short: the in-place half is missing")))
        else:
            self._faults.append((self._piece_line, "a row that is cut short or has unknown columns"))


def _holds_together(row: Row) -> bool:
    """Whether the pieces belong to one row: each time is consistent with size and bandwidth."""
    return all(half.holds_together(row.size) for half in row.halves)


def _is_cell(text: str) -> bool:
    return text == "N/A" or printed_number(text) is not None


def _names(algorithm: str, protocol: str) -> tuple[str, str]:
    """Names of algorithm and protocol, which older libraries print as numbers (src/include/nccl_common.h)."""
    return (_ALGORITHMS[int(algorithm)] if algorithm.isdigit() and int(algorithm) < len(_ALGORITHMS) else algorithm,
            _PROTOCOLS[int(protocol)] if protocol.isdigit() and int(protocol) < len(_PROTOCOLS) else protocol)


def _library(name: str, code: str | None) -> str | None:
    """`NCCL 2.28.7` from 22807: since 2.9 the code is major * 10000 + minor * 100 + patch."""
    if not code or len(code) != 5:
        return None
    return f"{name} {int(code) // 10000}.{int(code) // 100 % 100}.{int(code) % 100}"
