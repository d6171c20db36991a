"""Expectations on the terminal: one line a case, then where the figures come from, once each."""

import shutil
import textwrap
from collections.abc import Sequence

import click

from collbench.collectives.errors import printable

from ..text.units import payload, rate, seconds, span
from .expectation import BOUND, Expectation

__all__ = ["show"]

_WIDEST = 110


def show(cases: Sequence[Expectation]) -> None:
    """Print the table and its footnotes."""
    notes: list[str] = []
    rows = [("operation", "ranks", "size", "time", "algbw", "busbw", "interval", "from")]
    for case in cases:
        text = f"{case.reason}. Source: {case.source}" + (f". Assumed: {case.assumption}" if case.assumption else "")
        if text not in notes:
            notes.append(text)
        rows.append((case.op, str(case.ranks), payload(case.message_bytes) if case.message_bytes else "-",
                     *_figures(case), f"{case.kind} [{notes.index(text) + 1}]"))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) if at in (0, len(wide) - 1) else cell.rjust(width)
                             for at, (cell, width) in enumerate(zip(row, wide, strict=True))).rstrip())
    click.echo()
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    for number, text in enumerate(notes, 1):
        click.echo(textwrap.fill(printable(f"[{number}] {text[0].upper()}{text[1:]}"), width, subsequent_indent="    ",
                                 break_long_words=False, break_on_hyphens=False))


def _figures(case: Expectation) -> tuple[str, str, str, str]:
    """Time, algbw, busbw and the interval: of busbw, or of the time of an operation without a payload."""
    bus, least, most = (case.busbw_Bps(time) for time in (case.time_s, case.time_hi_s, case.time_lo_s))
    limit = "at least " if case.kind == BOUND else ""
    if bus is None:
        interval = span(seconds(case.time_lo_s), seconds(case.time_hi_s)) if case.time_lo_s else "-"
        return f"{limit}{seconds(case.time_s)}", "-", "-", interval
    most_of = "at most " if case.kind == BOUND else ""
    return (f"{limit}{seconds(case.time_s)}", f"{most_of}{rate(case.message_bytes / case.time_s)}",
            f"{most_of}{rate(bus)}", _within(rate(bus), rate(least), rate(most)) if least and most else "-")


def _within(middle: str, low: str, high: str) -> str:
    """Both ends, without the unit if it is that of the figure in the middle."""
    unit = " " + middle.split(" ")[-1]
    return span(low.removesuffix(unit), high.removesuffix(unit)) if low.endswith(unit) and high.endswith(unit) \
        else span(low, high)
