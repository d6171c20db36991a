"""What DATA means: on the terminal, and as a page."""

from pathlib import Path

import click

from collectives.errors import UsageError

from ..shared_options import DATA, log_options, report_on

__all__ = ["command"]


@click.command()
@DATA
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for report.html, figures and tables.  [default: DATA, where it is a directory]")
@log_options
def command(data: Path, out: Path | None, ranks: int | None, op: str | None) -> None:
    """Say what DATA means: on the terminal, and as a page with figures and tables beside it.

    Example: collbench report results/latest -o my-report
    """
    if out is None and not data.is_dir():
        raise UsageError(f"{data} is a file: say with -o where the report is to go")
    from analysis.importers import Asked
    report_on(data, out or data, Asked(ranks, op))
