"""Print the report without writing files."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError

from ..shared_options import DATA, domains_options, log_options, verbose_option

__all__ = ["command"]


@click.command()
@DATA
@click.option("--ops", "op_names", metavar="NAME,...", default="",
              help="Also print everything else, with tables of these operations, or of all.")
@verbose_option
@domains_options
@log_options
def command(data: Path, op_names: str, verbose: bool, measured_on: str | None, nic: str | None, file: Path | None,
            log_ranks: int | None, log_op: str | None) -> None:
    """Print the verdict on DATA, its headline results and their predictions at 72 and 384 ranks. Writes no files.

    Example: collbench summary results/latest --ops all_to_all,send_recv
    """
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.importers import LogHints
    from collbench.analysis.report.story import build_story
    from collbench.analysis.report.terminal import show
    domains = with_cards(load_domains(file), nic)
    story = build_story(data, asked=LogHints(log_ranks, log_op), known=domains,
                        measured_on=domain_named(measured_on, domains) if measured_on else None)
    known = list(story.shown["op"].unique())
    wanted = known if op_names == "all" else [name.strip() for name in op_names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--ops {name}: not in {data}, which contains {', '.join(known)}")
    show(story, ops=wanted or None, verbose=verbose)
