"""List the known scale-up domains, with the source of every number."""

from pathlib import Path

import click

from collbench.collectives.option_groups import GroupedCommand

from ..shared_options import DomainNames, domain_file_option, json_option, write_text

__all__ = ["SECTION", "command"]

SECTION = "manage"


@click.command(cls=GroupedCommand, short_help="Scale-up domains, with the source of every figure")
@click.argument("name", required=False, type=DomainNames("NAME"))
@domain_file_option
@json_option("Write the facts of each domain as JSON; - is standard output.")
def command(name: str | None, file: Path | None, json_file: Path | None) -> None:
    """List the scale-up domains that can be projected to or simulated; with NAME, every number of one and its source.

    Example: collbench domains cm384
    """
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.domains.show import as_json, show_all, show_one
    from collbench.analysis.text.json_text import json_text
    domains = load_domains(file)
    if name:
        key = domain_named(name, domains)
        domains = {key: domains[key]}
    if json_file:
        write_text(json_file, json_text("domains", {"domains": as_json(domains)}))
    if str(json_file) == "-":
        return
    if name:
        show_one(key, domains[key])
    else:
        show_all(domains)
