"""The rank program: torchrun, mpirun and srun start it as `python -m collbench.rank OPTION...`."""

import os
import sys
import time
import traceback
from pathlib import Path

import click
from click.core import ParameterSource

from ..errors import CollbenchError, FaultError, UsageError, printable, show_traceback, write_error
from ..interfaces import Transport
from ..option_groups import GroupedCommand
from ..options import RunConfig, config_from, measuring_options
from ..ranks.processes import kill, leave_status, stopped_siblings
from ..ranks.rendezvous import Place, find_place, seems_first, why_not_a_rank
from ..transport_names import TRANSPORTS

__all__ = ["main", "run_rank"]

_RANK_0_FIRST_S = 1.0       # head start of rank 0 for an error that every rank has


@click.command(cls=GroupedCommand, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@measuring_options
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), default=None,
              help="Run the configuration in this JSON file (see `RunConfig.write`) instead of the other options.")
def main(config: Path | None, **values: object) -> None:
    """Measure collectives as one rank of a job that torchrun, mpirun or srun started.

    Example: mpirun -n 4 python -m collbench.rank --transport mpi --ops all_reduce -b 8 -e 1M --out results/mine
    """
    try:
        place = find_place()
        if place is None and (reason := why_not_a_rank()):
            raise UsageError(reason)
        place = place or Place("none", 0, 1, 0, 1, None)
        status = run_rank(_configuration(config, values), place)
    except CollbenchError as error:
        if not seems_first():
            time.sleep(_RANK_0_FIRST_S)     # as in `_report`
        write_error(f"collbench: {_in_one_line(error)}")
        show_traceback(error)
        status = error.exit_status
    leave_status(status)
    sys.exit(status)


def _configuration(file: Path | None, values: dict[str, object]) -> RunConfig:
    """From `--config`, which excludes all other options, or from the options."""
    if file is not None:
        context = click.get_current_context()
        others = [name for name in values if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
        if others:
            raise UsageError(f"--config cannot be combined with other options: {', '.join(others)}")
        return RunConfig.read(file)
    if values["out"] is None:
        raise UsageError("--out DIRECTORY is needed: every rank must name the same one")
    return config_from(values, Path(str(values["out"])), ("python", "-m", "collbench.rank", *sys.argv[1:]))


def run_rank(request: RunConfig, place: Place) -> int:
    """Open the transport, measure, close; returns the exit status of this rank.

    An error on one rank ends the whole job: the other ranks would wait for it forever.
    """
    from ..watchdog.ending import StartGuard, describe_error, report_threads
    from ..watchdog.watchdog import Watchdog
    from .library_log_start import log_library, remove_output, short_run
    from .links import measures_links, run_links
    from .sweep import run_sweep
    if request.library_log_to:
        log_library(request.library_log_to, place.rank)
        request = short_run(request, place.size)
    place = place._replace(device_stride=request.device_stride)
    report_threads(place.rank)
    guard = StartGuard(request.meeting_s + request.limit_s, place.rank)
    try:
        transport = _open(request, place)
    except Exception as error:
        _report(error, place.rank)
        if not isinstance(error, CollbenchError):
            return 1
        if isinstance(error, FaultError):
            kill(stopped_siblings())    # otherwise the launcher would wait for them
        return error.exit_status
    if request.library_log_to and transport.device == "cpu" and request.backend is None:
        transport.close()
        remove_output(request.library_log_to, place.rank)
        return 0
    request = request.for_device(transport.device)
    watch = Watchdog(transport.rank, transport.size, request.limit_s, request.journal, guard)
    try:
        status = (run_links if measures_links(request) else run_sweep)(request, transport, place, watch)
        watch.enter_case(None)
        watch.enter_phase("finalize")
        transport.close()
    except BaseException as error:
        if not isinstance(error, CollbenchError):
            watch.report_failure(describe_error(error))
        _report(error, transport.rank)
        if isinstance(error, CollbenchError):
            watch.end_job(error.exit_status)
        status = error.exit_status if isinstance(error, CollbenchError) else 1
        leave_status(status)
        transport.abort(status)
        raise
    watch.leave()
    if request.library_log_to and place.rank == 0:
        request.journal.unlink(missing_ok=True)     # of a run that was for its log
    return status


def _open(request: RunConfig, place: Place) -> Transport:
    """The transport. UsageError if the job has not the expected number of ranks: each of them would measure alone."""
    from ..transports import open_transport
    row = TRANSPORTS.get(request.transport)
    if row and not row.mpi_ranks:       # MPI counts its ranks by itself
        _check_ranks(request.expected_ranks, place.size, place)
    transport = open_transport(request.transport, place, request.device, request.meeting_s, request.backend)
    _check_ranks(request.expected_ranks, transport.size, place)
    return transport


def _check_ranks(expected: int | None, found: int, place: Place) -> None:
    if expected in (None, found):
        return
    if place.launcher == "none":
        raise UsageError(f"{expected} ranks are expected, but this process finds {found}: its launcher sets no "
                         "variables that collbench knows; set RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE and "
                         "MASTER_ADDR, or use torchrun, mpirun or srun")
    raise UsageError(f"{expected} ranks are expected, but {place.launcher} started {found}")


def _report(error: BaseException, rank: int) -> None:
    """Write the error to standard error; rank 0 comes first, since most usage errors occur on every rank."""
    if isinstance(error, UsageError) and rank:
        time.sleep(_RANK_0_FIRST_S)
    if isinstance(error, CollbenchError):
        write_error(f"collbench: rank {rank}: {_in_one_line(error)}")
    elif not isinstance(error, KeyboardInterrupt):
        where = traceback.extract_tb(error.__traceback__)[-1]
        write_error(f"collbench: rank {rank} (pid {os.getpid()}): {type(error).__name__}: {_in_one_line(error)} "
                    f"[{Path(where.filename).name}:{where.lineno}]")
    show_traceback(error)


def _in_one_line(error: BaseException) -> str:
    return printable(str(error))


if __name__ == "__main__":
    main(prog_name="python -m collbench.rank")
