"""What operations should take, without measuring them."""

from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.options import Amount, Size

from ..shared_options import OutputFile, RankList, json_option, write_text

__all__ = ["command"]


@click.command()
@click.argument("ops", metavar="OP,...")
@click.option("--domain", "name", default=None, metavar="NAME", help="The domain, or the host of a cluster, such as "
              "hgx_h100_8; `collbench domains` lists them.")
@click.option("--ranks", type=RankList(), required=True, help="Rank counts.")
@click.option("--size", "sizes", default=None, metavar="SIZE,...", help="Message sizes as nccl-tests counts them.  "
              "[default: 1G, or those of --data]")
@click.option("--data", type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
              help="Measurements of the system at fewer ranks: extrapolate these.")
@click.option("--nic", default=None, metavar="CARDS", help="Network cards of a host and the rate of each, such as "
              "8x400G, instead of those that the facts of the domain assume.")
@click.option("--domain-file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=None,
              help="TOML file with additional domains, in the format of the shipped ones.")
@json_option("Write the expectations as a JSON document; - is standard output.")
@click.option("--thresholds", "gate_file", type=OutputFile(allow_dash=True), default=None, metavar="FILE",
              help="Write the least bus bandwidth that passes, as a gate for another tool.")
@click.option("--format", "form", type=click.Choice(("yaml", "superbench", "reframe")), default="yaml",
              show_default=True, help="Of the thresholds: plain YAML, SuperBench rules, a ReFrame reference.")
@click.option("--tolerance", type=Amount(min=0.0, max=0.9), default=0.1, show_default=True,
              help="Share below the extrapolation of --data at which the threshold lies.")
def command(ops: str, name: str | None, ranks: tuple[int, ...], sizes: str | None, data: Path | None,
            nic: str | None, file: Path | None, json_file: Path | None, gate_file: Path | None, form: str,
            tolerance: float) -> None:
    """Say how long operations should take at these ranks and message sizes: from published runs of the same hardware,
    else a projection, else the bound of its links and cards; or from --data.

    Example: collbench expect all_reduce --domain hgx_h100_8 --ranks 16 --size 1G --nic 8x400G
    """
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.expect import expect, expect_from, thresholds
    from collbench.analysis.expect.show import show
    from collbench.analysis.importers.shared.names import requested_op
    from collbench.analysis.text.json_text import json_text
    asked = list(dict.fromkeys(requested_op(op) for op in ops.split(",")))
    wanted = None if sizes is None else tuple(dict.fromkeys(Size().convert(size, None, None)
                                                            for size in sizes.split(",")))
    facts = load_domains(file)
    domains = with_cards(facts, nic)
    key = domain_named(name, domains) if name else None
    if data is not None:
        from collbench.analysis.frames.load import load
        from collbench.analysis.projection import home_of
        points = load(data).points
        key = key or home_of(points, domains)
        cases = expect_from(data, points, asked, (key, domains[key]) if key else None, ranks, wanted)
    elif key is None:
        raise UsageError("--domain is missing: on what hardware (collbench domains lists it)? Or --data, measurements "
                         "of your system")
    else:
        cases = expect(asked, key, domains[key], ranks, wanted or (1 << 30,), facts[key])
    if gate_file:
        write_text(gate_file, thresholds(cases, form, tolerance))
    if json_file:
        write_text(json_file, json_text("expect", {"expectations": [case.as_json() for case in cases]}))
    elif str(gate_file) != "-":
        show(cases)
