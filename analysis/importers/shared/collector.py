"""Collects runs, figures and warnings while a log is imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from collbench.collectives.cases.case import Sweep
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.names import ITEMSIZES, is_known, is_own
from collbench.collectives.records.record import SCHEMA, Clock, Imported, Policy, Record, Run

from ...text.units import counted
from .limits import impossible_count, impossible_time
from .log import Log

__all__ = ["MEAN", "ROOT", "SLOWEST", "UNSTATED", "Collector", "LogHints", "Origin", "joined"]

# How a printed time combines ranks; the same words as measured points have.
SLOWEST = "slowest rank"
MEAN = "mean over ranks"
ROOT = "one rank"
UNSTATED = "not stated"

_EXCHANGES = "moe_"     # expert-parallel exchanges: all-to-alls with their own data count, so without a bus bandwidth
_MOST_WARNINGS = 200
_UNKNOWN_POLICY = Policy(modes=(), alignment="not stated", precision=0.0, case_s=0.0, min_samples=0, max_samples=0,
                         block_s=0.0)


@dataclass(frozen=True)
class LogHints:
    """Values given by the user for what a log does not state: rank count, operation, and a name for the system."""

    ranks: int | None = None
    op: str | None = None
    system: str | None = None


@dataclass(frozen=True)
class Origin:
    """Provenance of one run of the tool; None and empty are unknown."""

    tool: str
    version: str | None = None
    library: str | None = None
    device: str | None = None
    ranks: int = 0
    hosts: tuple[str, ...] = ()
    command: str | None = None
    started: str = ""
    system: str | None = None
    transport: str | None = None


@dataclass
class Collector:
    """Collects the results of all importers of one log.

    Args:
        rows: printed rows of measurements that were recognised, used or not.
        question: the first warning about a missing option.
    """

    log: Log
    hints: LogHints
    runs: list[Run] = field(default_factory=list)
    results: list[Imported | Record] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    question: str | None = None
    rows: int = 0
    _suppressed: int = 0
    _unknown_types: set[str] = field(default_factory=set)

    def run(self, origin: Origin) -> str:
        """Add a run and return its id, a function of the file content: a second import gives the same id."""
        name = f"{origin.tool}-{self.log.crc32:08x}-{len(self.runs) + 1}"
        origin_of = {"tool": origin.tool, "tool_version": origin.version, "file": self.log.name}
        provenance: dict[str, object] = {"imported": {key: value for key, value in origin_of.items() if value}}
        if system := self.hints.system or origin.system:
            provenance["cluster"] = system
        if origin.hosts:
            provenance["hosts"] = list(origin.hosts)
        words = (origin.command,) if origin.command else ()
        self.runs.append(Run(
            schema=SCHEMA, id=name, started=origin.started, transport=origin.transport or origin.tool,
            library=origin.library or "library not stated", device=origin.device or "not stated", world=origin.ranks,
            clock=Clock(kind="local"), policy=_UNKNOWN_POLICY, sweep=Sweep(ops=(), sizes=(), ranks=()), command=words,
            provenance=provenance))
        return name

    def add(self, result: Imported) -> None:
        """Add one result; one that cannot be analysed becomes `unsupported`, with the reason."""
        if result.status == "ok" and (impossible := _why_impossible(result)):
            self.warn_of([(_line_of(result), f"{impossible}: kept, not analysed")])
            result = replace(result, status="unsupported", reason=impossible)
        if result.dtype and result.dtype not in ITEMSIZES and result.dtype not in self._unknown_types:
            self._unknown_types.add(result.dtype)
            self.warn(_line_of(result) or None, f"element type {result.dtype!r:.40} is not known")
        reason = _why_not(result)
        if result.status == "ok" and reason:
            result = replace(result, status="unsupported", reason=reason)
        self.results.append(result)

    def source(self, line: int) -> str:
        """File name and line of a result."""
        return f"{self.log.name}:{line}"

    def warn(self, line: int | None, reason: str) -> None:
        """Add a warning about a line; beyond a limit, warnings are only counted."""
        if len(self.warnings) < _MOST_WARNINGS:
            place = f"{self.log.path}:{line}" if line else f"{self.log.path}"
            self.warnings.append(f"{place}: {reason}")
        else:
            self._suppressed += 1

    def warn_of(self, faults: Iterable[tuple[int, str]]) -> None:
        """Add one warning for each reason in pairs of line and reason, with the first line and how many there are."""
        lines: dict[str, set[int]] = {}
        for line, reason in sorted(faults):
            lines.setdefault(reason, set()).add(line)
        for reason, where in lines.items():
            more = len(where) - 1
            self.warn(min(where), reason + (f" (and {counted(more, 'more line')})" if more else ""))

    def need_ranks(self, line: int, rows: int, op: str | None = None) -> None:
        """Warn that rows are left out because the log does not state the rank count (of `op`) and the user does not."""
        self._need(line, f"the number of ranks{f' of {op}' if op else ''}", "--log-ranks N", rows)

    def need_op(self, line: int, rows: int, detail: str = "") -> None:
        """Warn that rows are left out because the log does not name the operation and the user does not."""
        self._need(line, f"the operation{detail}", "--log-op NAME", rows)

    def _need(self, line: int, what: str, option: str, rows: int) -> None:
        words = f"{what} is not in the log: {counted(rows, 'row')} left out; give it with {option}"
        self.question = self.question or f"{self.log.path}:{line}: {words}"
        self.warn(line, words)

    def all_warnings(self) -> list[str]:
        """All warnings."""
        return [*self.warnings, *([f"{self.log.path}: {self._suppressed} more like these"] if self._suppressed else [])]


def _why_impossible(result: Imported) -> str | None:
    counts = impossible_count(result.message_bytes, result.ranks)
    if counts or result.time_s is None:
        return counts
    return impossible_time(result.op, result.ranks, result.message_bytes, result.time_s)


def _line_of(result: Imported) -> int:
    line = (result.source or "").rpartition(":")[2]
    return int(line) if line.isdecimal() and len(line) < 10 else 0


def _why_not(result: Imported) -> str | None:
    if not (is_known(result.op) or is_own(result.op, result.traffic) or result.op.startswith(_EXCHANGES)):
        return f"{result.op} is not an operation of collbench: kept, not analysed"
    if result.time_s is None:
        return "no time"
    if result.ranks < 2:
        return "one rank: nothing crosses a link"
    sized_by_tokens = "num_tokens_per_rank=" in (result.variant or "")
    if (not is_known(result.op) or OPERATIONS[result.op].has_payload) and result.message_bytes < 1 \
            and not sized_by_tokens:
        return "size 0: a latency at most; it has no bandwidth and fits no model"
    return None


def joined(words: Sequence[str | None]) -> str | None:
    """Settings as one `variant`, or None if there are none."""
    return ";".join(word for word in words if word) or None
