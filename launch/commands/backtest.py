"""Back-test the extrapolation on data with several rank counts."""

from pathlib import Path

import click

from collbench.collectives.option_groups import GroupedCommand
from collbench.collectives.option_types import RankCount

from ..shared_options import domains_options, json_option, warn, write_text

__all__ = ["SECTION", "command"]

SECTION = "forecast"


@click.command(cls=GroupedCommand, short_help="How often predictions hold on known data")
@click.argument("files", metavar="DATA...", type=click.Path(path_type=Path, exists=True), nargs=-1,
                required=True)
@click.option("--train-max-ranks", type=RankCount(2), default=None,
              help="Fit on rank counts up to this one.  [default: every split]")
@domains_options
@json_option("Write points and summary as JSON; - is standard output.")
def command(files: tuple[Path, ...], train_max_ranks: int | None, measured_on: str | None, nic: str | None,
            file: Path | None, json_file: Path | None) -> None:
    """Fit on small rank counts of DATA, predict the larger ones, and report how often the prediction intervals hold.

    Each prediction is made as `collbench extrapolate` makes it, without what was learned from the same data set.

    Example: collbench backtest measurements.csv --train-max-ranks 64 --json backtest.json
    """
    from collbench.analysis.backtest import backtest, load_rows, summarise
    from collbench.analysis.backtest.show import as_json, table
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.text.json_text import json_text
    domains = with_cards(load_domains(file), nic)
    asked = domain_named(measured_on, domains) if measured_on else None
    points = backtest(load_rows(files, warn), train_max_ranks, asked, domains)
    lines = summarise(points)
    if json_file:
        write_text(json_file, json_text("backtest", as_json(points, lines)))
    if str(json_file) != "-":
        click.echo(table(lines))
