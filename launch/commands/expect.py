"""What operations should take, without measuring them."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import OUTPUT, WHAT, GroupedCommand, option
from collbench.collectives.option_types import Amount, Operations, Sizes

from ..shared_options import (
    DomainNames,
    OutputFile,
    RankList,
    domain_file_option,
    json_option,
    only_data_on_stdout,
    write_text,
)

__all__ = ["SECTION", "command"]

SECTION = "forecast"
_SYSTEM = "System"


@click.command(cls=GroupedCommand, short_help="What to expect without measuring")
@click.argument("ops", type=Operations(), metavar="OP,...")
@option("--ranks", group=WHAT, type=RankList(), required=True, help="Rank counts.")
@option("--sizes", "--size", "sizes", group=WHAT, type=Sizes(), default=(), help="Message sizes, as nccl-tests counts "
        "them.  [default: 1G, or those of --data]")
@option("--domain", "name", group=_SYSTEM, type=DomainNames("NAME"), default=None, help="The domain, or the host of a "
        "cluster, such as hgx_h100_8; `collbench domains` lists them.")
@option("--nic", group=_SYSTEM, default=None, metavar="CARDS", help="Network cards of a host and the rate of each, as "
        "in 8x400G, instead of those that the facts of the domain assume.")
@option("--data", group=_SYSTEM, type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
        help="Measurements of the system at fewer ranks: extrapolate these.")
@domain_file_option
@json_option("Write the expectations as JSON; - is standard output.")
@option("--thresholds", "gate_file", group=OUTPUT, type=OutputFile(allow_dash=True), default=None, metavar="FILE",
        help="Write the least bus bandwidth that passes, as a gate for another tool; - is standard output.")
@option("--format", "form", group=OUTPUT, type=click.Choice(("yaml", "superbench", "reframe")), default="yaml",
        show_default=True, help="Of the thresholds: plain YAML, SuperBench rules, a ReFrame reference.")
@option("--tolerance", group=OUTPUT, type=Amount(min=0.0, max=0.9), default=0.1, show_default=True,
        help="Share below the extrapolation of --data at which a threshold lies.")
def command(ops: tuple[str, ...], ranks: tuple[int, ...], sizes: tuple[int, ...], name: str | None, nic: str | None,
            data: Path | None, file: Path | None, json_file: Path | None, gate_file: Path | None, form: str,
            tolerance: float) -> None:
    """Say how long operations should take at these ranks and message sizes: from published runs of the same hardware,
    else a projection, else the bound of its links and cards; or from --data.

    Example: collbench expect all_reduce --domain hgx_h100_8 --ranks 16 --size 1G --nic 8x400G
    """
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.expect import expect, expect_from, thresholds
    from collbench.analysis.expect.show import show
    from collbench.analysis.text.json_text import json_text
    facts = load_domains(file)
    domains = with_cards(facts, nic)
    key = domain_named(name, domains) if name else None
    if data is not None:
        from collbench.analysis.frames.pool import data_files, load_all
        from collbench.analysis.projection import home_of
        points = load_all(data_files([data])).points
        key = key or home_of(points, domains)
        cases = expect_from(data, points, ops, (key, domains[key]) if key else None, ranks, sizes or None)
    elif key is None:
        raise UsageError("--domain is missing: on what hardware (collbench domains lists it)? Or --data, measurements "
                         "of your system")
    else:
        cases = expect(ops, key, domains[key], ranks, sizes or (1 << 30,), facts[key])
    with only_data_on_stdout(json_file, gate_file):
        show(cases)
    if gate_file:
        write_text(gate_file, thresholds(cases, form, tolerance))
    if json_file:
        write_text(json_file, json_text("expect", {"expectations": [case.as_json() for case in cases]}))
