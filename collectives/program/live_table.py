"""Rank 0's live output: the plan, the rows of each operation once all its cases are measured, progress, a summary."""

import os
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, cast

from ..cases.case import Case, format_size
from ..errors import printable, write_error
from ..records.record import Record, Run
from .plan import Plan
from .table import Table

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Display"]

_PROGRESS_S = 5.0       # between two lines of progress


class Display:
    """Writes to standard output: rows by operation, in order, although the cases are measured in random order.

    A sweep that is not shuffled shows each row at once. A full disk or a closed terminal ends the display and not the
    run: the results are in the journal.
    """

    def __init__(self, how: str, run: Run, plan: Plan) -> None:
        """`how`: `live` draws a bar with the time left, `lines` prints a line with it now and then, for a launcher that
        passes on whole lines only; `plain` and `auto` print rows only, `brief` those of cases that failed, and the
        summary; `quiet` prints nothing.

        Whether standard output is a terminal is not checked here: some launchers give ranks a pseudo-terminal. The
        width is that of COLUMNS or of the terminal; without either it is unlimited.
        """
        self._how = "plain" if how == "auto" else how
        self._run, self._plan = run, plan
        self._width = shutil.get_terminal_size((0, 0)).columns or None
        self._table = Table(run, plan.cases, self._width)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._left = Counter(case.op for case in plan.cases)
        self._blocks: dict[str, list[tuple[tuple[object, ...], str]]] = {}
        self._begun = self._told = time.monotonic()
        self._done = 0
        self._progress: Progress | None = None

    def __enter__(self) -> "Display":
        if self._how == "quiet":
            return self
        if self._how != "brief":
            self._line(*_introduction(self._run, self._plan, self._width), self._table.head())
        if self._how == "live":
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
            console = Console(force_terminal=True, soft_wrap=True, highlight=False)
            # No refresh thread: it would run inside the timed regions of this rank.
            self._progress = Progress(TextColumn(self._run.library), BarColumn(), MofNCompleteColumn(),
                                      TimeRemainingColumn(), TextColumn("left"), console=console, transient=True,
                                      auto_refresh=False)
            self._task = self._progress.add_task("", total=len(self._plan.cases))
            self._write(self._progress.start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for op in list(self._blocks):
            self._print_block(op)
        if self._progress:
            self._write(self._progress.stop)

    def show(self, record: Record) -> None:
        """Show the record of the next case."""
        self._counts[record.status] += 1
        if record.status == "unsupported":
            self._reasons[record.case.op, record.reason or ""] += 1
        elif self._how != "brief" or record.status != "ok":
            row = self._table.row(record)
            if self._run.sweep.seed is None:
                self._line(row)
            else:
                self._blocks.setdefault(record.case.op, []).append((_place(record.case), row))
        self._settle([record.case])

    def resume(self, completed: Iterable[Case], warnings: Sequence[str]) -> None:
        """Show how many cases are already in the journal, and which of its lines could not be read."""
        completed, total = list(completed), len(self._plan.cases)
        for warning in warnings:
            self._line(f"# resume: {warning}")
        self._line(f"# resume: {len(completed)} of {total} cases are in the journal, {total - len(completed)} are left")
        self._settle(completed)

    def skip(self, case: Case) -> None:
        """A case was left out because the time was up."""
        self._counts["left out"] += 1
        self._settle([case])

    def warn(self, sentences: Sequence[str]) -> None:
        """Show what makes results doubtful."""
        for sentence in sentences:
            self._line(f"# warning: {sentence}")

    def finish(self, stopped: bool) -> None:
        """Show the number of cases by status, and why some could not run."""
        for op in list(self._blocks):
            self._print_block(op)
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self._counts.items()))
        total = sum(self._counts.values())
        self._line(f"# {self._run.transport}: {total} cases: {counts}" if total else
                   f"# {self._run.transport}: nothing was left to measure")
        for (op, reason), count in sorted(self._reasons.items()):
            self._line(f"#   unsupported: {count:>3} x {op}: {reason}")
        if self._counts["left out"]:
            why = "the run was stopped" if stopped else "the time was up; use a larger --budget"
            self._line(f"#   left out: {why}")

    def _settle(self, cases: Sequence[Case]) -> None:
        """These cases are over: print the operations of which none is left, and the progress."""
        self._left.subtract(case.op for case in cases)
        for op in dict.fromkeys(case.op for case in cases):
            if not self._left[op]:
                self._print_block(op)
        self._done += len(cases)
        if progress := self._progress:
            self._write(lambda: progress.update(self._task, completed=self._done, refresh=True))
        now = time.monotonic()
        left = len(self._plan.cases) - self._done
        if self._how == "lines" and left and now - self._told >= _PROGRESS_S:
            self._told = now
            self._line(f"# {self._done} of {len(self._plan.cases)} cases, about "
                       f"{(now - self._begun) / self._done * left:.0f} s left")

    def _print_block(self, op: str) -> None:
        rows = [row for _, row in sorted(self._blocks.pop(op, []))]
        if rows:
            self._line(*rows)

    def _line(self, *lines: str) -> None:
        text = printable("\n".join(lines), keep="\n")       # includes messages of libraries
        if progress := self._progress:
            self._write(lambda: progress.console.print(text, markup=False))
        elif self._how != "quiet":
            self._write(lambda: print(text, flush=True))

    def _write(self, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            self._how, self._progress = "quiet", None
            with suppress(OSError), open(os.devnull, "w") as nothing:     # for what is in its buffer still
                os.dup2(nothing.fileno(), sys.stdout.fileno())
            if not isinstance(error, BrokenPipeError):      # after `| head` the reader has what it wanted
                write_error(f"collbench: warning: results can no longer be shown ({error.strerror}); the run goes on, "
                            "and the journal has them all")


def _place(case: Case) -> tuple[object, ...]:
    """Where a case stands among those of its operation: message sizes follow each other."""
    return case.ranks, case.dtype or "", case.redop or "", case.traffic or "", case.in_place, case.bytes


_CACHES = MappingProxyType({
    "warm": "caches: warm (the call before was the same); the last call of each sample is verified",
    "rotated": "caches: rotated (buffers just filled); every timed call is verified",
    "cold": "caches: cold; every timed call is verified"})


def _introduction(run: Run, plan: Plan, width: int | None) -> list[str]:
    """What is measured and how, as comment lines no longer than `width`."""
    sweep = run.sweep
    hosts, cores = (cast(Sequence[object], run.provenance[name]) for name in ("hosts", "cores"))
    sizes = sorted({asked for asked in plan.cases.values() if asked})
    ops = {case.op for case in plan.cases}
    expected = f"expected time: {plan.expected_s:.0f} s"
    if plan.left_out:
        what = ", ".join(f"{count} {words}" for words, count in plan.left_out.items())
        expected += f"; cases left out to fit the time: {what}"
    agreed = run.policy.alignment == "agreed"
    span = "first begin to last end over all ranks" if agreed else "the slowest rank's"
    lines = [
        f"collbench: {run.transport} ({run.library}) on {run.device}: {run.world} ranks on "
        f"{len(set(hosts))} host(s), {cores[0]} cores each",
        f"plan: {len(plan.cases)} cases: {len(ops)} operations over {_listed(sorted({*sweep.ranks}))} ranks, "
        f"{len(sizes)} sizes" + (f" from {format_size(sizes[0])} to {format_size(sizes[-1])}" if sizes else "")
        + f", {_listed(sweep.dtypes)}, {_listed(sweep.redops)}", expected,
        f"start: {run.policy.alignment}; loop: {run.policy.loop}; time of a call: {span}; isolated: one call a sample; "
        "streamed: calls back to back",
        f"{_CACHES[run.policy.cache]}; +- is half the 95 % confidence interval of the isolated median; empty is the "
        "time of an empty call"]
    if width is None:
        return [f"# {line}" for line in lines]
    return [part for line in lines for part in textwrap.wrap(f"# {line}", width, subsequent_indent="#   ")]


def _listed(values: Sequence[object]) -> str:
    return " ".join(map(str, values))
