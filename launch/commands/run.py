"""Measure what the options say, as a rank of somebody's job or by starting ranks here."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import UsageError
from collbench.collectives.options import RankCount, config_from, measuring_options

from ..shared_options import csv_option, given_options, json_option, write_points

__all__ = ["command"]

_OWN = ("ranks", "json_file", "csv_file", "out", "display")        # what the ranks are not given as it was typed


@click.command()
@click.option("--ranks", type=RankCount(), default=None,
              help="Ranks to start on this host, where no launcher has started any.  [default: 2]")
@json_option("Also write the measured points as JSON; - is standard output.")
@csv_option("Also write the measured points as CSV; - is standard output.")
@measuring_options
def command(ranks: int | None, json_file: Path | None, csv_file: Path | None, **values: object) -> None:
    """Measure what the options say: as one rank of a job that a launcher started, or by starting ranks on this host.

    Example: collbench run --transport mpi --ranks 4 --ops all_reduce,all_to_all -b 8 -e 4M --in-order
    """
    from collbench.collectives.ranks.rendezvous import find_place
    place = find_place()
    if place is not None:
        _run_as_rank(place, values)
    write_points(_run_here(ranks or 2, values), json_file, csv_file)


def _run_as_rank(place: object, values: dict) -> None:
    from collbench.collectives.program.rank import run_rank
    if values["out"] is None:
        raise UsageError("--out DIRECTORY is needed under a launcher: every rank must name the same one")
    sys.exit(run_rank(config_from(values, values["out"], ("collbench", *sys.argv[1:])), place))


def _run_here(ranks: int, values: dict) -> Path:
    from .. import bench as job
    from ..job import Job
    from ..launchers.base import launcher_for
    from ..supervise import run_job, run_through_faults
    request = config_from(values, Path("."), ())     # what contradicts itself is refused before anything is started
    if max(request.sweep.ranks, default=0) > ranks:
        raise UsageError(f"--group-ranks asks for groups of {max(request.sweep.ranks)} ranks, but --ranks is {ranks}")
    job.available_transports(str(values["transport"]))
    path = job.new_run_directory(values["out"])
    display = "live" if sys.stdout.isatty() and values["display"] == "auto" else values["display"]
    words = [*given_options(_OWN), "--out", str(path), "--display", display]
    start = run_through_faults if values["on_fault"] == "continue" else run_job
    status = start(launcher_for(str(values["transport"])), Job(arguments=tuple(words), ranks=ranks))
    if job.conclude(path):
        click.echo(f"# journal: {path / 'journal.jsonl'}")
    if status:
        sys.exit(status)
    return path
