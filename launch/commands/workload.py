"""What a step of a model costs in communication on a domain, or on the machine that was measured."""

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import OUTPUT, WHAT, GroupedCommand, option

from ..data_arguments import read_data
from ..shared_options import DomainNames, OutputFile, domains_options, json_option, warn, write_text

__all__ = ["SECTION", "command"]

SECTION = "forecast"
_SYSTEM = "System"
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "ms": 1e-3, "s": 1.0}
_TIMES = re.compile(r"(?P<low>\d+(?:\.\d+)?)\s*(?P<first>ns|us|\u00b5s|ms|s)?(?:\.\.(?P<high>\d+(?:\.\d+)?))?"
                    r"\s*(?P<unit>ns|us|\u00b5s|ms|s)", re.ASCII)


class _Times(click.ParamType):
    """A time or a range of times in seconds, of all systems (an empty name) or of one."""

    name = "[SYSTEM=]TIME..TIME"

    def convert(self, value: object, param: click.Parameter | None,
                ctx: click.Context | None) -> tuple[str, tuple[float, float]]:
        if isinstance(value, tuple):
            return value
        system, _, times = str(value).rpartition("=")
        found = _TIMES.fullmatch(times.strip())
        if found is None or (found["first"] and not found["high"]):
            self.fail(f"{value!r}: expected a time or a range, such as 10ms or 8..12ms", param, ctx)
        unit = _UNITS[found["unit"]]
        low = float(found["low"]) * (_UNITS[found["first"]] if found["first"] else unit)
        high = float(found["high"]) * unit if found["high"] else low
        if not 0 < low <= high < 1e6:
            self.fail(f"{value!r}: the first time must be above 0 and at most the second", param, ctx)
        return system.strip(), (low, high)


class _Name(click.ParamType):
    """A shipped workload or a file."""

    name = "NAME|FILE"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of the shipped workloads."""
        from collbench.analysis.workload import load_workloads
        return [CompletionItem(name, help=one.title) for name, one in load_workloads().items()
                if name.startswith(incomplete)]


@click.command(cls=GroupedCommand, short_help="What a model's step costs in communication")
@click.argument("name", type=_Name(), required=False)
@option("--phase", group=WHAT, default=None, metavar="NAME", help="Phase of the workload: decode, prefill, training.  "
        "[default: the first that it has]")
@option("--parallel", group=WHAT, default=None, metavar="AXIS=N,...", help="Degrees of tp, ep, fsdp, dp and pp, as in "
        "ep=64,tp=1.  [default: those of the phase]")
@option("--tokens", group=WHAT, type=click.IntRange(1, 1 << 30), default=None, help="Tokens of a data-parallel rank in "
        "one step; in training, of a micro-batch.  [default: those of the phase]")
@option("--micro-batches", group=WHAT, type=click.IntRange(1, 1 << 20), default=None, help="Micro-batches of a "
        "training step.  [default: those of the phase]")
@option("--imbalance", group=WHAT, default="1", show_default=True, metavar="X|PATTERN", help="Bytes of the busiest "
        "rank in exchanges between experts over those with balanced routing, or a routing pattern, such as zipf:1.2.")
@option("--compute", group=WHAT, type=_Times(), multiple=True, help="Time that the model computes in a step, as in "
        "8..12ms, or of each system: nvl72=8..12ms. Without it only communication is counted.")
@option("--domain", "names", group=_SYSTEM, type=DomainNames(), default="nvl72,cm384", show_default=True,
        help="Domains; the first two are compared. `collbench domains` lists them.")
@option("--from", "data", group=_SYSTEM, type=click.Path(path_type=Path, exists=True), default=None, metavar="DATA",
        help="Measurements of a machine, which is added.")
@domains_options
@json_option("Write the costs as JSON; - is standard output.")
@option("--markdown", "page", group=OUTPUT, type=OutputFile(allow_dash=True), default=None, metavar="FILE",
        help="Write the costs, every call and the sources as Markdown; - is standard output.")
@option("--sequence", "calls_file", group=OUTPUT, type=OutputFile(), default=None, metavar="FILE",
        help="Write the calls of a step as a list that can be measured: a file that ends in .csv or .toml.")
@option("-v", "--verbose", group=OUTPUT, is_flag=True, help="Also print every call, the sources and what the words "
        "mean.")
def command(name: str | None, phase: str | None, parallel: str | None, tokens: int | None, micro_batches: int | None,
            imbalance: str, compute: tuple[tuple[str, tuple[float, float]], ...], names: str, data: Path | None,
            measured_on: str | None, nic: str | None, file: Path | None, json_file: Path | None, page: Path | None,
            calls_file: Path | None, verbose: bool) -> None:
    """Say what one step of a model costs in communication on scale-up domains, or on a machine that was measured: with
    intervals, what of it can be hidden, the rate of tokens that it allows, and where two domains change places.

    Without NAME, the shipped workloads are listed. FILE is a workload in TOML, a list of calls in CSV or TOML, or a
    trace of Chakra. A rank of a domain with HCCL is a die, as on the devices of such a host; of all others, an
    accelerator.

    Example: collbench workload deepseek-r1 --parallel ep=64,tp=1 --domain nvl72,cm384 --tokens 128
    """
    from collbench.analysis.text.json_text import json_text
    from collbench.analysis.workload import Parallel, load_workloads, workload_named
    from collbench.analysis.workload.report import as_json
    from collbench.analysis.workload.show import markdown, show, show_all
    from collbench.analysis.workload.study import study
    if name is None:
        show_all(load_workloads())
        return
    key, workload = workload_named(name)
    systems = _systems(names, data, measured_on, nic, file)
    report = study(key, workload, phase or next(iter(workload.phases)), systems,
                   Parallel.parse(parallel) if parallel else None, tokens, imbalance, micro_batches, dict(compute))
    if json_file:
        write_text(json_file, json_text("workload", as_json(report)))
    if calls_file:
        from collbench.analysis.workload.sequence import sequence_text
        if calls_file.suffix.lower() not in (".csv", ".toml"):
            raise UsageError(f"--sequence {calls_file}: a list of calls is a file that ends in .csv or .toml")
        write_text(calls_file, sequence_text(report.job, calls_file.suffix.lower()[1:]))
    if page:
        write_text(page, markdown(report))
    if "-" not in (str(json_file), str(page)):
        show(report, verbose)


def _systems(names: str, data: Path | None, measured_on: str | None, nic: str | None, file: Path | None) -> list:
    """The domains, then the machine."""
    from collbench.analysis.cost.cards import with_cards
    from collbench.analysis.domains.facts import domain_named, load_domains
    from collbench.analysis.workload.measured import OnMachine
    from collbench.analysis.workload.price import OnDomain
    domains = with_cards(load_domains(file), nic)
    keys = list(dict.fromkeys(domain_named(name.strip(), domains) for name in names.split(",")))
    systems: list = [OnDomain(key, domains[key]) for key in keys]
    if data is not None:
        from collbench.analysis.projection import home_of
        read = read_data([data], None, None, measured_on, nic, file)
        for warning in read.loaded.warnings:
            warn(warning)
        home = read.measured_on or home_of(read.loaded.points, domains)
        systems.append(OnMachine(data, read.loaded.points, (home, domains[home]) if home else None))
    return systems
