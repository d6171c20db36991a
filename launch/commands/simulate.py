"""Simulate collectives on a platform derived from the facts of a domain."""

import os
import sys
from pathlib import Path

import click

from collbench.collectives.cases.case import size_range
from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import GroupedCommand
from collbench.collectives.option_types import Amount, Size

from ..shared_options import (
    DomainNames,
    OpNames,
    OutputFile,
    RankList,
    domain_file_option,
    json_option,
    warn,
    write_text,
)

__all__ = ["SECTION", "command"]

SECTION = "forecast"


def _names(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


@click.command(cls=GroupedCommand, short_help="Simulate a domain with SimGrid")
@click.option("--domain", "name", required=True, type=DomainNames("NAME"),
              help="Domain to simulate; `collbench domains` lists them.")
@click.option("--ops", default="all_reduce", show_default=True, type=OpNames(),
              help="Operations, or all that can be simulated.")
@click.option("--algorithms", default="all", show_default=True, metavar="NAME,...", callback=_names,
              help="Our names or those of SMPI (ring, rab_rdb), or a library whose selection is simulated: mpich, "
                   "ompi, mvapich2, impi.")
@click.option("--to", "counts", type=RankList(), default=None,
              help="Rank counts.  [default: 2, 4, 8, ... and the whole domain, up to 384]")
@click.option("-b", "--begin", type=Size(), default="1K", show_default=True, help="Smallest message size.")
@click.option("-e", "--end", type=Size(), default="256M", show_default=True, help="Largest message size.")
@click.option("-f", "--factor", type=Amount(min=1, min_open=True), default=8, show_default=True,
              help="Multiply the size by this factor from step to step.")
@click.option("--dies", is_flag=True, help="One rank per die rather than per accelerator.")
@click.option("--latency", type=Amount(min=0, min_open=True), default=None, metavar="SECONDS",
              help="Latency of a path, if no source states it.  [default: 0.5e-6]")
@click.option("--oversubscription", type=Amount(min=1), default=None, metavar="RATIO",
              help="Oversubscription of the outermost of several levels, instead of that of the domain.")
@click.option("--timeout", type=Amount(min=1), default=120, show_default=True, metavar="SECONDS",
              help="Time limit per call; longer ones are stopped and omitted.")
@domain_file_option
@click.option("-o", "--out", type=OutputFile(), default=None,
              help="Write a journal (name ends in .jsonl) or tidy CSV, for `extrapolate`, `backtest`, `report`.")
@json_option("Write the simulated points as JSON; - is standard output.")
def command(name: str, ops: tuple[str, ...], algorithms: tuple[str, ...], counts: tuple[int, ...] | None, begin: int,
            end: int, factor: float, dies: bool, latency: float | None, oversubscription: float | None,
            timeout: float, file: Path | None, out: Path | None, json_file: Path | None) -> None:
    """Simulate collectives on a domain with SimGrid, which knows its links but none of our formulas.

    Example: collbench simulate --domain nvl72 --ops all_reduce --algorithms ring --to 8,72 -o nvl72.csv
    """
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.simulate import ALGORITHMS, cases_of, machine_of, run_cases, version
    from collbench.analysis.simulate.show import as_json, save, show
    from collbench.analysis.text.json_text import json_text
    from collbench.collectives.topology import usable_cores
    domains = load_domains(file)
    key = domain_named(name, domains)
    machine = machine_of(key, domains[key], dies, latency, oversubscription)
    wanted, ways = tuple(ALGORITHMS) if ops == ("all",) else ops, () if algorithms == ("all",) else algorithms
    cases = cases_of(machine, wanted, ways, counts or _counts(machine.levels[-1].ranks), size_range(begin, end, factor))
    if out is not None and os.path.exists(out):
        raise UsageError(f"{out}: already exists; remove it or give another -o")
    click.echo(f"collbench: {len(cases)} calls on SimGrid {version()}; {machine.words()}", err=True)
    with click.progressbar(length=len(cases), file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        result = run_cases(machine, cases, timeout, len(usable_cores()), lambda: bar.update(1))
    for line in result.failures:
        warn(line)
    if out is not None:
        save(result.rows, out)
    if json_file is not None:
        write_text(json_file, json_text("simulate", {"points": as_json(result.rows, key)}))
    if json_file is None or str(json_file) != "-":
        show(result.rows)
    if result.failures:
        sys.exit(1)


def _counts(most: int) -> tuple[int, ...]:
    """Powers of two and the whole domain, up to a size that can be simulated in reasonable time."""
    whole = min(most or 8, 384)
    return tuple(sorted({*(1 << power for power in range(1, whole.bit_length())), whole}))
