"""Write DATA in the format of another tool."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
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

    The formats of nccl-tests and OSU have one library a file: of several, FILE.log becomes FILE-LIBRARY.log.

    Example: collbench export results/latest --format nccl-tests -o latest.log
    """
    from collbench.analysis.export import PER_LIBRARY, by_library
    from collbench.analysis.export import export as write
    from collbench.analysis.frames.load import load
    loaded = load(data)
    for line in loaded.warnings:
        warn(line)
    parts = by_library(loaded) if form in PER_LIBRARY else {}
    if len(parts) < 2:
        parts = {"": loaded}
    elif str(out) == "-":
        raise UsageError(f"{data}: measured with {len(parts)} libraries, and --format {form} has one a file: -o FILE "
                         f"writes {', '.join(f'FILE-{name}' for name in parts)}")
    for name, part in parts.items():
        text, lost = write(part, form)
        for line in lost:
            warn(f"{name}: {line}" if name else line)
        file = out.with_name(f"{out.stem}-{name}{out.suffix}") if name else out
        write_text(file, text)
        if str(out) != "-":
            click.echo(printable(f"{file}: {len(part.points)} points"))
