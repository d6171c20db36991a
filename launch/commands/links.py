"""Measure every pair of ranks in isolation, and localise slow ranks, hosts and links."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collbench.collectives.cases import catalog
from collbench.collectives.errors import UsageError, printable
from collbench.collectives.option_groups import HOW, OUTPUT, RUN, WHAT, GroupedCommand, option
from collbench.collectives.option_types import Amount, RankCount, Size, TransportName
from collbench.collectives.options import RunConfig
from collbench.collectives.records.record import Policy

from ..allocation import default_ranks
from ..shared_options import (
    RANKS_HERE,
    backend_option,
    csv_option,
    device_option,
    json_option,
    only_data_on_stdout,
    write_text,
)
from ..workload import Workload

if TYPE_CHECKING:
    from collbench.collectives.topology import Accelerators

__all__ = ["SECTION", "command"]

SECTION = "measure"

_CPU_LARGE, _DEVICE_LARGE = 256 << 10, 64 << 20
_MIN_SAMPLES = 8


@click.command(cls=GroupedCommand, short_help="Measure every pair of ranks; find slow links")
@click.argument("data", required=False, type=click.Path(path_type=Path, exists=True))
@option("--ranks", group=RUN, type=RankCount(2), default=None, help=RANKS_HERE)
@option("--transport", group=WHAT, type=TransportName(), default="torch", show_default=True,
        help="Communication library to measure.")
@device_option
@backend_option
@option("--small", group=WHAT, type=Size(), default="8", show_default=True, help="Message size for the latency.")
@option("--large", group=WHAT, type=Size(), default=None,
        help="Message size for the bandwidth.  [default: 256K; 64M on an accelerator]")
@option("--case-seconds", group=HOW, type=Amount(min=0.0, min_open=True), default=0.1, show_default=True,
        help="Sampling time per round of pairs and mode.")
@option("--precision", group=HOW, type=Amount(min=0.0, max=1.0), default=0.05, show_default=True,
        help="Target relative half-width of the 95 % confidence interval of the slowest pair of a round.")
@option("--out", group=OUTPUT, type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Directory for the journal.  [default: results/<time>-<host>]")
@json_option("Also write a row for every link as JSON; - is standard output.")
@csv_option("Also write a row for every link as CSV; - is standard output.")
def command(data: Path | None, ranks: int | None, json_file: Path | None, csv_file: Path | None, out: Path | None,
            **values: Any) -> None:
    """Measure the link between every two ranks, or show those in DATA.

    All pairs are measured in rounds of disjoint pairs: latency, bandwidth in each direction, and both directions at
    once. Links that are slow for their kind are measured again while all other ranks are idle. Faults are attributed to
    what they have in common: all links of a rank or host, one link, or links that are slow only under contention.

    Example: collbench links --ranks 8 --out results/links
    """
    from collbench.collectives.program.rank import run_rank
    from collbench.collectives.ranks.rendezvous import find_place

    from ..bench import run_directory
    from ..device_choice import accelerators_for
    place = find_place() if data is None else None
    if place is not None and out is None:
        raise UsageError("--out DIRECTORY is needed under a launcher: every rank must name the same one")
    if data is None:
        accelerators = accelerators_for(values["device"])
        config = _config(out or run_directory(), accelerators is not None, **values)
        data = config.journal.parent
        with only_data_on_stdout(json_file, csv_file):
            status = run_rank(config, place) if place is not None else _measure_here(config, ranks, accelerators)
        if status:
            sys.exit(status)
    if place is None or place.rank == 0:
        _show(data, json_file, csv_file)


def _config(out: Path, on_device: bool, transport: str, device: str, backend: str | None, small: int, large: int | None,
            case_seconds: float, precision: float) -> RunConfig:
    sizes = {small, large or (_DEVICE_LARGE if on_device else _CPU_LARGE)}
    policy = Policy(case_s=case_seconds, precision=precision, min_samples=_MIN_SAMPLES)
    workload = Workload(ops=catalog.GROUPS["links"], sizes=tuple(sorted(sizes)), policy=policy)
    return workload.config(transport, out, on_device=on_device, device=device, backend=backend)


def _measure_here(config: RunConfig, ranks: int | None, accelerators: "Accelerators | None") -> int:
    from .. import bench as job
    from ..device_choice import check_ranks
    from ..job import Job
    from ..launchers import launcher_for
    from ..supervise import run_job
    job.available_transports(config.transport)
    ranks = ranks or max(2, default_ranks(accelerators))
    if config.transport == "torch":
        check_ranks(ranks, accelerators)
    path = job.new_run_directory(config.journal.parent)
    status = run_job(launcher_for(config.transport), Job(config=config, ranks=ranks))
    if job.conclude(path):
        click.echo(f"# journal: {path / 'journal.jsonl'}")
    return status


def _show(data: Path, json_file: Path | None, csv_file: Path | None) -> None:
    import pandas as pd

    from collbench.analysis.links import as_text, read_links
    from collbench.analysis.text.json_text import json_rows, json_text
    from collbench.analysis.text.safe_csv import to_csv
    matrices = read_links(data)
    if not matrices:
        raise UsageError(f"{data}: contains no link measurements; collbench links --out DIRECTORY makes them")
    quiet = Path("-") in (json_file, csv_file)
    for matrix in () if quiet else matrices:
        click.echo(printable(as_text(matrix), keep="\n"))
    cells = pd.concat([matrix.cells.assign(transport=matrix.transport, device=matrix.device) for matrix in matrices])
    if json_file:
        write_text(json_file, json_text("links", {"links": json_rows(cells)}))
    if csv_file:
        write_text(csv_file, to_csv(cells))
