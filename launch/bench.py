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
from collbench.collectives.topology import Accelerators, usable_cores
from collbench.collectives.transport_names import TRANSPORTS

from .allocation import Allocation, default_ranks, find_allocation
from .device_choice import accelerators_for, check_ranks
from .job import Job
from .launchers import launcher_for, open_launcher
from .launchers.base import Launcher
from .library_log import has_log, log_library
from .supervise import TIMED_OUT, run_job, was_stopped
from .workload import Workload

__all__ = ["PROFILES", "Plan", "Profile", "available_transports", "bench", "conclude", "job_here", "new_run_directory",
           "plan_bench", "refuse_to_be_a_rank", "run_directory"]

_RESULTS = Path("results")
_LAUNCH_S = 3.5          # starting and ending the ranks of one transport
_LATE_FACTOR, _LATE_S = 3.0, 120.0
_WHOLE_S = 60.0          # for a workload that is measured whole, on a busy machine


class Profile(NamedTuple):
    """What `bench` measures: one launch of the ranks per workload.

    `shares` divide the time among the workloads; `ranks` is None for the default of this machine; on accelerators it
    is the most to start. `crowded`: on CPUs there may be more ranks than cores. `single_device` is what a host with one
    device measures on it, since the other operations need two ranks. `brief`: print no rows.
    """

    budget_s: float
    ranks: int | None
    workloads: tuple[Workload, ...]
    shares: tuple[float, ...]
    single_device: Workload | None = None
    crowded: bool = True
    brief: bool = False


class _Launch(NamedTuple):
    """One start of the ranks; `device` is the value of --device, `share` a part of the time."""

    transport: str
    backend: str | None
    workload: Workload
    share: float
    ranks: int
    device: str
    on_device: bool


class Plan(NamedTuple):
    """The starts of the ranks in their order, where, for how long, and all that in words."""

    launches: list[_Launch]
    allocation: Allocation | None
    budget_s: float
    words: str
    brief: bool = False


_SMOKE_PLACES = Workload(sizes=(1 << 10, 64 << 10), whole=True, policy=Policy(case_s=0.01))
_SMOKE_TYPES = Workload(ops=("all_reduce", "all_gather", "send_recv"), sizes=(4 << 10,), dtypes=tuple(catalog.DTYPES),
                        redops=catalog.REDOPS, group_ranks=(2,), whole=True,
                        policy=Policy(case_s=0.01, modes=("isolated",)))
# Launches differ more than samples do, so the gate takes several short ones: with eight per side, the rank test of
# `compare` can reach significance for up to 300 points, with six for 23. Small messages show latency, large ones, back
# to back, bandwidth.
_CHECK = Workload(ops=("all_reduce", "all_gather", "all_to_all", "send_recv"), sizes=(4 << 10, 1 << 20),
                  device_sizes=(4 << 10, 64 << 20), curve_ends=True, whole=True,
                  policy=Policy(case_s=0.1, min_samples=8))
_CHECK_LAUNCHES = 8
_COPIES = catalog.GROUPS["copies"]
_COPIES_SHARE = 0.5     # of that of a transport
_FULL = Workload(ops=(*catalog.GROUPS["all"], *catalog.GROUPS["communicators"]), device_ops=_COPIES)
PROFILES = {
    "check": Profile(90.0, None, (_CHECK,) * _CHECK_LAUNCHES, (1.0,) * _CHECK_LAUNCHES, crowded=False),
    "full": Profile(170.0, None, (_FULL,), (1.0,), Workload(ops=_COPIES)),
    "smoke": Profile(48.0, 4, (_SMOKE_PLACES, _SMOKE_TYPES), (0.7, 0.3),
                     Workload(ops=_COPIES, sizes=(64 << 10, 1 << 20), policy=Policy(case_s=0.01)), brief=True),
}


def plan_bench(profile: Profile, transports: list[str], ranks: int | None = None, device: str = "auto",
               backend: str | None = None) -> Plan:
    """What to start on this machine. A host with a single device measures that alone, and then its CPUs.

    Args:
        ranks: None for the default of profile and machine.
        device: as for `collbench run`.
        backend: of torch.distributed; None for the default of the device.

    UsageError: torch cannot use the accelerators of this host, or there are fewer of them than ranks.
    """
    usable, allocation = accelerators_for(device), find_allocation()
    hosts = len(allocation.hosts) if allocation else 1
    launches: list[_Launch] = []
    first = ""
    if usable and usable.count * hosts == 1:
        first = f"one {usable.kind} device, too few for operations between ranks: "
        if "torch" in transports and profile.single_device:
            launches.append(_Launch("torch", backend, profile.single_device, _COPIES_SHARE, 1, device, True))
            first += "its copies, then "
        usable, device, backend = None, "cpu", None
    elif ranks and "torch" in transports:
        check_ranks(ranks, usable, hosts)
    ranks = ranks or _default_ranks(profile, usable, allocation)
    for transport in sorted(transports, reverse=usable is not None):    # torch first where devices are what matters
        own = backend if TRANSPORTS[transport].backends else None
        on_device = usable is not None and transport == "torch"
        launches += [_Launch(transport, own, workload, share, ranks, device, on_device)
                     for workload, share in zip(profile.workloads, profile.shares, strict=True)]
    used = ", ".join(dict.fromkeys(launch.transport for launch in launches))
    return Plan(launches, allocation, profile.budget_s,
                f"{first}{ranks} ranks on {_where(usable, allocation)}, transports {used}", profile.brief)


def bench(out: Path, plan: Plan, budget_s: float | None = None, resume: bool = False, library_log: bool = False,
          quiet: bool = False) -> int:
    """Measure into `out`; returns the worst exit status of the jobs. If one fails to start, the others still do.

    Args:
        budget_s: None for that of the profile, which a workload that is to be measured whole may exceed.
        resume: measure only missing cases.
        library_log: first start the ranks for the log of the communication library, if there are accelerators.
        quiet: print nothing but errors.
    """
    begin, asked, status = time.monotonic(), budget_s, 0
    budget_s = budget_s or plan.budget_s
    if not quiet:
        _say(f"collbench: {plan.words}, about {budget_s:.0f} s; results in {out}")
    log: Path | None = None
    for index, launch in enumerate(plan.launches):
        left = sum(other.share for other in plan.launches[index:])
        spare_s = budget_s - (time.monotonic() - begin) - _LAUNCH_S * (len(plan.launches) - index)
        config = launch.workload.at(launch.ranks).config(
            launch.transport, out, on_device=launch.on_device, device=launch.device, backend=launch.backend,
            budget_s=None if launch.workload.whole and not asked
            else round(max(1.0, spare_s * launch.share / left), 1), resume=resume)
        if quiet or plan.brief:
            config = msgspec.structs.replace(config, display="quiet" if quiet else "brief")
        if library_log and has_log(config, launch.on_device):
            library_log = False
            status, log = _log_library(config, launch.ranks, plan.allocation)
        if not was_stopped(status):
            config = msgspec.structs.replace(config, library_log_from=log if launch.transport == "torch" else None)
            status = max(status, _launch(config, launch.ranks, plan.allocation))
        if was_stopped(status):
            break
    return status


def _default_ranks(profile: Profile, usable: Accelerators | None, allocation: Allocation | None) -> int:
    if profile.ranks and usable is None:
        return profile.ranks
    ranks = default_ranks(usable, allocation)
    if usable is None and not profile.crowded:      # on every host
        ranks = min(ranks, max(2, len(usable_cores())) * (len(allocation.hosts) if allocation else 1))
    return min(ranks, profile.ranks or ranks)


def refuse_to_be_a_rank(command: str = "bench") -> None:
    """UsageError if a launcher has started several copies of this process."""
    place = find_place()
    if place is not None and place.size > 1:
        raise UsageError(f"{command} starts the ranks itself: run it once, not as {place.size} ranks of "
                         f"{place.launcher}")


def job_here(config: RunConfig, ranks: int, allocation: Allocation | None) -> tuple[Launcher, Job]:
    """The job of `ranks` ranks in the allocation, or on this host, with a time limit, and what starts it."""
    limit_s = _LATE_FACTOR * (config.budget_s or _WHOLE_S) + _LATE_S
    hosts = allocation.spread(ranks) if allocation else ()
    job = Job(config=config, ranks=ranks, nodes=max(1, len(hosts)), hosts=hosts, time_limit_s=limit_s)
    return open_launcher(allocation.launcher) if allocation else launcher_for(config.transport), job


def _log_library(config: RunConfig, ranks: int, allocation: Allocation | None) -> tuple[int, Path | None]:
    try:
        return log_library(*job_here(config, ranks, allocation))
    except CollbenchError:      # the job that is measured will say so
        return 0, None


def _launch(config: RunConfig, ranks: int, allocation: Allocation | None) -> int:
    try:
        launcher, job = job_here(config, ranks, allocation)
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


def conclude(path: Path, latest: bool = False) -> bool:
    """After the last job: write run.json, the provenance of every run; with `latest`, let results/latest point here.

    Without a journal, remove the empty directory and return False. CollbenchError if there is no space.
    """
    if not (path / "journal.jsonl").exists():
        with suppress(OSError):
            path.rmdir()
        return False
    runs = read_runs(path / "journal.jsonl")
    text = msgspec.json.format(msgspec.json.encode({"runs": list(runs.values())}), indent=2)
    _write_whole(path / "run.json", text + b"\n")
    if latest and path.parent == _RESULTS:
        _point_latest(path)
    return True


def _write_whole(file: Path, content: bytes) -> None:
    part = file.with_suffix(".part")
    try:
        part.write_bytes(content)
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise CollbenchError(f"{file}: cannot be written: {error.strerror}; what was measured is in "
                             f"{file.parent / 'journal.jsonl'}: collbench report {file.parent} -o DIRECTORY shows "
                             "it") from None


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
    with suppress(BrokenPipeError):     # the reader has closed the pipe, as `| head` does: the measurement goes on
        print(text, flush=True)


