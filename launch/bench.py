"""The main job: see what is here, measure it on every transport, and leave a report."""

import math
import os
import socket
import sys
import time
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.ranks.rendezvous import find_place
from collbench.collectives.records.journal import read_runs
from collbench.collectives.topology import Accelerators, find_accelerators, usable_cores

from .allocation import Allocation, find_allocation
from .job import Job
from .launchers.base import launcher_for, open_launcher
from .supervise import STOPPED, TIMED_OUT, run_job

__all__ = ["PROFILES", "Profile", "available_transports", "bench", "conclude", "new_run_directory",
           "refuse_to_be_a_rank", "run_directory"]

_RESULTS = Path("results")
_LIBRARIES = {"torch": "torch", "mpi": "mpi4py"}     # transport -> the package that it needs
_LAUNCH_S = 3.5          # starting the ranks of one transport and ending them
_MAX_CPU_RANKS, _MAX_CPU_RANKS_ANYWHERE = 32, 384        # on one host, on several
_LATE_FACTOR, _LATE_S = 3.0, 120.0


class Profile(NamedTuple):
    """What `bench` measures: one launch of the rank program per row of `sweeps`, each a list of its options.

    `shares` say how the time is divided among the sweeps; `ranks` None stands for what the machine suggests.
    """

    budget_s: float
    ranks: int | None
    sweeps: tuple[tuple[str, ...], ...]
    shares: tuple[float, ...]


_SMOKE_PLACES = ("--ops", "all", "-b", "1K", "-e", "64K", "-f", "64", "--case-seconds", "0.01")
_SMOKE_TYPES = ("--ops", "all_reduce,all_gather,send_recv", "-b", "4K", "-e", "4K", "--dtypes", "all",
                "--redops", "all", "--group-ranks", "2", "--case-seconds", "0.01", "--modes", "isolated")
# Launches differ from each other more than samples do: the gate takes several short ones. The rank test of `compare`
# can tell anything from six a side only where at most 23 points are compared. Some libraries reduce in place only.
_CHECK = ("--ops", "all_reduce,all_gather,all_to_all,send_recv", "--sizes", "4K,64K,1M", "-b", "4K",
          "--modes", "isolated", "--group-ranks", "2")
PROFILES = {
    "check": Profile(90.0, None, (_CHECK,) * 6, (1 / 6,) * 6),
    "full": Profile(170.0, None, (("--ops", "all"),), (1.0,)),
    "smoke": Profile(48.0, 4, (_SMOKE_PLACES, _SMOKE_TYPES), (0.7, 0.3)),
}
_CPU_SIZES = ("-b", "32", "-e", "1M", "-f", "8")
_DEVICE_SIZES = ("-b", "1K", "-e", "1G", "-f", "4")


def bench(out: Path, profile: Profile, transports: list[str], ranks: int | None, budget_s: float | None,
          resume: bool = False) -> int:
    """Measure with every transport into `out`; returns the worst exit status of the jobs. `resume`: what it lacks.

    One transport that cannot start does not take the others' results with it.
    """
    devices, allocation = find_accelerators(), find_allocation()
    ranks = ranks or profile.ranks or default_ranks(devices, allocation)
    transports = sorted(transports, reverse=devices is not None)    # torch first where devices are what matters
    begin, budget_s, status = time.monotonic(), budget_s or profile.budget_s, 0
    _say(f"collbench: {ranks} ranks on {_where(devices, allocation)}, transports {', '.join(transports)}, "
         f"at most about {budget_s:.0f} s; results in {out}")
    launches = [(transport, sweep, share) for transport in transports
                for sweep, share in zip(profile.sweeps, profile.shares, strict=True)]
    for index, (transport, sweep, share) in enumerate(launches):
        left = sum(other for _, _, other in launches[index:])
        spare_s = budget_s - (time.monotonic() - begin) - _LAUNCH_S * (len(launches) - index)
        on_device = devices is not None and transport == "torch"
        sizes = () if "-b" in sweep else _DEVICE_SIZES if on_device else _CPU_SIZES
        if on_device and sweep[:2] == ("--ops", "all"):
            sweep = ("--ops", "all,copies", *sweep[2:])
        job_s = max(1.0, spare_s * share / left)
        status = max(status, _launch(transport, [*sweep, *sizes], out, ranks, job_s, allocation, resume))
        if status == STOPPED:
            break
    return status


def refuse_to_be_a_rank() -> None:
    """UsageError when a launcher has started several of this process."""
    place = find_place()
    if place is not None and place.size > 1:
        raise UsageError(f"bench starts the ranks itself: run it once, not as {place.size} ranks of {place.launcher}")


def _launch(transport: str, options: list[str], out: Path, ranks: int, budget_s: float,
            allocation: Allocation | None, resume: bool) -> int:
    display = "live" if sys.stdout.isatty() else "plain"
    words = [*options, "--budget", f"{max(1.0, budget_s):.1f}",
             "--display", display]
    try:
        hosts = allocation.spread(ranks) if allocation else ()
        job = Job(arguments=tuple(words), ranks=ranks, nodes=max(1, len(hosts)), hosts=hosts, transports=(transport,),
                  out=out, resume=resume, time_limit_s=_LATE_FACTOR * budget_s + _LATE_S)
        status = run_job(open_launcher(allocation.launcher) if allocation else launcher_for(transport), job)
    except CollbenchError as error:
        _say(f"collbench: {transport}: {error}")
        return error.exit_status
    if status == TIMED_OUT:
        _say(f"collbench: {transport}: ended after its time limit; what it had measured is in {out}")
    return status


def default_ranks(devices: Accelerators | None, allocation: Allocation | None = None) -> int:
    """One rank a device; on CPUs one a core, but enough for a curve of three rank counts and never very many.

    On several hosts as many ranks on each as this host has devices, or as the scheduler was asked for.
    """
    if allocation:
        nodes, cores = len(allocation.hosts), allocation.cores or len(usable_cores())
        each = devices.count if devices else allocation.slots or min(cores, max(1, _MAX_CPU_RANKS_ANYWHERE // nodes))
        return nodes * each
    if devices:
        return devices.count
    return min(_MAX_CPU_RANKS, max(8, 1 << int(math.log2(len(usable_cores())))))


def available_transports(wanted: str) -> list[str]:
    """Names of the transports to use; UsageError when one that was named, or all of them, are not installed."""
    here = [name for name, package in _LIBRARIES.items() if find_spec(package)]
    missing = [name for name in _LIBRARIES if name not in here]
    if wanted == "all" and here:
        for name in missing:
            _say(f"collbench: without transport {name}: {_LIBRARIES[name]} is not installed")
        return here
    if wanted in here:
        return [wanted]
    name = wanted if wanted in _LIBRARIES else "mpi"
    raise UsageError(f"transport {wanted}: {_LIBRARIES[name]} is not installed: pip install 'collbench[{name}]'")


def run_directory() -> Path:
    """One under results/ named by time and host; not made."""
    return _RESULTS / f"{datetime.now():%Y%m%d-%H%M%S}-{socket.gethostname()}"


def new_run_directory(out: Path | None) -> Path:
    """`out`, or one under results/ named by time and host, made now. UsageError when it cannot be."""
    path = out or run_directory()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be made: {error.strerror}") from None
    return path


def conclude(path: Path) -> bool:
    """After the last job: write run.json and let results/latest point here; False, and nothing left, without a journal.

    run.json is the provenance of every run in the journal, for people and for other tools.
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
    except OSError:     # a file system without links, or a directory of that name: the run itself is not affected
        pointer.unlink(missing_ok=True)


def _where(devices: Accelerators | None, allocation: Allocation | None) -> str:
    if allocation:
        kind = devices.kind if devices else "CPU"
        return f"{len(allocation.hosts)} hosts of this {allocation.scheduler} job ({kind})"
    return f"{devices.count} {devices.kind} device(s)" if devices else f"{len(usable_cores())} CPU cores"


def _say(text: str) -> None:
    print(text, flush=True)


