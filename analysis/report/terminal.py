"""The report as text on a terminal: header, a table an operation, the extrapolations, findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from collectives.records import MODES

from .. import units
from ..models.predict import SERIES
from ..tables import operation_table
from .words import CAVEAT, METHOD, QUANTITIES, Cell, answer_rows, domain_words, prediction_cell

if TYPE_CHECKING:
    from ..summary import Story

__all__ = ["show", "show_predictions"]

_STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
_NARROWEST = 110       # columns; a table of numbers is unreadable below, and a pipe has no width of its own


def show(story: Story, console: Console | None = None) -> None:
    """Print `story`; to standard output unless `console` says otherwise."""
    console = _wide(console or Console())
    for part in _parts(story):
        console.print(part)


def show_predictions(predictions: pd.DataFrame, console: Console | None = None) -> None:
    """Print a frame of `models.extrapolate`, one table a series with its model, and what to beware of."""
    console = _wide(console or Console())
    for _, rows in predictions.groupby(list(SERIES), dropna=False, sort=False):
        console.print(_series(rows))
        for caution in rows["reason"].dropna().unique():
            console.print(Text(f"beware: {caution}", style="yellow"))
        console.print()
    console.print(Text(f"{CAVEAT} {METHOD}", style="dim"))


def _series(rows: pd.DataFrame) -> Table:
    first = rows.iloc[0]
    names = [first[name] for name in ("op", "mode", "dtype", "redop", "traffic", "place", "transport", "library")]
    table = _table(escape(", ".join(str(name) for name in names if pd.notna(name))))
    for name in ("ranks", "payload", "kind", "time", "interval", "busbw", "interval", "distance"):
        table.add_column(name, justify="right", no_wrap=name != "interval")
    for row in rows[rows["kind"] != "refused"].to_dict("records"):
        time, busbw = (prediction_cell(row, quantity, row["message_bytes"]) for quantity in QUANTITIES)
        table.add_row(str(row["ranks"]), units.payload(row["message_bytes"]), row["kind"], time.value,
                      escape(time.detail), busbw.value, escape(busbw.detail), f"{row['distance']:.3g}x")
    for model in rows[rows["kind"] == "extrapolated"].head(1).to_dict("records"):
        table.caption = escape(f"{model['algorithm']}: {model['parameters']}; held-out error "
                               f"{units.percent(model['holdout_error'])}")
        table.caption_justify = "left"
    return table


def _wide(console: Console) -> Console:
    return Console(width=_NARROWEST, file=console.file) if not console.is_terminal and console.width < _NARROWEST \
        else console


def _parts(story: Story) -> Iterator[RenderableType]:
    yield _header(story)
    yield _findings(story)
    for (fabric, op), points in story.shown.groupby(["fabric", "op"], sort=False):
        yield _operation(str(fabric), str(op), points)
    for quantity in QUANTITIES:
        if story.answer["quantity"].eq(quantity).any():
            yield _answer(story, quantity)
    if len(story.answer):
        yield Text(f"{CAVEAT} {METHOD}", style="dim")
    for domain in story.domains:
        yield Text(domain_words(domain), style="dim")


def _header(story: Story) -> Group:
    head = story.overview
    lines = [Text(f"collbench report: {head.title}", style="bold"), Text(head.measured)]
    lines += [Text.assemble((f"{name}: ", "dim"), value) for name, value in head.facts]
    return Group(*lines, Text(head.verdict, style="green" if head.sound else "bold red"), Text())


def _operation(fabric: str, op: str, points: pd.DataFrame) -> Table:
    """As nccl-tests prints it, with the two modes side by side, at the largest rank count."""
    table = _table(_title(fabric, op, points))
    for name in ("size\n", "isolated\nµs", "95 % interval\nµs", "p99\nµs", "streamed\nµs", "algbw\nGB/s",
                 "busbw\nGB/s", "samples\n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("flags\n", style="yellow", max_width=24)
    largest = points[points["ranks"] == points["ranks"].max()]
    for row in operation_table(largest).to_dict("records"):
        table.add_row(
            units.payload(row["message_bytes"]), units.microseconds(row["time_s isolated"]),
            units.span(units.microseconds(row["time_lo_s isolated"]), units.microseconds(row["time_hi_s isolated"])),
            units.microseconds(row["p99_s isolated"]), units.microseconds(row["time_s streamed"]),
            units.gigabytes(row["algbw_Bps streamed"]), units.gigabytes(row["busbw_Bps streamed"]), _samples(row),
            _flags(row))
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False, padding=(0, 1))


def _title(fabric: str, op: str, points: pd.DataFrame) -> str:
    first = points.iloc[0]
    words = [str(first[name]) for name in ("dtype", "redop", "traffic", "place") if pd.notna(first[name])]
    return escape(f"{op}, measured, {points['ranks'].max()} ranks, {' '.join([*words, fabric])}")


def _samples(row: dict[str, Any]) -> str:
    counts = [row["samples isolated"], row["samples streamed"]]
    return " + ".join(f"{count:.0f}" for count in counts if pd.notna(count))


def _flags(row: dict[str, Any]) -> str:
    """Flags of both modes; missed precision is left to the interval beside it, or a busy host fills the column."""
    said = {mode: [flag for flag in (row[f"flags {mode}"] or "").split(", ") if flag not in ("", "precision missed")]
            for mode in MODES if pd.notna(row[f"flags {mode}"])}
    return ", ".join(dict.fromkeys(f"{flag} ({mode})" for mode, flags in said.items() for flag in flags))


def _answer(story: Story, quantity: str) -> Table:
    table = _table(f"{QUANTITIES[quantity]}: measured here, extrapolated to more ranks of this fabric")
    table.add_column("operation\npayload", no_wrap=True)
    table.add_column("measured\n", justify="right", no_wrap=True)
    for target in story.targets:
        table.add_column(f"{target} ranks\nextrapolated", justify="right", no_wrap=True)
    table.add_column("held-out error\ndistance", justify="right", no_wrap=True)
    fabric = None
    for row in answer_rows(story.answer, quantity, story.targets):
        if row.fabric != fabric:
            fabric = row.fabric
            table.add_row(f"[bold]{escape(fabric)}[/bold]")
        table.add_row(f"{escape(row.op)}\n[dim]{row.payload}[/dim]", f"{row.measured}\n[dim]{row.at_ranks} ranks[/dim]",
                      *map(_cell, row.cells), f"{row.holdout}\n[dim]{row.distance}[/dim]")
    return table


def _cell(cell: Cell) -> str:
    """A reason is a sentence, which a column has no room for; the page and the JSON have it."""
    small = "" if cell.kind == "refused" else escape(f"{cell.detail}\n{cell.note}".strip())
    return f"{cell.value}\n[dim]{small}[/dim]"


def _findings(story: Story) -> RenderableType:
    if not story.findings:
        return Text()
    lines = [Text("Findings", style="bold")]
    for finding in story.findings:
        lines.append(Text.assemble((f"{finding.severity}: ", _STYLE[finding.severity]), finding.words))
        if finding.evidence:
            lines.append(Text(f"    for example: {'; '.join(finding.evidence[:2])}", style="dim"))
    return Group(*lines, Text())
