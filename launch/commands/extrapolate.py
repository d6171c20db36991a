"""Times and bandwidths at other rank counts of the fabric that was measured."""

from pathlib import Path

import click

from ..shared_options import DATA, RankList, json_option, log_options, write_text

__all__ = ["command"]


@click.command()
@DATA
@click.option("--to", "targets", type=RankList(), default="72,384", show_default=True, help="Rank counts.")
@json_option("Write the predictions as a list of JSON objects; - is standard output.")
@log_options
def command(data: Path, targets: tuple[int, ...], json_file: Path | None, ranks: int | None,
                op: str | None) -> None:
    """Predict times and bandwidths at other rank counts of the fabric that DATA was measured on.

    Example: collbench extrapolate results/latest --to 72,384 --json predictions.json
    """
    import json

    from analysis.importers import Asked
    from analysis.models import as_json
    from analysis.models import extrapolate as predict
    from analysis.tidy import load
    loaded = load(data, Asked(ranks, op))
    for warning in loaded.warnings:
        click.echo(f"collbench: {warning}", err=True)
    frame = predict(loaded.points, targets)
    if json_file:
        write_text(json_file, json.dumps(as_json(frame), indent=1, allow_nan=False) + "\n")
    else:
        from analysis.report.terminal import show_predictions
        show_predictions(frame)
