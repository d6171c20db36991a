"""The main job: find out what hardware there is, measure it with every transport, and leave a report."""

import os
import socket
import time
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from collbench.collectives.cases import catalog
from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.options import RunConfig
from collbench.collectives.ranks.rendezvous import find_place
from collbench.collectives.records.journal import read_runs
from collbench.collectives.records.record import Policy
from collbench.collectives.topology import Accelerators, find_accelerators, usable_cores
from collbench.collectives.transport_names import TRANSPORTS

from .allocation import Allocation, default_ranks, find_allocation
from .job import Job
from .launchers import launcher_for, open_launcher
from .launchers.base import Launcher
from .library_log import log_library
from .supervise import STOPPED, TIMED_OUT, run_job
from .workload import Workload

__all__ = ["PROFILES", "Profile", "available_transports", "bench", "conclude", "new_run_directory",
           "refuse_to_be_a_rank", "run_directory"]

_RESULTS = Path("results")
_LAUNCH_S = 3.5          # starting and ending the ranks of one transport
_LATE_FACTOR, _LATE_S = 3.0, 120.0


class Profile(NamedTuple):
    """What `bench` measures: one launch of the ranks per workload.

    `shares` divide the time among the workloads; `ranks` is None for the default of this machine.
    """

    budget_s: float
    ranks: int | None
    workloads: tuple[Workload, ...]
    shares: tuple[float, ...]


_SMOKE_PLACES = Workload(sizes=(1 << 10, 64 << 10), policy=Policy(case_s=0.01))
_SMOKE_TYPES = Workload(ops=("all_reduce", "all_gather", "send_recv"), sizes=(4 << 10,), dtypes=tuple(catalog.DTYPES),
                        redops=catalog.REDOPS, group_ranks=(2,), policy=Policy(case_s=0.01, modes=("isolated",)))
# Launches differ more than samples do, so the gate takes several short ones. With six per side, the rank test of
# `compare` can reach significance only if it compares at most 23 points. Some libraries reduce only in place.
_CHECK = Workload(ops=("all_reduce", "all_gather", "all_to_all", "send_recv"), sizes=(4 << 10, 64 << 10, 1 << 20),
                  group_ranks=(2,), policy=Policy(modes=("isolated",)))
PROFILES = {
    "check": Profile(90.0, None, (_CHECK,) * 6, (1 / 6,) * 6),
    "full": Profile(170.0, None, (Workload(device_ops=catalog.GROUPS["copies"]),), (1.0,)),
    "smoke": Profile(48.0, 4, (_SMOKE_PLACES, _SMOKE_TYPES), (0.7, 0.3)),
}


def bench(out: Path, profile: Profile, transports: list[str], ranks: int | None, budget_s: float | None,
          resume: bool = False, library_log: bool = False) -> int:
    """Measure with every transport into `out`; returns the worst exit status of the jobs.

    If one transport fails to start, the others are still measured.

    Args:
        resume: measure only missing cases.
        library_log: first start the ranks for the log of the communication library, if there are accelerators.
    """
    devices, allocation = find_accelerators(), find_allocation()
    ranks = ranks or profile.ranks or default_ranks(devices, allocation)
    transports = sorted(transports, reverse=devices is not None)    # torch first where devices are what matters
    begin, budget_s, status = time.monotonic(), budget_s or profile.budget_s, 0
    _say(f"collbench: {ranks} ranks on {_where(devices, allocation)}, transports {', '.join(transports)}, "
         f"at most about {budget_s:.0f} s; results in {out}")
    log: Path | None = None
    if library_log and devices is not None and "torch" in transports:
        status, log = _log_library(profile.workloads[0].config("torch", out, on_device=True), ranks, allocation)
        if status == STOPPED:
            return status
    launches = [(transport, workload, share) for transport in transports
                for workload, share in zip(profile.workloads, profile.shares, strict=True)]
    for index, (transport, workload, share) in enumerate(launches):
        left = sum(other for _, _, other in launches[index:])
        spare_s = budget_s - (time.monotonic() - begin) - _LAUNCH_S * (len(launches) - index)
        config = workload.config(transport, out, on_device=devices is not None and transport == "torch",
                                 budget_s=round(max(1.0, spare_s * share / left), 1), resume=resume)
        if transport == "torch":
            config = msgspec.structs.replace(config, library_log_from=log)
        status = max(status, _launch(config, ranks, allocation))
        if status == STOPPED:
            break
    return status


def refuse_to_be_a_rank() -> None:
    """UsageError if a launcher has started several copies of this process."""
    place = find_place()
    if place is not None and place.size > 1:
        raise UsageError(f"bench starts the ranks itself: run it once, not as {place.size} ranks of {place.launcher}")


def _job(config: RunConfig, ranks: int, allocation: Allocation | None) -> tuple[Launcher, Job]:
    limit_s = _LATE_FACTOR * (config.budget_s or 0.0) + _LATE_S
    hosts = allocation.spread(ranks) if allocation else ()
    job = Job(config=config, ranks=ranks, nodes=max(1, len(hosts)), hosts=hosts, time_limit_s=limit_s)
    return open_launcher(allocation.launcher) if allocation else launcher_for(config.transport), job


def _log_library(config: RunConfig, ranks: int, allocation: Allocation | None) -> tuple[int, Path | None]:
    try:
        return log_library(*_job(config, ranks, allocation))
    except CollbenchError:      # the job that is measured will say so
        return 0, None


def _launch(config: RunConfig, ranks: int, allocation: Allocation | None) -> int:
    try:
        launcher, job = _job(config, ranks, allocation)
        status = run_job(launcher, job)
    except CollbenchError as error:
        _say(f"collbench: {config.transport}: {error}")
        return error.exit_status
    if status == TIMED_OUT:
        _say(f"collbench: {config.transport}: ended at its time limit; results so far are in {job.out}")
    return status


def available_transports(wanted: str) -> list[str]:
    """Names of the transports to use, all of those installed for `all`. UsageError if one that is wanted is missing."""
    here = [row.name for row in TRANSPORTS.values() if find_spec(row.library)]
    missing = [row for row in TRANSPORTS.values() if row.name not in here and wanted in (row.name, "all")]
    if missing and not (wanted == "all" and here):
        raise UsageError("; ".join(f"transport {row.name}: {row.library} is not installed: {row.install}"
                                   for row in missing))
    for row in missing:
        _say(f"collbench: without transport {row.name}: {row.library} is not installed")
    return here if wanted == "all" else [wanted]


def run_directory() -> Path:
    """results/TIME-HOST; not created yet."""
    return _RESULTS / f"{datetime.now():%Y%m%d-%H%M%S}-{socket.gethostname()}"


def new_run_directory(out: Path | None) -> Path:
    """Create `out`, or results/TIME-HOST. UsageError if that fails."""
    path = out or run_directory()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be created: {error.strerror}") from None
    return path


def conclude(path: Path) -> bool:
    """After the last job: write run.json, the provenance of every run, and let results/latest point here.

    Without a journal, remove the empty directory and return False.
    """
    if not (path / "journal.jsonl").exists():
        with suppress(OSError):
            path.rmdir()
        return False
    runs = read_runs(path / "journal.jsonl")
    text = msgspec.json.format(msgspec.json.encode({"runs": list(runs.values())}), indent=2)
    (path / "run.json").write_bytes(text + b"\n")
    if path.parent == _RESULTS:
        _point_latest(path)
    return True


def _point_latest(path: Path) -> None:
    pointer = path.parent / f".latest-{os.getpid()}"
    try:
        pointer.symlink_to(path.name)
        pointer.replace(path.parent / "latest")
    except OSError:     # no symbolic links here, or a directory of that name: the run itself is not affected
        pointer.unlink(missing_ok=True)


def _where(devices: Accelerators | None, allocation: Allocation | None) -> str:
    if allocation:
        kind = devices.kind if devices else "CPU"
        return f"{len(allocation.hosts)} hosts of this {allocation.scheduler} job ({kind})"
    return f"{devices.count} {devices.kind} device(s)" if devices else f"{len(usable_cores())} CPU cores"


def _say(text: str) -> None:
    print(text, flush=True)


