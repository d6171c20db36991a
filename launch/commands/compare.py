"""Compare two sets of runs case by case; with an exit status for CI."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from collbench.collectives.cases.case import format_size
from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import GroupedCommand
from collbench.collectives.option_types import Amount

from ..ci_output import CiFiles, ci_options, inconclusive_options, write_ci
from ..shared_options import OutputFile, json_option, log_options, ops_option, sizes_option, warn, write_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SECTION", "command"]

SECTION = "gate"


@click.command(cls=GroupedCommand, short_help="What is slower or faster in B than in A")
@click.argument("a")
@click.argument("b")
@ops_option("Compare only these operations.")
@sizes_option("Compare only these message sizes.")
@click.option("--max-slowdown", type=Amount(min=0), default=None, metavar="PERCENT",
              help="Exit with 1 if a case of --ops and --sizes is slower by more than this, or failed.")
@click.option("--same-within", type=Amount(min=0, min_open=True), default=5.0, show_default=True,
              metavar="PERCENT", help="Differences up to this count as equal.")
@click.option("--paired", is_flag=True, help="Launches alternate: the first of A belongs to the first of B, and so on, "
              "so that drift of the machine cancels.")
@click.option("--html", type=OutputFile(allow_dash=True), default=None,
              help="Also write an HTML page.")
@json_option("Also write everything as JSON; - is standard output, and no table.")
@inconclusive_options
@ci_options
@log_options
def command(a: str, b: str, ops: tuple[str, ...], sizes: tuple[int, ...], max_slowdown: float | None,
            same_within: float, paired: bool, html: Path | None, json_file: Path | None, must_notice: float,
            allow_inconclusive: bool, junit: Path | None, github: bool, markdown: Path | None, log_ranks: int | None,
            log_op: str | None) -> None:
    """Report what is slower or faster in B than in A, case by case, with confidence intervals.

    A and B are DATA: one run, several separated by commas, or a directory of run directories. Launches differ from each
    other, so one per side shows only large differences; alternate several of both (A, B, A, B ...).

    With --max-slowdown the exit status is 0 if nothing is slower, 1 slower or wrong, 4 cannot tell.

    Example: collbench compare before1,before2 after1,after2 --max-slowdown 10 --ops all_reduce --sizes 1M
    """
    if max_slowdown is not None and not (ops and sizes):
        raise UsageError("--max-slowdown needs --ops and --sizes: a threshold is for named cases, not for an average")
    from collbench.analysis.compare import compare, match, sides
    from collbench.analysis.compare.gate import CANNOT_TELL, SOUND, Gate, judge
    from collbench.analysis.compare.show import as_json, page, show
    from collbench.analysis.importers import LogHints
    from collbench.analysis.text.json_text import json_text
    hints = LogHints(log_ranks, log_op)
    both = sides(a, hints), sides(b, hints)
    for words in dict.fromkeys(words for side in both for one in side.launches for words in one.warnings):
        warn(words)
    found = match(*both, ops, sizes, paired)
    if max_slowdown is not None and found.shared_run:
        raise UsageError(f"{a} and {b}: {found.shared_run}")
    _all_there(found.points, ops, sizes)
    result = compare(found, same_within / 100)
    if str(json_file) != "-":
        show(result)
    if json_file:
        write_text(json_file, json_text("compare", as_json(result)))
    if html:
        write_text(html, page(result, a, b))
    verdict = judge(result, Gate((same_within if max_slowdown is None else max_slowdown) / 100, must_notice / 100))
    write_ci(verdict, "collbench compare", CiFiles(junit, github, markdown), str(json_file) == "-")
    if max_slowdown is not None:
        for line in verdict.words:
            warn(line)
        sys.exit(SOUND if allow_inconclusive and verdict.status == CANNOT_TELL else verdict.status)


def _all_there(points: "pd.DataFrame", ops: Sequence[str], sizes: Sequence[int]) -> None:
    """UsageError if a named operation or size is missing on a side: a gate must not pass unnoticed."""
    missing = [name for name in ops if name not in set(points["op"])]
    known = set(points["asked_bytes"]) | set(points["message_bytes"])
    missing += [format_size(size) for size in sizes if size not in known]
    if missing:
        raise UsageError(f"missing on one side, so they cannot be compared: {', '.join(missing)}")
