"""Two runs, or repeats of two: what became slower; an exit status for CI."""

import json
import sys
from pathlib import Path

import click

from collbench.collectives.cases.case import format_size, parse_size
from collbench.collectives.errors import UsageError
from collbench.collectives.options import Amount

from ..shared_options import OutputFile, json_option, log_options, warn, write_text

__all__ = ["command"]


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--ops", "op_names", metavar="NAME,...", default="", help="Compare only these operations.")
@click.option("--sizes", "size_names", metavar="SIZE,...", default="", help="Compare only these message sizes.")
@click.option("--fail-over", type=Amount(min=0), default=None, metavar="PERCENT",
              help="Exit with 1 when a case of --ops and --sizes is slower by more than this, or came to a bad end.")
@click.option("--within", type=Amount(min=0, min_open=True), default=5.0, show_default=True,
              metavar="PERCENT", help="What counts as the same, either way.")
@click.option("--paired", is_flag=True, help="Launches were taken in turn: the first of A with the first of B, the "
              "second with the second ...; what drifts on the machine then cancels.")
@click.option("--html", type=OutputFile(allow_dash=True), default=None,
              help="Also write a page.")
@json_option("Also write everything as JSON; - is standard output, and no table.")
@log_options
def command(a: str, b: str, op_names: str, size_names: str, fail_over: float | None, within: float, paired: bool,
            html: Path | None, json_file: Path | None, ranks: int | None, op: str | None) -> None:
    """Say what is slower or faster in B than in A, case by case, and how sure that is.

    A and B are DATA, several with commas between them, or a directory of run directories: repeats. Launches differ from
    each other, so one a side can seldom tell; take several of both in turn (A, B, A, B ...).

    Example: collbench compare before1,before2,before3 after1,after2,after3 --fail-over 10 --ops all_reduce --sizes 1M
    """
    ops = [name.strip() for name in op_names.split(",") if name.strip()]
    sizes = [parse_size(name) for name in size_names.split(",") if name.strip()]
    if fail_over is not None and not (ops and sizes):
        raise UsageError("--fail-over needs --ops and --sizes: a threshold holds for named cases, not for an average")
    from collbench.analysis.compare import compare, match, sides
    from collbench.analysis.compare.show import as_json, page, show
    from collbench.analysis.importers import Asked
    asked = Asked(ranks, op)
    found = match(sides(a, asked), sides(b, asked), ops, sizes, paired)
    if fail_over is not None and found.twice:
        raise UsageError(f"{a} and {b}: {found.twice}")
    _all_there(found.points, ops, sizes)
    result = compare(found, within / 100)
    if str(json_file) != "-":
        show(result)
    if json_file:
        write_text(json_file, json.dumps(as_json(result), indent=1) + "\n")
    if html:
        write_text(html, page(result, a, b))
    if fail_over is not None:
        over = result.over(fail_over / 100)
        for row in over.itertuples():
            warn(f"{row.label}, {row.mode}: {100 * (row.ratio - 1):.1f} % slower, over the {fail_over:g} % allowed")
        sys.exit(1 if len(over) or found.broken else 0)


def _all_there(points: object, ops: list[str], sizes: list[int]) -> None:
    """UsageError for an operation or size that was named and is not on both sides: a gate must not pass unseen."""
    missing = [name for name in ops if name not in set(points["op"])]
    known = set(points["asked_bytes"]) | set(points["message_bytes"])
    missing += [format_size(size) for size in sizes if size not in known]
    if missing:
        raise UsageError(f"not on both sides, so they cannot be compared: {', '.join(missing)}")
