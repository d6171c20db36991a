"""Claims on the terminal and as the page docs/claims.md."""

import shutil
import textwrap
from collections.abc import Sequence

import click

from ..workload.report import LEGEND
from .claim import Claim

__all__ = ["page", "show"]

_WIDEST = 110
_TOP = """# Public claims, and what measurements and models say about their interconnect part

This page is generated: `make claims` writes it from the models and data that ship, and a test compares the two. A
claimed number is quoted; every other figure is computed, says what it is, and is repeated by the command beside it.
Values are middle and 90 % interval, or the range of all sources of a cited fact.

"""


def show(claims: Sequence[Claim], figures: bool = True) -> None:
    """Print each claim with its verdicts, and with the figures behind them."""
    for claim in claims:
        click.echo(f'"{claim.quote}"')
        if figures:
            _wrapped(claim.origin, "  ")
            for figure in claim.figures:
                _wrapped(f"- {figure.what}: {figure.value} [{figure.kind}]", "  ")
        for verdict, what in claim.verdicts:
            _wrapped(f"{verdict}: {what}", "  = ")
        if figures and claim.settles:
            _wrapped(f"would narrow it most: {claim.settles}", "  = ")
            click.echo()
    _wrapped(f"{LEGEND} --markdown - has the command that repeats each figure." if figures else
             "the figures behind this: -v; with the command that repeats each: --markdown -", "")


def _wrapped(text: str, first: str) -> None:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    click.echo(textwrap.fill(text.replace(" %", "\u00a0%"), width, initial_indent=first, subsequent_indent="    ",
                             break_long_words=False, break_on_hyphens=False))


def page(claims: Sequence[Claim]) -> str:
    """All of it as Markdown."""
    parts = [_TOP, LEGEND, "\n"]
    for claim in claims:
        parts.append(f'\n## "{claim.quote}"\n\n{claim.origin}.\n\n| figure | value | it is | repeat |\n'
                     "|---|---|---|---|\n")
        parts += [f"| {one.what} | {one.value} | {one.kind} | `{one.command}` |\n" for one in claim.figures]
        parts.append("\n")
        parts += [f"- **{verdict}** {what}\n" for verdict, what in claim.verdicts]
        if claim.settles:
            parts.append(f"- would narrow it most: {claim.settles}\n")
    return "".join(parts)
