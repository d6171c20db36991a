"""Convert logs of other tools into a journal."""

import sys
from pathlib import Path

import click

from collbench.collectives.option_groups import GroupedCommand

from ..shared_options import OutputFile, log_options, warn

__all__ = ["SECTION", "command"]

SECTION = "read"


class _ImportCommand(GroupedCommand):
    """Lists the tools in its help, looked up only when the help is shown: importers are slow to import."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from collbench.analysis.importers import importers
        super().format_help_text(ctx, formatter)
        titles = sorted((module.TITLE for module in importers()), key=str.lower)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f"Reads the output of: {', '.join(titles)}.")


@click.command("import", cls=_ImportCommand, short_help="Convert logs of other tools into a journal")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=OutputFile(), help="Journal to write; it must not exist yet.")
@log_options
@click.option("--system", default=None, help="Name for the system that was measured.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything was omitted or is doubtful.")
def command(logs: tuple[Path, ...], out: Path, log_ranks: int | None, log_op: str | None, system: str | None,
            strict: bool) -> None:
    """Convert logs of other tools into a journal.

    LOG is a file, also compressed (.gz, .bz2, .xz), a folder of logs, or - for standard input.

    Example: collbench import n2.log n4.log n8.log --system cluster-a -o cluster-a.jsonl
    """
    from collbench.analysis.importers import LogHints, import_logs
    result = import_logs(logs, out, LogHints(log_ranks, log_op, system))
    for warning in result.warnings:
        warn(warning)
    click.echo(f"{out}: {result.results} numbers from {result.rows} rows of {result.files} of {result.asked} "
               f"log{'' if result.asked == 1 else 's'}")
    if result.files < result.asked or (strict and result.warnings):
        sys.exit(1)
