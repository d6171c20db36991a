"""Cores: how many there are for how many ranks, and settings that make timings scatter."""

import os
from collections import Counter
from pathlib import Path

from collbench.collectives.topology import usable_cores

from ..check_api import Asked, Finding

__all__ = ["ORDER", "examine"]

ORDER = 80


def examine(asked: Asked) -> list[Finding]:
    """Cores against ranks; then what the kernel does to them, where it can be read."""
    return [_cores(asked), *_governor(), *_smt(asked), *_balancing()]


def _cores(asked: Asked) -> Finding:
    usable, there, quota = len(usable_cores()), os.cpu_count() or 1, _quota()
    facts = {"usable": usable, "there": there, "quota": quota}
    words = f"{usable} of {there} may be used" + (f", for the time of {quota:g}" if quota is not None else "")
    least = min(usable, quota if quota is not None else usable)
    if quota is not None and quota < min(asked.ranks, usable):
        return Finding(level="warning", what="cores", found=f"{words}: ranks are stopped when it is used up",
                       do="lift the cgroup's CPU quota (containers: --cpus), or use a set of cores", facts=facts)
    if asked.ranks > least and not asked.accelerators:
        return Finding(level="note", what="cores", facts=facts,
                       found=f"{words}; {asked.ranks} ranks take turns: times tell of the scheduler, not of memory",
                       do=f"for times that mean something start at most {int(least)}")
    return Finding(level="ok", what="cores", found=words, facts=facts)


def _quota() -> float | None:
    """Cores' worth of time that the cgroup grants; None without a quota."""
    group = _read("/proc/self/cgroup")
    own = next((line.split("::", 1)[1] for line in group.splitlines() if line.startswith("0::")), "/")
    for where in (f"/sys/fs/cgroup{own}/cpu.max", "/sys/fs/cgroup/cpu.max"):
        parts = _read(where).split()
        if len(parts) == 2 and parts[0] != "max":
            return int(parts[0]) / int(parts[1])
    quota, period = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _governor() -> list[Finding]:
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    kinds = Counter(filter(None, map(_read, paths)))
    words = ", ".join(f"{name} on {count} cores" for name, count in kinds.items())
    if not kinds:
        return []
    if set(kinds) - {"performance"}:
        return [Finding(level="note", what="frequency", found=words, do="cpupower frequency-set -g performance")]
    return [Finding(level="ok", what="frequency", found=words)]


def _smt(asked: Asked) -> list[Finding]:
    if _read("/sys/devices/system/cpu/smt/active") != "1" or asked.accelerators:
        return []
    return [Finding(level="note", what="SMT", found="is on: two ranks may share one core",
                    do="bind ranks to cores (mpirun --bind-to core, srun --hint=nomultithread)")]


def _balancing() -> list[Finding]:
    nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    if nodes < 2 or _read("/proc/sys/kernel/numa_balancing") in ("", "0"):
        return []
    return [Finding(level="note", what="NUMA balancing", found=f"is on over {nodes} nodes: the kernel moves pages",
                    do="sysctl kernel.numa_balancing=0 while measuring")]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
