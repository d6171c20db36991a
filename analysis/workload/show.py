"""A report of a workload on the terminal and as Markdown."""

import shutil
import textwrap
from collections.abc import Mapping

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from collbench.collectives.errors import printable

from ..text.safe_console import Screen, fits, print_whole
from .model import Workload
from .report import LEGEND, Report, call_row, notes, rows, words

__all__ = ["markdown", "show", "show_all"]

_WIDEST = 100
_NARROW = 19        # columns of a cell where three systems share 80
_WITH_INTERVAL = ("ranks", "communication", "≤ tokens/s/accelerator")
_CALLS = ("operation", "for", "ranks", "size", "a step", "may overlap", "time of a call", "figures are")


def show(report: Report, verbose: bool = False, console: Console | None = None) -> None:
    """Print the table and what follows from it; with `verbose`, also every call and the sources."""
    console = console or Screen()
    _wrapped(report.title())
    table = _table(report, verbose)
    print_whole(table if fits(table, console) else _table(report, verbose, narrow=True), console)
    *texts, last = words(report)
    for text in (*texts, last if verbose else f"{last}; all calls: -v"):
        _wrapped(text)
    if verbose:
        for outcome in report.outcomes:
            calls = Table(title=escape(f"calls on {outcome.system}"), box=box.SIMPLE_HEAD, title_justify="left",
                          pad_edge=False)
            for name in _CALLS:
                calls.add_column(name, no_wrap=True)
            for one in outcome.priced:
                calls.add_row(*map(escape, call_row(one)))
            print_whole(calls, console)
        for text in notes(report):
            _wrapped(text)
        for text in (report.workload.phases[report.job.phase].source, *_facts(report.workload)):
            _wrapped(f"workload: {text}")
        _wrapped(LEGEND)


def _wrapped(text: str) -> None:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    click.echo(textwrap.fill(printable(text).replace(" %", "\u00a0%"), width, subsequent_indent="  ",
                             break_long_words=False, break_on_hyphens=False))


def _table(report: Report, whole: bool, narrow: bool = False) -> Table:
    """The table; if `narrow`, intervals of the rows in _WITH_INTERVAL have a line of their own; others are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    for one in report.outcomes:
        table.add_column(escape(one.system), no_wrap=True)
    for row in rows(report, whole):
        between = "\n(" if row.name.startswith(_WITH_INTERVAL) else "\0"
        cells = [cell.replace(" (", between).split("\0")[0] if narrow else cell for cell in row.cells]
        cells = [cell if "\n" in cell or not narrow else textwrap.fill(cell, _NARROW) for cell in cells]
        table.add_row(escape(row.name), *map(escape, cells))
    return table


def _facts(workload: Workload) -> list[str]:
    """The model's numbers, by source."""
    if workload.model is None:
        return []
    found: dict[str, list[str]] = {}
    for name in workload.model.__struct_fields__:
        number = getattr(workload.model, name)
        if number is not None:
            found.setdefault(number.source, []).append(f"{name} {number.value:g}")
    return [f"{', '.join(facts)}: {source}" for source, facts in found.items()]


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"## {report.title()}", ""]
    lines += _grid(("", *(one.system for one in report.outcomes)), [(row.name, *row.cells) for row in rows(report)])
    lines += [*(f"- {text}" for text in words(report)), ""]
    for outcome in report.outcomes:
        lines += [f"### Calls on {outcome.system}", "", *_grid(_CALLS, [call_row(one) for one in outcome.priced])]
    lines += [*(f"- {text}" for text in notes(report)), "", LEGEND, ""]
    return printable("\n".join(lines), keep="\n")


def _grid(head: tuple[str, ...], body: list[tuple[str, ...]]) -> list[str]:
    cells = [tuple(cell.strip().replace("|", "\\|") for cell in row) for row in (head, *body)]
    return [f"| {' | '.join(cells[0])} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in cells[1:]),
            ""]


def show_all(workloads: Mapping[str, Workload]) -> None:
    """The shipped workloads with their phases."""
    for name, workload in workloads.items():
        names = ", ".join((name, *workload.aliases))
        click.echo(f"{names}: {workload.title}")
        for phase, what in workload.phases.items():
            degrees = ",".join(f"{axis}={degree}" for axis, degree in what.parallel.items())
            click.echo(f"  --phase {phase:<9} {what.tokens} tokens, --parallel {degrees}")
