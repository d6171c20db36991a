"""Write DATA in the format of another tool."""

from pathlib import Path

import click

from collbench.collectives.option_groups import GroupedCommand

from ..shared_options import DATA, OutputFile, warn, write_text

__all__ = ["SECTION", "command"]

SECTION = "read"


@click.command(cls=GroupedCommand, short_help="Write runs in the format of another tool")
@DATA
@click.option("--format", "form", required=True, type=click.Choice(("nccl-tests", "osu", "csv", "json")),
              help="Format; json is that of nccl-tests, one document per line.")
@click.option("-o", "--out", type=OutputFile(allow_dash=True), default="-",
              show_default=True, help="File to write; - is standard output.")
def command(data: Path, form: str, out: Path) -> None:
    """Write DATA in the format of another tool, for programs that read it.

    Example: collbench export results/latest --format nccl-tests -o all_reduce.log
    """
    from collbench.analysis.export import export as write
    from collbench.analysis.frames.load import load
    loaded = load(data)
    text, lost = write(loaded, form)
    for line in (*loaded.warnings, *lost):
        warn(line)
    write_text(out, text)
