"""Predict times and bandwidths at other rank counts on the measured fabric."""

from pathlib import Path

import click

from ..data_arguments import ALL_DATA, read_data
from ..shared_options import RankList, domains_options, json_option, log_options, warn, write_text

__all__ = ["command"]


@click.command()
@ALL_DATA
@click.option("--to", "targets", type=RankList(), default="72,384", show_default=True, help="Rank counts.")
@domains_options
@json_option("Write the predictions as JSON; - is standard output.")
@log_options
def command(data: tuple[Path, ...], targets: tuple[int, ...], measured_on: str | None, nic: str | None,
            file: Path | None, json_file: Path | None, log_ranks: int | None, log_op: str | None) -> None:
    """Predict times and bandwidths at other rank counts of the fabric that DATA was measured on.

    Example: collbench extrapolate results/latest --to 72,384 --json predictions.json
    """
    from collbench.analysis.forecast import as_json
    from collbench.analysis.forecast import extrapolate as predict
    from collbench.analysis.projection import home_of
    from collbench.analysis.text.json_text import json_text
    read = read_data(data, log_ranks, log_op, measured_on, nic, file)
    for warning in read.loaded.warnings:
        warn(warning)
    home = read.measured_on or home_of(read.loaded.points, read.domains)
    frame = predict(read.loaded.points, targets, (home, read.domains[home]) if home else None)
    if json_file:
        write_text(json_file, json_text("extrapolate", {"predictions": as_json(frame)}))
    else:
        from collbench.analysis.report.terminal import show_predictions
        show_predictions(frame)
