"""Start the measurement with a launcher, here or on many hosts, or show what would be started."""

import sys
from pathlib import Path

import click
import msgspec

from collbench.collectives.errors import UsageError
from collbench.collectives.options import RankCount, config_from, measuring_options

from ..job import Job, parse_time
from ..launchers.base import LAUNCHERS, Launcher, open_launcher
from ..shared_options import RankList, given_options

__all__ = ["command"]

_OWN = ("launcher", "dry_run", "preset", "nodes", "ranks_per_node", "hosts", "time", "name", "partition", "account",
        "sbatch", "curve", "python", "out", "transport", "display", "resume")
_PRESETS = ("generic", "nvl72", "cloudmatrix384", "hgx8", "cpu")


@click.command()
@click.option("--launcher", type=click.Choice(tuple(LAUNCHERS)), required=True,
              help="local forks ranks here; torchrun and mpirun reach hosts that are named; slurm submits a job "
                   "script, srun starts ranks in the allocation that this shell is in.")
@click.option("--dry-run", is_flag=True, help="Print the command or the script, and start nothing.")
@click.option("--preset", type=click.Choice(_PRESETS), default=None,
              help="Nodes, ranks, sizes and rank counts of a known system; other options win.")
@click.option("--nodes", type=RankCount(), default=None, help="Hosts.  [default: 1]")
@click.option("--ranks-per-node", type=RankCount(), default=None, help="Ranks on each.  [default: 2]")
@click.option("--hosts", default="", metavar="HOST,...", help="Their names, rank 0's first, for torchrun and mpirun.")
@click.option("--time", default=None, metavar="MINUTES|HH:MM:SS", help="Time limit of the job.")
@click.option("--curve", type=RankList(), default=None,
              help="slurm: rank counts to walk through, each as a launch of its own.")
@click.option("--name", default=None, help="Name of the job.  [default: collbench, or the preset's]")
@click.option("--partition", default=None, help="slurm: where to submit.")
@click.option("--account", default=None, help="slurm: who pays.")
@click.option("--sbatch", multiple=True, metavar="--OPTION=VALUE", help="slurm: a further directive; may be repeated.")
@click.option("--python", default=None, metavar="PATH", help="Interpreter on every host.  [default: this one]")
@measuring_options
def command(launcher: str, dry_run: bool, **values: object) -> None:
    """Start the measurement with a launcher, here or on many hosts, or show what would be started.

    Example: collbench launch --launcher slurm --preset nvl72 --partition batch --time 90 --dry-run > mine.sbatch
    """
    config_from(values, Path("."), ())     # what contradicts itself is refused before anything is started
    job = _job(launcher, values)
    starter = open_launcher(launcher)
    if dry_run:
        click.echo(starter.script(job), nl=False)
        return
    sys.exit(_submit(starter, job) if launcher == "slurm" else _run(starter, job, str(values["on_fault"])))


def _job(launcher: str, values: dict) -> Job:
    """The preset, with what was typed over it."""
    from ..bench import run_directory
    from ..presets import PRESETS
    chosen = values["preset"] and PRESETS[str(values["preset"])]
    base = chosen or Job(arguments=(), ranks=2)
    nodes = values["nodes"] or base.nodes
    ranks = nodes * (values["ranks_per_node"] or base.ranks_per_node)
    measuring = tuple(given_options(_OWN))
    typed = click.get_current_context().get_parameter_source("transport") is click.core.ParameterSource.COMMANDLINE
    name = values["name"] or base.name
    out = values["out"] or (Path("results") / str(name) if launcher == "slurm" else run_directory())
    return msgspec.structs.replace(
        base, arguments=measuring or base.arguments, nodes=nodes, ranks=ranks,
        hosts=tuple(host for host in str(values["hosts"]).split(",") if host),
        transports=(str(values["transport"]),) if typed or not base.transports else base.transports,
        curve=_curve(values["curve"], base, ranks) if launcher == "slurm" else (),
        time_limit_s=parse_time(str(values["time"])) if values["time"] else base.time_limit_s,
        out=out, resume=bool(values.get("resume")) and launcher != "slurm", name=name,
        partition=values["partition"], account=values["account"],
        directives=(*base.directives, *values["sbatch"]), python=values["python"] or sys.executable)


def _curve(given: tuple[int, ...] | None, base: Job, ranks: int) -> tuple[int, ...]:
    """What was asked for; else the preset's rank counts as far as this job has ranks, and all of them."""
    if given is not None or not base.curve:
        return given or ()
    return tuple(sorted({*(count for count in base.curve if count < ranks), ranks}))


def _submit(starter: Launcher, job: Job) -> int:
    """Keep the script with its results, and hand it to Slurm."""
    from ..bench import new_run_directory
    from ..launchers.slurm import Slurm
    from ..supervise import run_job
    path = Slurm.script_path(job)
    new_run_directory(job.out)
    try:
        path.write_text(starter.script(job))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    status = run_job(starter, msgspec.structs.replace(job, time_limit_s=None))
    if status == 0:
        click.echo(f"# script: {path}; log and results beside it; then: collbench report {job.out}")
    return status


def _run(starter: Launcher, job: Job, on_fault: str) -> int:
    from ..bench import conclude, new_run_directory
    from ..supervise import run_job, run_through_faults
    if len(job.transports) > 1:
        raise UsageError(f"{starter.name} starts one transport at a time: give --transport torch or mpi")
    starter.command(job)        # what this launcher cannot start leaves no directory behind
    new_run_directory(job.out)
    status = (run_through_faults if on_fault == "continue" else run_job)(starter, job)
    if conclude(job.out):
        click.echo(f"# journal: {job.out / 'journal.jsonl'}")
    return status
