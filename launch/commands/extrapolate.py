"""Predict times and bandwidths at other rank counts on the measured fabric."""

from pathlib import Path

import click

from ..shared_options import DATA, RankList, domains_options, json_option, log_options, warn, write_text

__all__ = ["command"]


@click.command()
@DATA
@click.option("--to", "targets", type=RankList(), default="72,384", show_default=True, help="Rank counts.")
@domains_options
@json_option("Write the predictions as JSON; - is standard output.")
@log_options
def command(data: Path, targets: tuple[int, ...], measured_on: str | None, nic: str | None, file: Path | None,
            json_file: Path | None, log_ranks: int | None, log_op: str | None) -> None:
    """Predict times and bandwidths at other rank counts of the fabric that DATA was measured on.

    Example: collbench extrapolate results/latest --to 72,384 --json predictions.json
    """
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.forecast import as_json
    from collbench.analysis.forecast import extrapolate as predict
    from collbench.analysis.frames.load import load
    from collbench.analysis.importers import LogHints
    from collbench.analysis.projection import home_of
    from collbench.analysis.text.json_text import json_text
    domains = with_cards(load_domains(file), nic)
    asked = domain_named(measured_on, domains) if measured_on else None
    loaded = load(data, LogHints(log_ranks, log_op))
    for warning in loaded.warnings:
        warn(warning)
    home = asked or home_of(loaded.points, domains)
    frame = predict(loaded.points, targets, (home, domains[home]) if home else None)
    if json_file:
        write_text(json_file, json_text("extrapolate", {"predictions": as_json(frame)}))
    else:
        from collbench.analysis.report.terminal import show_predictions
        show_predictions(frame)
