"""How often the intervals would have been right on data at several rank counts."""

from pathlib import Path

import click

from collbench.collectives.options import RankCount

from ..shared_options import json_option, write_text

__all__ = ["command"]


@click.command()
@click.argument("files", metavar="DATA...", type=click.Path(path_type=Path, exists=True), nargs=-1,
                required=True)
@click.option("--train-max-ranks", type=RankCount(2), default=None,
              help="Fit on rank counts up to this one.  [default: every split with at least 2 rank counts to fit on]")
@json_option("Write points and summary as JSON; - is standard output.")
def command(files: tuple[Path, ...], train_max_ranks: int | None, json_file: Path | None) -> None:
    """Fit on few ranks, predict the rest, and say how often the intervals of DATA were right.

    Example: collbench backtest measurements.csv --train-max-ranks 64 --json backtest.json
    """
    import json

    from collbench.analysis.backtest import backtest as judge
    from collbench.analysis.backtest import load_rows, scores
    from collbench.analysis.backtest.show import as_json, table
    points = judge(load_rows(files), train_max_ranks)
    lines = scores(points)
    if json_file:
        write_text(json_file, json.dumps(as_json(points, lines), indent=1, allow_nan=False) + "\n")
    else:
        click.echo(table(lines))
