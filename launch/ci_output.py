"""What a CI system reads of `check` and `compare`: options, and the files and lines that they ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from collbench.collectives.errors import printable
from collbench.collectives.option_groups import OUTPUT, option
from collbench.collectives.option_types import Amount

from .shared_options import OutputFile, write_text

if TYPE_CHECKING:
    from collbench.analysis.compare.gate import Verdict

__all__ = ["CiFiles", "ci_options", "inconclusive_options", "write_ci"]

_SUMMARY = "GITHUB_STEP_SUMMARY"        # where GitHub Actions takes the summary of a step from


class CiFiles(NamedTuple):
    """The values of `ci_options`."""

    junit: Path | None
    github: bool
    markdown: Path | None


def ci_options(command: Callable) -> Callable:
    """`--junit`, `--github` and `--markdown`, as `junit`, `github` and `markdown`."""
    for decorate in (option("--markdown", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
                            help="Also write a summary in Markdown."),
                     option("--github", group=OUTPUT, is_flag=True,
                            help="Also print ::error and ::warning for GitHub Actions, and append the summary to "
                                 f"${_SUMMARY}."),
                     option("--junit", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
                            help="Also write the cases as tests in JUnit XML.")):
        command = decorate(command)
    return command


def inconclusive_options(command: Callable) -> Callable:
    """`--must-notice` and `--allow-inconclusive`, as `must_notice` and `allow_inconclusive`."""
    for decorate in (click.option("--allow-inconclusive", is_flag=True, help="Exit with 0 instead of 4."),
                   click.option("--must-notice", type=Amount(min=0, min_open=True), default=100.0, show_default=True,
                                metavar="PERCENT", help="Exit with 4, cannot tell, if a slowdown by this much would "
                                "not have been noticed.")):
        command = decorate(command)
    return command


def write_ci(verdict: Verdict, name: str, files: CiFiles, quiet: bool) -> None:
    """Write what was asked for.

    Args:
        name: of the command, such as `collbench check`.
        quiet: standard output belongs to something else; annotations go to standard error.
    """
    from collbench.analysis.compare.ci import annotations, junit, markdown
    if files.junit:
        write_text(files.junit, junit(verdict, name))
    if files.markdown:
        write_text(files.markdown, markdown(verdict, name))
    if files.github:
        for line in annotations(verdict, name):
            click.echo(printable(line), err=quiet)
        if os.environ.get(_SUMMARY):
            with Path(os.environ[_SUMMARY]).open("a", encoding="utf-8") as summary:
                summary.write(markdown(verdict, name))
