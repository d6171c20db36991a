"""`python -m collbench.analysis DATA`: the report on a terminal, or as files with -o."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import CollbenchError

from .report.story import build_story
from .report.terminal import show
from .report.write import write_report


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), help="Write the report to this folder.")
@click.option("--to", "targets", default="72,384", show_default=True, help="Rank counts to extrapolate to.")
def main(data: Path, out: Path | None, targets: str) -> None:
    """Report on DATA, a run directory or a journal: print it, or write a page, figures and tables to a folder."""
    try:
        counts = [int(word) for word in targets.split(",")]
    except ValueError:
        raise click.BadParameter(f"{targets!r}: expected rank counts such as 72,384", param_hint="--to") from None
    try:
        if out is None:
            show(build_story(data, counts))
        else:
            click.echo(write_report(build_story(data, counts, page=True), out))
    except CollbenchError as error:
        click.echo(f"collbench: {error}", err=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main(prog_name="python -m collbench.analysis")
