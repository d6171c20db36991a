"""Print the report without writing files."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import GroupedCommand

from ..data_arguments import ALL_DATA, read_data
from ..shared_options import domains_options, log_options, ops_option, verbose_option

__all__ = ["SECTION", "command"]

SECTION = "read"


@click.command(cls=GroupedCommand, short_help="Ten lines on runs or logs; writes no files")
@ALL_DATA
@ops_option("Also print everything else, with tables of these operations, or of all.")
@verbose_option
@domains_options
@log_options
def command(data: tuple[Path, ...], ops: tuple[str, ...], verbose: bool, measured_on: str | None,
            nic: str | None, file: Path | None, log_ranks: int | None, log_op: str | None) -> None:
    """Print the verdict on DATA, its headline results and their predictions at 72 and 384 ranks. Writes no files.

    Example: collbench summary results/latest --ops all_to_all,send_recv
    """
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    read = read_data(data, log_ranks, log_op, measured_on, nic, file)
    story = build_story(read.paths, known=read.domains, measured_on=read.measured_on, loaded=read.loaded)
    known = list(story.shown["op"].unique())
    wanted = known if "all" in ops else list(ops)
    for name in wanted:
        if name not in known:
            raise UsageError(f"--ops {name}: not in the data, which contain {', '.join(known)}")
    show(story, ops=wanted or None, verbose=verbose)
