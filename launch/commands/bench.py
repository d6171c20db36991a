"""The main job: measure this machine, extrapolate, report."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import OUTPUT, RUN, WHAT, GroupedCommand, option
from collbench.collectives.option_types import Amount, RankCount, TransportName

from ..shared_options import (
    backend_option,
    csv_option,
    device_option,
    json_option,
    library_log_option,
    only_data_on_stdout,
    report_on,
    verbose_option,
    warn,
    write_points,
)

__all__ = ["SECTION", "command"]

SECTION = "measure"


@click.command(cls=GroupedCommand, short_help="Measure this machine, extrapolate, report")
@option("--out", group=OUTPUT, type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Directory for all results.  [default: results/<time>-<host>]")
@option("--budget", group=RUN, type=Amount(min=5.0), default=None,
        help="Time to measure in seconds, all transports together.  [default: 170]")
@option("--ranks", group=RUN, type=RankCount(2), default=None,
        help="Ranks to start.  [default: one per accelerator; on CPUs one per core, from 8 to 32 on one host]")
@option("--transport", group=WHAT, type=TransportName("all"), default="all", show_default=True,
        help="Communication libraries to measure.")
@device_option
@backend_option
@option("--profile", group=WHAT, type=click.Choice(("full", "smoke")), default="full", show_default=True,
        help="smoke: every operation and element type once, for CI: some 20 lines, in a minute on an idle machine.")
@option("--resume", group=RUN, is_flag=True, help="Resume the measurement in --out: measure missing cases only.")
@json_option("Also write the measured points as JSON; - is standard output.")
@csv_option("Also write the measured points as CSV; - is standard output.")
@library_log_option
@verbose_option
@option("-q", "--quiet", group=OUTPUT, is_flag=True, help="Print the ten lines of the answer, and nothing before them.")
def command(out: Path | None, budget: float | None, ranks: int | None, transport: str, device: str,
            backend: str | None, profile: str, resume: bool, json_file: Path | None, csv_file: Path | None,
            library_log: bool, verbose: bool, quiet: bool) -> None:
    """The main job: measure this machine, extrapolate, report.

    Example: collbench bench --budget 60 --out results/first
    """
    from .. import bench as job
    from ..supervise import was_stopped
    job.refuse_to_be_a_rank()
    transports = job.available_transports(transport)
    if resume and out is None:
        raise UsageError("--resume needs --out: the directory of the measurement to resume")
    plan = job.plan_bench(job.PROFILES[profile], transports, ranks, device, backend or None)
    path = job.new_run_directory(out)
    with only_data_on_stdout(json_file, csv_file):
        status = job.bench(path, plan, budget, resume, library_log, quiet)
        if not job.conclude(path, latest=True):
            click.echo("collbench: nothing was measured", err=True)
            sys.exit(status or 1)
        stopped = was_stopped(status)       # whoever stops it does not wait for a page
        report_on(path, None if stopped else path, verbose)
        if stopped:
            warn(f"stopped; collbench report {path} writes the page, collbench bench --resume --out {path} goes on")
    write_points(path, json_file, csv_file)
    sys.exit(status)
