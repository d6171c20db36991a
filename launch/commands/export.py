"""Write DATA in the format of another tool."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import GroupedCommand, option

from ..data_arguments import read_data
from ..shared_options import DATA, RankList, domains_options, log_options, warn, write_bytes, write_text

if TYPE_CHECKING:
    from collbench.analysis.frames.load import Loaded

__all__ = ["SECTION", "command"]

SECTION = "read"

_COSTS = "Tables of costs (--to)"
# The tools by their modules, which load with the analysis and so only when one is asked for.
_TOOLS = tuple(sorted(path.stem.replace("_", "-") for path in
                      Path(__file__).parents[2].glob("analysis/export/targets/*.py")
                      if path.stem not in ("__init__", "written")))


@click.command(cls=GroupedCommand, short_help="Write runs in the format of another tool")
@DATA
@click.option("--format", "form", default=None, type=click.Choice(("nccl-tests", "osu", "csv", "json", "collectivex")),
              help="Format of a log; json is that of nccl-tests, one document per line, and collectivex that of "
                   "exchanges between experts.")
@option("--to", "tool", group=_COSTS, default=None, type=click.Choice(_TOOLS), metavar="TOOL",
        help=f"Planner or simulator: {', '.join(_TOOLS)}.")
@option("--ranks", group=_COSTS, type=RankList(), default=(), help="Rank counts to forecast, besides those measured.")
@click.option("-o", "--out", type=click.Path(path_type=Path, allow_dash=True), default="-", show_default=True,
              help="File to write, - is standard output; with --to a folder.")
@domains_options
@log_options
def command(data: Path, form: str | None, tool: str | None, ranks: tuple[int, ...], out: Path,
            measured_on: str | None, nic: str | None, file: Path | None, log_ranks: int | None,
            log_op: str | None) -> None:
    """Write DATA in the format of another tool: as a log, or as a table of costs for a planner or simulator.

    The formats of nccl-tests and OSU have one library a file: of several, FILE.log becomes FILE-LIBRARY.log.

    A table of costs has measured times, and forecasts for --ranks; TOOL-provenance.csv beside it says of every row
    which it is, with interval and origin.

    Example: collbench export results/latest --to aiconfigurator --ranks 16,72 -o tables
    """
    if (form is None) == (tool is None):
        raise UsageError("give either --format, for a log, or --to, for a table of costs")
    if form:
        _log(data, form, out, log_ranks, log_op)
        return
    if str(out) == "-":
        raise UsageError(f"--to {tool} writes several files: give a folder with -o")
    _costs(data, str(tool), ranks, out, measured_on, nic, file, log_ranks, log_op)


def _log(data: Path, form: str, out: Path, log_ranks: int | None, log_op: str | None) -> None:
    from collbench.analysis.export import PER_LIBRARY, by_library
    from collbench.analysis.export import export as write
    from collbench.analysis.frames.load import load
    from collbench.analysis.importers import LogHints
    loaded = load(data, LogHints(log_ranks, log_op))
    for line in loaded.warnings:
        warn(line)
    parts: dict[str, Loaded] = by_library(loaded) if form in PER_LIBRARY else {}
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


def _costs(data: Path, tool: str, ranks: tuple[int, ...], out: Path, measured_on: str | None, nic: str | None,
           domains: Path | None, log_ranks: int | None, log_op: str | None) -> None:
    from collbench.analysis.export.costs import by_fabric
    from collbench.analysis.export.targets import export_costs, target_named
    from collbench.analysis.projection import home_of
    read = read_data((data,), log_ranks, log_op, measured_on, nic, domains)
    for line in read.loaded.warnings:
        warn(line)
    fabrics = list(by_fabric(read.loaded.points))
    written = 0
    for fabric in fabrics:
        home = read.measured_on or home_of(fabric.points, read.domains)
        where, folder = (f"{fabric.name}: ", out / fabric.name) if len(fabrics) > 1 else ("", out)
        try:
            made = export_costs(fabric.points, target_named(tool), ranks, (home, read.domains[home]) if home else None)
        except UsageError as error:
            if fabric is fabrics[-1] and not written:
                raise
            warn(f"{where}{error}")
            continue
        written += 1
        for line in made.notes:
            warn(f"{where}{line}")
        for name, content in made.files.items():
            write_bytes(folder / name, content.encode() if isinstance(content, str) else content)
        click.echo(printable(f"{folder}: {', '.join(made.files)}; {made.measured} measured and {made.extrapolated} "
                             "extrapolated times"))
