"""Rank 0's live output: the plan, one row per case in the columns of nccl-tests, progress, a summary."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, cast

from ..cases import catalog
from ..cases.case import format_size
from ..errors import printable
from ..records.record import Mode, Record, Run
from ..statistics.stopping import median
from .plan import Plan

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Display", "format_row", "has_traffic", "table_head"]

_CASE = "{op:>14} {ranks:>5} {size:>11} {count:>11} {dtype:>9} {redop:>5} {root:>4} {place:>5}"
_TRAFFIC = " {traffic:>16}"
_VALUES = " {isolated:>10} {precision:>5} {empty:>6} {streamed:>10} {algbw:>8} {busbw:>8} {wrong:>6} {n:>5}"


def has_traffic(run: Run) -> bool:
    """Whether the table needs a column for the traffic pattern: some operation is uneven."""
    return any(catalog.OPERATIONS[op].uneven for op in run.sweep.ops)


def table_head(traffic: bool = False) -> str:
    """Two comment lines with the columns and their units, as in nccl-tests. `traffic` adds the traffic pattern."""
    names = {"op": "op", "ranks": "ranks", "size": "size", "count": "count", "dtype": "type", "redop": "redop",
             "root": "root", "place": "place", "traffic": "traffic", "isolated": "isolated", "precision": "+-",
             "empty": "empty", "streamed": "streamed", "algbw": "algbw", "busbw": "busbw", "wrong": "#wrong", "n": "n"}
    units = dict.fromkeys(names, "") | {"size": "(B)", "count": "(elements)", "isolated": "(us)", "precision": "(%)",
                                        "empty": "(us)", "streamed": "(us)", "algbw": "(GB/s)", "busbw": "(GB/s)"}
    columns = _CASE + (_TRAFFIC if traffic else "") + _VALUES
    return "\n".join(f"#{columns.format(**line)[1:].rstrip()}" for line in (names, units))


def format_row(record: Record, empty_s: float | None = None, traffic: bool = False) -> str:
    """One case: medians of both modes in us, bandwidth of the streamed mode, counted samples of both.

    `empty_s` is the time of an empty call in the same isolated loop.
    """
    case = record.case
    columns = _CASE + (_TRAFFIC if traffic else "")
    row = columns.format(
        op=case.op, ranks=case.ranks, size=case.bytes, count=case.count, dtype=case.dtype or "-",
        redop=case.redop or "none", root=0 if case.operation.rooted else -1, place="in" if case.in_place else "out",
        traffic=case.traffic or "-")
    if record.status != "ok":
        return f"{row}  {record.status.upper()}: {record.reason}"
    times_s = {timing.mode: timing.message_s(case) for timing in record.timings}
    isolated, streamed = times_s.get("isolated"), times_s.get("streamed")
    precision = next((timing.precision for timing in record.timings if timing.mode == "isolated"), None)
    rate = _rate(record, median(streamed or isolated or [0.0]))
    return row + _VALUES.format(
        isolated=_micros(isolated), precision="-" if precision is None else f"{100 * precision:.1f}",
        empty="-" if empty_s is None else f"{empty_s * 1e6:.2f}", streamed=_micros(streamed),
        algbw=_gigabytes(rate), busbw=_gigabytes(rate and rate * _factor(record)),
        wrong=record.verification.wrong if record.verification else "n/a", n=sum(map(len, times_s.values()))
    ) + _warnings(times_s)


def _warnings(times_s: Mapping[Mode, list[float]]) -> str:
    """Modes whose times drifted during the measurement, or are bimodal."""
    import numpy as np

    from ..statistics.stability import flags, spread
    found = []
    for mode, values in times_s.items():
        samples = np.array(values)
        found += [f"{mode}: {flag}" for flag in flags(samples, spread(samples), 1.0) if flag in ("drift", "bimodal")]
    return f"  {', '.join(found)}" if found else ""


def _rate(record: Record, time_s: float) -> float | None:
    return record.case.bytes / time_s if record.case.operation.has_payload and time_s > 0 else None


def _factor(record: Record) -> float:
    return record.case.operation.bus_factor(record.case.ranks)


def _micros(times_s: list[float] | None) -> str:
    return "-" if not times_s else f"{median(times_s) * 1e6:.2f}"


def _gigabytes(rate_Bps: float | None) -> str:
    return "-" if rate_Bps is None else f"{rate_Bps / 1e9:.3f}" if rate_Bps < 1e11 else f"{rate_Bps / 1e9:.1f}"


class Display:
    """Writes rows to standard output as they come, and on a terminal also a progress bar with the time left."""

    def __init__(self, how: str, run: Run, plan: Plan) -> None:
        """`how`: `live` draws the bar, `plain` and `auto` print rows only, `quiet` prints nothing.

        Whether standard output is a terminal is not checked here: some launchers give ranks a pseudo-terminal.
        """
        self._how = "plain" if how == "auto" else how
        self._run, self._plan = run, plan
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._empty_s: dict[int, float] = {}
        self._traffic = has_traffic(run)
        self._progress: Progress | None = None

    def __enter__(self) -> "Display":
        if self._how == "quiet":
            return self
        print(_introduction(self._run, self._plan), table_head(self._traffic), sep="\n", flush=True)
        if self._how == "live":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
            console = Console(force_terminal=True, soft_wrap=True, highlight=False)
            # No refresh thread: it would run inside the timed regions of this rank.
            self._progress = Progress(TextColumn(self._run.library), BarColumn(), MofNCompleteColumn(),
                                      TimeRemainingColumn(), TextColumn("left"), console=console, transient=True,
                                      auto_refresh=False)
            self._task = self._progress.add_task("", total=len(self._plan.cases))
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._progress:
            self._progress.stop()

    def show(self, record: Record) -> None:
        """Show the record of the next case."""
        self._counts[record.status] += 1
        self._advance()
        if record.case.op == "noop" and record.status == "ok":
            self._empty_s[record.case.ranks] = median(record.timings[0].message_s(record.case))
        if record.status == "unsupported":
            self._reasons[record.case.op, record.reason or ""] += 1
        else:
            self._line(format_row(record, self._empty_s.get(record.case.ranks), self._traffic))

    def resume(self, completed: int, warnings: Sequence[str]) -> None:
        """Show how many cases are already in the journal, and which of its lines could not be read."""
        total = len(self._plan.cases)
        for warning in warnings:
            self._line(f"# resume: {warning}")
        self._line(f"# resume: {completed} of {total} cases are in the journal, {total - completed} are left")
        if self._progress:
            self._progress.update(self._task, advance=completed, refresh=True)

    def skip(self) -> None:
        """A case was left out because the time was up."""
        self._counts["left out"] += 1
        self._advance()

    def warn(self, sentences: Sequence[str]) -> None:
        """Show what makes results doubtful."""
        for sentence in sentences:
            self._line(f"# warning: {sentence}")

    def finish(self, stopped: bool) -> None:
        """Show the number of cases by status, and why some could not run."""
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self._counts.items()))
        total = sum(self._counts.values())
        self._line(f"# {self._run.transport}: {total} cases: {counts}" if total else
                   f"# {self._run.transport}: nothing was left to measure")
        for (op, reason), count in sorted(self._reasons.items()):
            self._line(f"#   unsupported: {count:>3} x {op}: {reason}")
        if self._counts["left out"]:
            why = "the run was stopped" if stopped else "the time was up; use a larger --budget"
            self._line(f"#   left out: {why}")

    def _advance(self) -> None:
        if self._progress:
            self._progress.update(self._task, advance=1, refresh=True)

    def _line(self, text: str) -> None:
        text = printable(text)       # includes messages of libraries
        if self._progress:
            self._progress.console.print(text, markup=False)
        elif self._how != "quiet":
            print(text, flush=True)


def _introduction(run: Run, plan: Plan) -> str:
    sweep = run.sweep
    hosts, cores = (cast(Sequence[object], run.provenance[name]) for name in ("hosts", "cores"))
    sizes = sorted({asked for asked in plan.cases.values() if asked})
    lines = [
        f"# collbench: {run.transport} ({run.library}) on {run.device}: {run.world} ranks on "
        f"{len(set(hosts))} host(s), {cores[0]} cores each",
        f"# plan: {len(plan.cases)} cases: {len(sweep.ops)} operations over {_listed(sweep.ranks)} ranks, "
        f"{len(sizes)} sizes" + (f" from {format_size(sizes[0])} to {format_size(sizes[-1])}" if sizes else "")
        + f", {_listed(sweep.dtypes)}, {_listed(sweep.redops)}",
        f"# expected time: {plan.expected_s:.0f} s",
    ]
    if plan.left_out:
        what = ", ".join(f"{count} {words}" for words, count in plan.left_out.items())
        lines[-1] += f"; cases left out to fit the time: {what}"
    agreed = run.policy.alignment == "agreed"
    span = "first begin to last end over all ranks" if agreed else "the slowest rank's"
    lines.append(f"# start: {run.policy.alignment}; loop: {run.policy.loop}; time of a call: {span}; "
                 "isolated: one call a sample; streamed: calls back to back")
    lines.append("# every timed call is verified; +- is half the 95 % confidence interval of the isolated median; "
                 "empty is the time of an empty call")
    return "\n".join(lines)


def _listed(values: Sequence[object]) -> str:
    return " ".join(map(str, values))
