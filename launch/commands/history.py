"""Runs of one cluster over time: what changed, when, and a baseline from before it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collbench.collectives.errors import printable
from collbench.collectives.option_groups import OUTPUT, SELECTION, GroupedCommand, option
from collbench.collectives.option_types import Amount

from ..shared_options import (
    OpNames,
    OutputFile,
    json_option,
    log_options,
    only_data_on_stdout,
    verbose_option,
    warn,
    write_text,
)

if TYPE_CHECKING:
    from collbench.analysis.importers import LogHints

__all__ = ["SECTION", "command"]

SECTION = "gate"


@click.command(cls=GroupedCommand, short_help="Runs over time: trends, changes, a baseline")
@click.argument("data", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--db", type=OutputFile(), required=True, metavar="FILE",
              help="File of the history (SQLite), made when the first run is added; lines are only appended.")
@option("--ops", group=SELECTION, type=OpNames(), default=(), help="Only these operations.")
@option("--same-within", group=SELECTION, type=Amount(min=0), default=5.0, show_default=True, metavar="PERCENT",
        help="A smaller difference is no change.")
@option("--baseline", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
        help="Write the latest runs since the last change, without the newest one, as a journal: for check and "
             "compare.")
@option("--page", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
        help="Write a page with a chart for each case.")
@json_option("Write runs, cases and changes as JSON; - is standard output.")
@log_options
@verbose_option
def command(data: tuple[Path, ...], db: Path, ops: tuple[str, ...], same_within: float, baseline: Path | None,
            page: Path | None, json_file: Path | None, log_ranks: int | None, log_op: str | None,
            verbose: bool) -> None:
    """Add DATA to the history in --db, and show which cases changed, when and by how much.

    Runs of different hosts and versions are one series: what else is new at a change is said. A run that is there
    already is not added again. Without DATA, only show.

    Example: collbench history results/* --db cluster.db --page history.html
    """
    from collbench.analysis.history.show import document, lines
    from collbench.analysis.history.show import page as page_of
    from collbench.analysis.history.store import write_journal
    from collbench.analysis.history.trend import read_history
    from collbench.analysis.importers import LogHints
    from collbench.analysis.text.json_text import json_text
    with only_data_on_stdout(json_file):
        for words in _added(data, db, LogHints(log_ranks, log_op)):
            click.echo(words)
        history = read_history(db, ops, same_within / 100)
        for line in lines(history, verbose):
            click.echo(printable(line))
        if page:
            write_text(page, page_of(history, f"History: {db.stem}"))
            click.echo(printable(f"page: {page}"))
    if json_file:
        write_text(json_file, json_text("history", document(history)))
    if baseline:        # last: there may be too few runs for one
        runs = history.baseline()
        write_journal(db, baseline, runs)
        click.echo(printable(f"baseline: {baseline}, {len(runs)} runs"), err=str(json_file) == "-")


def _added(data: tuple[Path, ...], db: Path, hints: "LogHints") -> Iterator[str]:
    """Add runs and logs, once all of them have been read, and say what was new in each."""
    from collbench.analysis.history.store import added
    from collbench.analysis.importers import files_of, read_log
    from collbench.analysis.text.units import counted
    logs = [(path, [read_log(file, hints) for file in files_of(path)]) for path in data]
    for path, read in logs:
        for line in (line for log in read for line in log.warnings):
            warn(line)
        runs, records = added(db, (line for log in read for line in (*log.runs, *log.results)))
        yield printable(f"{path}: {counted(runs, 'new run')}, {counted(records, 'new result')}")
