"""Back-test the extrapolation on data with several rank counts."""

from pathlib import Path

import click

from collbench.collectives.options import RankCount

from ..shared_options import json_option, warn, write_text

__all__ = ["command"]


@click.command()
@click.argument("files", metavar="DATA...", type=click.Path(path_type=Path, exists=True), nargs=-1,
                required=True)
@click.option("--train-max-ranks", type=RankCount(2), default=None,
              help="Fit on rank counts up to this one.  [default: every split with at least 2 rank counts to fit]")
@json_option("Write points and summary as JSON; - is standard output.")
def command(files: tuple[Path, ...], train_max_ranks: int | None, json_file: Path | None) -> None:
    """Fit on small rank counts of DATA, predict the larger ones, and report how often the prediction intervals hold.

    Example: collbench backtest measurements.csv --train-max-ranks 64 --json backtest.json
    """
    import json

    from collbench.analysis.backtest import backtest, load_rows, summarise
    from collbench.analysis.backtest.show import as_json, table
    points = backtest(load_rows(files, warn), train_max_ranks)
    lines = summarise(points)
    if json_file:
        write_text(json_file, json.dumps(as_json(points, lines), indent=1, allow_nan=False) + "\n")
    else:
        click.echo(table(lines))
