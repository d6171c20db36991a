"""Expectations on the terminal: one line a case, then where the figures come from, once each."""

from collections.abc import Sequence

import click

from collbench.collectives.errors import printable

from ..text.units import payload, rate, seconds, span
from .expectation import BOUND, Expectation

__all__ = ["show"]


def show(cases: Sequence[Expectation]) -> None:
    """Print the table and its footnotes."""
    notes: list[str] = []
    rows = [("operation", "ranks", "size", "time", "algbw", "busbw", "interval", "", "note")]
    for case in cases:
        text = f"{case.reason}. Source: {case.source}" + (f". Assumed: {case.assumption}" if case.assumption else "")
        if text not in notes:
            notes.append(text)
        rows.append((case.op, str(case.ranks), payload(case.message_bytes) if case.message_bytes else "-",
                     *_figures(case), case.kind, f"[{notes.index(text) + 1}]"))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) if at in (0, 7, 8) else cell.rjust(width)
                             for at, (cell, width) in enumerate(zip(row, wide, strict=True))).rstrip())
    click.echo()
    for number, text in enumerate(notes, 1):
        click.echo(printable(f"[{number}] {text[0].upper()}{text[1:]}"))


def _figures(case: Expectation) -> tuple[str, str, str, str]:
    """Time, algbw, busbw and the interval: of busbw, or of the time of an operation without a payload."""
    bus, least, most = (case.busbw_Bps(time) for time in (case.time_s, case.time_hi_s, case.time_lo_s))
    limit = "at least " if case.kind == BOUND else ""
    if bus is None:
        interval = span(seconds(case.time_lo_s), seconds(case.time_hi_s)) if case.time_lo_s else "-"
        return f"{limit}{seconds(case.time_s)}", "-", "-", interval
    most_of = "at most " if case.kind == BOUND else ""
    return (f"{limit}{seconds(case.time_s)}", f"{most_of}{rate(case.message_bytes / case.time_s)}",
            f"{most_of}{rate(bus)}", span(rate(least), rate(most)) if least and most else "-")
