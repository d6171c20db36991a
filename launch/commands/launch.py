"""Start a measurement through a launcher, here or on several hosts, or print what would be started."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from collbench.collectives.errors import UsageError
from collbench.collectives.option_groups import JOB, GroupedCommand, option
from collbench.collectives.option_types import RankCount
from collbench.collectives.options import RunConfig, config_from, measuring_options

from ..allocation import ranks_per_host
from ..job import Job, parse_time
from ..launchers import LAUNCHERS, open_launcher, titles
from ..launchers.base import Launcher
from ..pod_needs import PodNeeds
from ..pod_options import pod_needs, pod_options
from ..presets import PRESETS
from ..shared_options import RankList, library_log_option, warn
from ..workload import typed_command

__all__ = ["SECTION", "command"]

SECTION = "measure"

_PRESET_OPTIONS = ("transport", "device", "device_stride")
_ASKS_FOR_DEVICES = ("--gpus", "--gres", "-G", "--tres-per")
_SIZE_OPTIONS = ("begin", "end", "factor", "step", "sizes")


@click.command(cls=GroupedCommand, short_help="Measure through a launcher or batch system")
@option("--launcher", group=JOB, type=click.Choice(LAUNCHERS), required=True,
        help="; ".join(f"{name} {title}" for name, title in titles().items()) + ".")
@option("--dry-run", group=JOB, is_flag=True, help="Print the command or the script, and start nothing.")
@option("--preset", group=JOB, type=click.Choice(tuple(PRESETS)), default=None,
        help="Nodes, ranks, sizes and rank counts for a known system; other options take precedence.")
@option("--nodes", group=JOB, type=RankCount(), default=None, help="Number of hosts.  [default: 1]")
@option("--ranks-per-node", group=JOB, type=RankCount(), default=None,
        help="Ranks on each host.  [default: as many as collbench bench starts on this one]")
@option("--hosts", group=JOB, default="", metavar="HOST,...",
        help="Names of the hosts, that of rank 0 first, for torchrun and mpirun.")
@option("--time", group=JOB, default=None, metavar="MINUTES|HH:MM:SS", help="Time limit of the job.")
@option("--curve", group=JOB, type=RankList(), default=None,
        help="Batch systems: rank counts to launch separately, one after another.")
@option("--name", group=JOB, default=None, help="Name of the job.  [default: collbench, or that of the preset]")
@option("--partition", group=JOB, default=None, help="Batch systems: partition or queue.")
@option("--account", group=JOB, default=None, help="Batch systems: account to charge.")
@option("--directive", "--sbatch", "directives", group=JOB, multiple=True, metavar="--OPTION=VALUE",
        help="Batch systems: an additional directive; may be repeated.")
@option("--container", group=JOB, default=None, metavar="IMAGE",
        help="slurm and srun: run in this image through Pyxis, as in srun --container-image; Kubernetes: the image "
             "of the pods. collbench and --python are those inside.")
@option("--container-mounts", group=JOB, default="", metavar="SRC:DST[:FLAGS],...",
        help="What else of the host the container is to see; it always sees this directory and --out.")
@pod_options
@option("--python", group=JOB, default=None, metavar="PATH",
        help="Interpreter to start on every host.  [default: this one; python in a container]")
@library_log_option
@measuring_options
def command(launcher: str, dry_run: bool, **values: Any) -> None:
    """Start a measurement through a launcher, here or on several hosts, or print what would be started.

    Example: collbench launch --launcher slurm --preset nvl72 --partition batch --time 90 --dry-run > mine.sbatch
    """
    starter = open_launcher(launcher)
    job = _job(starter, values)
    if dry_run:
        click.echo(starter.script(job), nl=False)
        return
    sys.exit(_submit(starter, job) if starter.script_name else _run(starter, job, str(values["on_fault"])))


def _job(starter: Launcher, values: dict[str, Any]) -> Job:
    """The preset, with the options that were given on the command line in place of its own."""
    preset = PRESETS[values["preset"]] if values["preset"] else None
    config = _config(starter, values, preset)
    if values["container"] and not starter.containers:
        raise UsageError(f"launcher {starter.name} starts no containers: use slurm or srun, whose Pyxis does, or one "
                         "of Kubernetes")
    nodes = values["nodes"] or (preset.nodes if preset else 1)
    each = values["ranks_per_node"] or (preset.ranks_per_node if preset else _ranks_here(config))
    curve = _curve(values["curve"], preset, nodes * each) if starter.script_name else ()
    return Job(
        config=config, nodes=nodes, ranks=nodes * each, curve=curve, name=_name(values, preset),
        hosts=tuple(host for host in values["hosts"].split(",") if host),
        more_transports=preset.more_transports if preset and not _given("transport") else (),
        time_limit_s=parse_time(values["time"]) if values["time"] else preset.time_limit_s if preset else None,
        draw_seed=values["seed"] is None, library_log=values["library_log"],
        partition=values["partition"], account=values["account"],
        directives=_directives(starter, config, each, preset, values["directives"]),
        container=values["container"], container_mounts=values["container_mounts"],
        pods=pod_needs(values, preset.pods if preset else PodNeeds()),
        python=values["python"] or ("python" if values["container"] else sys.executable),
        title=preset.title if preset else "", notes=preset.notes if preset else ())


def _directives(starter: Launcher, config: RunConfig, each: int, preset: Job | None,
                given: tuple[str, ...]) -> tuple[str, ...]:
    """Those given, and for a Slurm script those of the preset, and with a rank per device the devices, without which
    Slurm may hide them.

    This host may be a login node without devices: if the user has not said that there are some, a warning has to do.
    """
    given = (*preset.directives, *given) if preset and starter.name == "slurm" else given
    asked = any(word.startswith(_ASKS_FOR_DEVICES) for word in given)
    if asked or starter.name != "slurm" or config.device == "cpu" or config.transport != "torch":
        return given
    from ..device_choice import accelerators_for
    found = accelerators_for(config.device) if config.device == "auto" else None
    kind = found.kind if found else config.device
    count = each * config.device_stride
    request = f"--gres=npu:{count}" if kind == "npu" else f"--gpus-per-node={count}"
    if kind == "auto":
        warn(f"the job asks Slurm for no devices, and without them it measures CPUs: give --device cuda, or "
             f"--directive {request}; --device cpu if that is meant")
        return given
    return (*given, request)


def _config(starter: Launcher, values: dict[str, Any], preset: Job | None) -> RunConfig:
    from ..bench import run_directory
    batch = starter.script_name is not None
    out = values["out"] or (Path("results") / _name(values, preset) if batch else run_directory())
    if preset:
        own = {name: getattr(preset.config, name) for name in _PRESET_OPTIONS if not _given(name)}
        values = {**values, **own}
    config = config_from(values, out, typed_command())
    if batch:       # a batch script resumes anyway
        config = msgspec.structs.replace(config, resume="never")
    if preset and not _given(*_SIZE_OPTIONS):
        sweep = msgspec.structs.replace(config.sweep, sizes=preset.config.sweep.sizes)
        config = msgspec.structs.replace(config, sweep=sweep)
    return config


def _name(values: dict[str, Any], preset: Job | None) -> str:
    return str(values["name"] or (preset.name if preset else "collbench"))


def _given(*names: str) -> bool:
    """Whether any of these parameters was given on the command line."""
    source = click.get_current_context().get_parameter_source
    return any(source(name) is ParameterSource.COMMANDLINE for name in names)


def _check_devices(job: Job) -> None:
    from ..device_choice import accelerators_for, check_ranks, every
    accelerators = every(job.config.device_stride, accelerators_for(job.config.device))
    if job.nodes == 1 and job.config.transport == "torch":
        check_ranks(job.ranks, accelerators)


def _ranks_here(config: RunConfig) -> int:
    from ..device_choice import accelerators_for, every
    return ranks_per_host(every(config.device_stride, accelerators_for(config.device)))


def _curve(given: tuple[int, ...] | None, preset: Job | None, ranks: int) -> tuple[int, ...]:
    """As given; else the rank counts of the preset that are below that of the job, and that of the job."""
    if given is not None or preset is None or not preset.curve:
        return given or ()
    return tuple(sorted({*(count for count in preset.curve if count < ranks), ranks}))


def _logs_library(starter: Launcher, job: Job) -> bool:
    """Other hosts may have accelerators where this one has none. torchrun is run once on each of them by the user."""
    from ..device_choice import accelerators_for
    if job.nodes > 1:
        return job.logs_library and starter.name != "torchrun"
    return job.logs_library and accelerators_for(job.config.device) is not None


def _submit(starter: Launcher, job: Job) -> int:
    from ..supervise import submit
    status = submit(starter, job)
    if status == 0:
        path = job.out / str(starter.script_name)
        click.echo(f"# script: {path}; log and results beside it; then: collbench report {job.out}")
    return status


def _run(starter: Launcher, job: Job, on_fault: str) -> int:
    from ..bench import conclude, new_run_directory
    from ..library_log import log_library
    from ..supervise import run_job, run_through_faults, was_stopped
    if job.more_transports:
        raise UsageError(f"{starter.name} starts one transport at a time: give --transport "
                         f"{' or '.join(job.transports)}")
    starter.command(job)        # an impossible job must not leave a directory behind
    _check_devices(job)
    new_run_directory(job.out)
    status, log = log_library(starter, job) if _logs_library(starter, job) else (0, None)
    if not was_stopped(status):
        job = msgspec.structs.replace(job, config=msgspec.structs.replace(job.config, library_log_from=log))
        status = (run_through_faults if on_fault == "continue" else run_job)(starter, job)
    if conclude(job.out):
        click.echo(f"# journal: {job.out / 'journal.jsonl'}")
    return status
