"""Every link by itself: measure all pairs, look again at the slow ones, and say whose fault it is."""

import sys
from pathlib import Path

import click

from collbench.collectives.errors import UsageError, printable
from collbench.collectives.options import Amount, RankCount, config_from

from ..shared_options import csv_option, json_option, write_text

__all__ = ["command"]

_CPU_LARGE, _DEVICE_LARGE = "256K", "64M"


@click.command()
@click.argument("data", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--ranks", type=RankCount(2), default=None,
              help="Ranks to start on this host, where no launcher has started any.  "
                   "[default: one a device; on CPUs one a core, at least 4]")
@click.option("--transport", type=click.Choice(("torch", "mpi")), default="torch", show_default=True,
              help="The library to measure.")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|TYPE",
              help="Where payloads live, as for collbench run.")
@click.option("--small", default="8", show_default=True, metavar="SIZE", help="Message for the latency.")
@click.option("--large", default=None, metavar="SIZE",
              help=f"Message for the bandwidth.  [default: {_CPU_LARGE}; {_DEVICE_LARGE} on an accelerator]")
@click.option("--case-seconds", type=Amount(min=0.0, min_open=True), default=0.1, show_default=True,
              help="Time for one round of pairs in one of two modes.")
@click.option("--precision", type=Amount(min=0.0, max=1.0), default=0.05, show_default=True,
              help="Stop a round when the 95 % interval of its slowest pair is this narrow, either way.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Directory for the journal.  [default: results/<time>-<host>]")
@json_option("Also write a row for every link as JSON; - is standard output.")
@csv_option("Also write a row for every link as CSV; - is standard output.")
def command(data: Path | None, ranks: int | None, transport: str, json_file: Path | None, csv_file: Path | None,
            out: Path | None, **values: object) -> None:
    """Measure the link between every two ranks, or show those that DATA holds.

    All pairs are measured in rounds of disjoint pairs: latency, bandwidth each way, and both ways at once. Links that
    are slow for their kind are measured again while all other ranks rest. What is wrong is told apart by what it
    touches: all links of a rank or host, one link, or links that are slow only beside others.

    Example: collbench links --ranks 8 --out results/links
    """
    from collbench.collectives.ranks.rendezvous import find_place
    place = find_place() if data is None else None
    if place is not None:
        _measure_as_rank(place, out, _words(transport, values))
        if place.rank:
            return
        data = out
    elif data is None:
        data = _measure_here(ranks, transport, out, _words(transport, values))
    _show(data, json_file, csv_file)


def _words(transport: str, values: dict) -> list[str]:
    """Options of the rank program."""
    large = values["large"] or (_DEVICE_LARGE if _on_device(str(values["device"])) else _CPU_LARGE)
    return ["--transport", transport, "--device", str(values["device"]), "--ops", "links",
            "--sizes", f"{values['small']},{large}", "--case-seconds", str(values["case_seconds"]),
            "--precision", str(values["precision"]), "--min-samples", "8"]


def _on_device(device: str) -> bool:
    from collbench.collectives.topology import find_accelerators
    return device != "cpu" and find_accelerators() is not None


def _measure_as_rank(place: object, out: Path | None, words: list[str]) -> None:
    from collbench.collectives.program.rank import main, run_rank
    if out is None:
        raise UsageError("--out DIRECTORY is needed under a launcher: every rank must name the same one")
    given = main.make_context("collbench links", [*words, "--out", str(out)]).params
    status = run_rank(config_from(given, out, ("collbench", *sys.argv[1:])), place)
    if status:
        sys.exit(status)


def _measure_here(ranks: int | None, transport: str, out: Path | None, words: list[str]) -> Path:
    from collbench.collectives.program.rank import main
    from collbench.collectives.topology import find_accelerators, usable_cores

    from .. import bench as job
    from ..job import Job
    from ..launchers.base import launcher_for
    from ..supervise import run_job
    config_from(main.make_context("collbench links", list(words)).params, Path("."), ())     # refused before it starts
    devices = find_accelerators()
    ranks = ranks or (devices.count if devices else max(4, len(usable_cores())))
    job.available_transports(transport)
    path = job.new_run_directory(out)
    display = "live" if sys.stdout.isatty() else "plain"
    status = run_job(launcher_for(transport),
                     Job(arguments=(*words, "--out", str(path), "--display", display), ranks=max(2, ranks)))
    if job.conclude(path):
        click.echo(f"# journal: {path / 'journal.jsonl'}")
    if status:
        sys.exit(status)
    return path


def _show(data: Path, json_file: Path | None, csv_file: Path | None) -> None:
    import pandas as pd

    from collbench.analysis.links import as_text, read_links
    from collbench.analysis.text.safe_csv import to_csv
    matrices = read_links(data)
    if not matrices:
        raise UsageError(f"{data}: no links were measured there: collbench links --out DIRECTORY measures them")
    quiet = Path("-") in (json_file, csv_file)
    for matrix in () if quiet else matrices:
        click.echo(printable(as_text(matrix), keep="\n"))
    cells = pd.concat([matrix.cells.assign(transport=matrix.transport, device=matrix.device) for matrix in matrices])
    if json_file:
        write_text(json_file, cells.to_json(orient="records", indent=1) + "\n")
    if csv_file:
        write_text(csv_file, to_csv(cells))
