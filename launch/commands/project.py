"""Project DATA to other scale-up domains."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import GroupedCommand
from collbench.collectives.option_types import RankCount

from ..data_arguments import ALL_DATA, read_data, selected
from ..shared_options import (
    DomainNames,
    domains_options,
    json_option,
    log_options,
    ops_option,
    sizes_option,
    warn,
    write_text,
)

__all__ = ["SECTION", "command"]

SECTION = "forecast"


@click.command(cls=GroupedCommand, short_help="Predict other domains, such as NVL72")
@ALL_DATA
@click.option("--domain", "names", default="nvl72,cm384", show_default=True, type=DomainNames(),
              help="Domains to project to; `collbench domains` lists them.")
@click.option("--to", "at_ranks", type=RankCount(2), default=None,
              help="Ranks in each domain.  [default: the whole domain]")
@click.option("--dies", is_flag=True, help="One rank per die rather than per accelerator.")
@ops_option("Project only these operations.")
@sizes_option("Project only these message sizes.")
@domains_options
@json_option("Write the projections as JSON; - is standard output.")
@log_options
def command(data: tuple[Path, ...], names: str, ops: tuple[str, ...], sizes: tuple[int, ...], file: Path | None,
            at_ranks: int | None, dies: bool, measured_on: str | None, nic: str | None, json_file: Path | None,
            log_ranks: int | None, log_op: str | None) -> None:
    """Predict how long the operations and sizes of DATA would take on other scale-up domains, side by side.

    Example: collbench project results/latest --domain nvl72,cm384
    """
    from itertools import combinations

    from collbench.analysis.domains.facts import domain_named
    from collbench.analysis.projection import as_json, project, versus
    from collbench.analysis.text.json_text import json_text
    read = read_data(data, log_ranks, log_op, measured_on, nic, file)
    domains = read.domains
    keys = list(dict.fromkeys(domain_named(name.strip(), domains) for name in names.split(",")))
    for warning in read.loaded.warnings:
        warn(warning)
    kept: dict = {}
    frame = project(read.loaded.points, keys, domains, at_ranks, dies, read.measured_on, kept)
    if not len(frame):
        raise UsageError(f"{data[0]}: contains no collective over 2 or more ranks, so there is nothing to project")
    frame = selected(frame, ops, sizes)     # every projection learns from all of DATA
    counts = dict(zip(frame["domain"], frame["ranks"], strict=True))
    lines = [line for first, second in combinations(keys, 2)
             for line in versus(kept, first, second, domains, counts)]
    shown = {*zip(frame["op"], frame["asked_bytes"], strict=True)}
    lines = [line for line in lines if (line.op, line.asked_bytes) in shown]
    if json_file:
        write_text(json_file, json_text("project", {"projections": as_json(frame, lines)}))
    if str(json_file) != "-":
        from collbench.analysis.projection.show import show
        show(frame, lines, domains)
    if (frame["kind"] == "refused").all():
        raise UsageError("; ".join(dict.fromkeys(frame["reason"])))
