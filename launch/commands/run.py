"""Measure what the options say, as a rank of an existing job or by starting ranks here."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import RUN, GroupedCommand, option
from collbench.collectives.option_types import RankCount
from collbench.collectives.options import RunConfig, config_from, measuring_options

from ..allocation import default_ranks
from ..shared_options import (
    RANKS_HERE,
    csv_option,
    json_option,
    library_log_option,
    only_data_on_stdout,
    write_points,
)
from ..workload import display_mode, typed_command

__all__ = ["SECTION", "command"]

SECTION = "measure"


@click.command(cls=GroupedCommand, short_help="Measure what the options say")
@option("--ranks", group=RUN, type=RankCount(), default=None, help=RANKS_HERE)
@json_option("Also write the measured points as JSON; - is standard output.")
@csv_option("Also write the measured points as CSV; - is standard output.")
@library_log_option
@measuring_options
def command(ranks: int | None, json_file: Path | None, csv_file: Path | None, library_log: bool,
            **values: object) -> None:
    """Measure what the options say: as one rank of a job that a launcher started, or by starting ranks on this host.

    Example: collbench run --transport mpi --ranks 4 --ops all_reduce,all_to_all -b 8 -e 4M --in-order
    """
    from collbench.collectives.program.rank import run_rank
    from collbench.collectives.ranks.rendezvous import find_place

    from ..bench import run_directory
    place, out = find_place(), values["out"]
    if place is not None and out is None:
        raise UsageError("--out DIRECTORY is needed under a launcher: every rank must name the same one")
    config = config_from(values, Path(str(out or run_directory())), typed_command())
    with only_data_on_stdout(json_file, csv_file):
        if place is not None:
            status = run_rank(config, place)
        else:
            status = _run_here(config, ranks, str(values["on_fault"]), library_log)
    if config.journal.exists() and (place is None or place.rank == 0):
        write_points(config.journal.parent, json_file, csv_file)
    sys.exit(status)


def _run_here(config: RunConfig, ranks: int | None, on_fault: str, library_log: bool) -> int:
    import msgspec

    from .. import bench as job
    from ..device_choice import accelerators_for, check_ranks, every
    from ..job import Job
    from ..launchers import launcher_for
    from ..library_log import has_log, log_library
    from ..supervise import run_job, run_through_faults, was_stopped
    job.available_transports(config.transport)
    devices = every(config.device_stride, accelerators_for(config.device))
    ranks = ranks or default_ranks(devices)
    if config.transport == "torch":
        check_ranks(ranks, devices)
    if max(config.sweep.ranks, default=0) > ranks:
        raise UsageError(f"--group-ranks needs {max(config.sweep.ranks)} ranks, but --ranks is {ranks}")
    path = job.new_run_directory(config.journal.parent)
    if config.display == "auto":
        config = msgspec.structs.replace(config, display=display_mode())
    launcher, status = launcher_for(config.transport), 0
    if library_log and has_log(config, devices is not None):
        status, log = log_library(launcher, Job(config=config, ranks=ranks))
        config = msgspec.structs.replace(config, library_log_from=log)
    if not was_stopped(status):
        start = run_through_faults if on_fault == "continue" else run_job
        status = start(launcher, Job(config=config, ranks=ranks))
    if job.conclude(path):
        click.echo(f"# journal: {path / 'journal.jsonl'}")
    return status
