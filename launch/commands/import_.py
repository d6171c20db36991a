"""Logs of other tools into a journal."""

import sys
from pathlib import Path

import click

from ..shared_options import OutputFile, log_options, warn

__all__ = ["command"]


@click.command("import")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=OutputFile(),
              help="Journal to write; it must not exist yet.")
@log_options
@click.option("--system", default=None, help="What to call the system that was measured.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything was left out or is doubtful.")
def command(logs: tuple[Path, ...], out: Path, ranks: int | None, op: str | None, system: str | None,
            strict: bool) -> None:
    """Turn logs of other tools into a journal: nccl-tests, rccl-tests, hccl_test, OSU, IMB, PARAM, tidy CSV.

    Example: collbench import n2.log n4.log n8.log --system cluster-a -o cluster-a.jsonl
    """
    from collbench.analysis.importers import Asked, import_logs
    result = import_logs(logs, out, Asked(ranks, op, system))
    for warning in result.warnings:
        warn(warning)
    click.echo(f"{out}: {result.figures} figures of {result.rows} rows, from {result.files} of {len(logs)} "
               f"log{'' if len(logs) == 1 else 's'}")
    if result.files < len(logs) or (strict and result.warnings):
        sys.exit(1)
