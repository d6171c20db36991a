"""Predict times and bandwidths at other rank counts on the measured fabric."""

from pathlib import Path

import click

from collbench.collectives.option_groups import GroupedCommand

from ..data_arguments import ALL_DATA, read_data, selected
from ..shared_options import (
    RankList,
    domains_options,
    json_option,
    log_options,
    ops_option,
    sizes_option,
    verbose_option,
    warn,
    write_text,
)

__all__ = ["SECTION", "command"]

SECTION = "forecast"


@click.command(cls=GroupedCommand, short_help="Predict other rank counts of the same fabric")
@ALL_DATA
@click.option("--to", "targets", type=RankList(), default="72,384", show_default=True, help="Rank counts.")
@ops_option("Predict only these operations.")
@sizes_option("Predict only these message sizes.")
@domains_options
@json_option("Write the predictions as JSON; - is standard output.")
@verbose_option
@log_options
def command(data: tuple[Path, ...], targets: tuple[int, ...], ops: tuple[str, ...], sizes: tuple[int, ...],
            measured_on: str | None, nic: str | None, file: Path | None, json_file: Path | None, verbose: bool,
            log_ranks: int | None, log_op: str | None) -> None:
    """Predict times and bandwidths at other rank counts of the fabric that DATA was measured on.

    Prints the latency of the smallest and the bandwidth of the largest message of a few operations; -v and --json have
    every series. At rank counts that were measured, it is what was measured.

    Example: collbench extrapolate results/latest --to 72,384 --ops all_reduce --json predictions.json
    """
    import pandas as pd

    from collbench.analysis.forecast import as_json
    from collbench.analysis.forecast import extrapolate as predict
    from collbench.analysis.projection import home_of
    from collbench.analysis.text.json_text import json_text
    read = read_data(data, log_ranks, log_op, measured_on, nic, file)
    for warning in read.loaded.warnings:
        warn(warning)
    home = read.measured_on or home_of(read.loaded.points, read.domains)
    points = selected(read.loaded.points, ops, ())
    frame = predict(points, targets, (home, read.domains[home]) if home else None)
    points = selected(points, (), sizes)
    refused = frame["kind"] == "refused"            # for all sizes of a series
    frame = pd.concat([selected(frame[~refused], (), sizes), frame[refused]]) if sizes and not refused.all() else frame
    if json_file:
        write_text(json_file, json_text("extrapolate", {"predictions": as_json(frame)}))
    if str(json_file) != "-":
        from collbench.analysis.report.terminal import show_forecast
        show_forecast(points, frame, targets, verbose)
