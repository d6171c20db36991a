"""What importing a log gives: runs and figures, and warnings with the line that each is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from collbench.collectives.cases.case import Sweep
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import SCHEMA, Clock, Imported, Policy, Record, Run

from .log import Log
from .names import is_known

__all__ = ["MEAN", "ROOT", "SLOWEST", "UNSTATED", "Asked", "Harvest", "Origin", "joined"]

# What a printed time is over ranks. The words of `point` where it is the same thing.
SLOWEST = "slowest rank"
MEAN = "mean over ranks"
ROOT = "one rank"
UNSTATED = "not stated"

_EXCHANGES = "moe_"     # expert-parallel exchanges: all-to-alls with a count of their own, so without a bus bandwidth
_MOST_WARNINGS = 200
_UNKNOWN_POLICY = Policy(modes=(), alignment="not stated", precision=0.0, case_s=0.0, min_samples=0, max_samples=0,
                         block_s=0.0)


@dataclass(frozen=True)
class Asked:
    """What a person said about a log because the log does not: rank count, operation, and what to call the system."""

    ranks: int | None = None
    op: str | None = None
    system: str | None = None


@dataclass(frozen=True)
class Origin:
    """What a log says about one run of its tool; None and empty are unknown."""

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
class Harvest:
    """Collects what the importers of one log find.

    Args:
        rows: printed rows of measurements that were recognised, used or not.
    """

    log: Log
    asked: Asked
    runs: list[Run] = field(default_factory=list)
    figures: list[Imported | Record] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)
    rows: int = 0
    _unsaid: int = 0

    def run(self, origin: Origin) -> str:
        """Add a run and return its id, which follows from the file's content: importing again gives it again."""
        name = f"{origin.tool}-{self.log.crc32:08x}-{len(self.runs) + 1}"
        told = {"tool": origin.tool, "tool_version": origin.version, "file": self.log.name}
        provenance: dict[str, object] = {"imported": {key: value for key, value in told.items() if value}}
        if system := self.asked.system or origin.system:
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

    def add(self, figure: Imported) -> None:
        """Add one figure; what collbench cannot analyse becomes `unsupported`, and says why."""
        reason = _why_not(figure)
        if figure.status == "ok" and reason:
            figure = replace(figure, status="unsupported", reason=reason)
        self.figures.append(figure)

    def source(self, line: int) -> str:
        """Where a figure stands: file name and line."""
        return f"{self.log.name}:{line}"

    def warn(self, line: int | None, reason: str) -> None:
        """Say what is wrong with a line; after very many, only how many more there are."""
        if len(self.warnings) < _MOST_WARNINGS:
            place = f"{self.log.path}:{line}" if line else f"{self.log.path}"
            self.warnings.append(f"{place}: {reason}")
        else:
            self._unsaid += 1

    def need(self, line: int, what: str, option: str, rows: int) -> None:
        """Leave rows out for want of something that only a person can say, and remember which option says it."""
        self.needs.add(option)
        count = f"{rows} row{'' if rows == 1 else 's'}"
        self.warn(line, f"{what} is not in the log: {count} left out; say it with {option}")

    def said(self) -> list[str]:
        """All warnings."""
        return [*self.warnings, *([f"{self.log.path}: {self._unsaid} more like these"] if self._unsaid else [])]


def _why_not(figure: Imported) -> str | None:
    if not is_known(figure.op) and not figure.op.startswith(_EXCHANGES):
        return f"{figure.op} is not an operation of collbench: kept, not analysed"
    if figure.time_s is None or figure.time_s <= 0:
        return "no time above zero"
    if figure.ranks < 2:
        return "one rank: nothing crosses a link"
    sized_by_tokens = "num_tokens_per_rank=" in (figure.variant or "")
    if (not is_known(figure.op) or OPERATIONS[figure.op].has_payload) and figure.message_bytes < 1 \
            and not sized_by_tokens:
        return "size 0: a latency at most; it has no bandwidth and fits no model"
    return None


def joined(words: Sequence[str | None]) -> str | None:
    """Settings as one `variant`, or None when there are none."""
    return ";".join(word for word in words if word) or None
