"""Cores per rank, and settings that increase the scatter of timings."""

import os
from collections import Counter
from pathlib import Path

from collbench.collectives.topology import usable_cores

from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 80


def examine(request: CheckRequest) -> list[CheckResult]:
    """Cores compared with ranks; then kernel settings, as far as they can be read."""
    return [_cores(request), *_governor(), *_smt(request), *_balancing()]


def _cores(request: CheckRequest) -> CheckResult:
    usable, total, quota = len(usable_cores()), os.cpu_count() or 1, _quota()
    facts = {"usable": usable, "there": total, "quota": quota}
    words = f"{usable} of {total} usable" + (f", with a CPU quota of {quota:g}" if quota is not None else "")
    least = min(usable, quota if quota is not None else usable)
    if quota is not None and quota < min(request.ranks, usable):
        return CheckResult(level="warning", what="cores", found=f"{words}: ranks are throttled once it is used up",
                           do="lift the cgroup's CPU quota (containers: --cpus), or use a CPU set instead", facts=facts)
    if request.ranks > least and not request.accelerators:
        return CheckResult(level="note", what="cores", facts=facts,
                           found=f"{words}; {request.ranks} ranks share them: times reflect the scheduler",
                           do=f"for meaningful times start at most {int(least)}")
    return CheckResult(level="ok", what="cores", found=words, facts=facts)


def _quota() -> float | None:
    """CPU quota of the cgroup in cores; None without a quota."""
    group = _read("/proc/self/cgroup")
    own = next((line.split("::", 1)[1] for line in group.splitlines() if line.startswith("0::")), "/")
    for where in (f"/sys/fs/cgroup{own}/cpu.max", "/sys/fs/cgroup/cpu.max"):
        parts = _read(where).split()
        if len(parts) == 2 and parts[0] != "max":
            return int(parts[0]) / int(parts[1])
    quota, period = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _governor() -> list[CheckResult]:
    paths = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    kinds = Counter(filter(None, map(_read, paths)))
    words = ", ".join(f"{name} on {count} cores" for name, count in kinds.items())
    if not kinds:
        return []
    if set(kinds) - {"performance"}:
        return [CheckResult(level="note", what="frequency", found=words, do="cpupower frequency-set -g performance")]
    return [CheckResult(level="ok", what="frequency", found=words)]


def _smt(request: CheckRequest) -> list[CheckResult]:
    if _read("/sys/devices/system/cpu/smt/active") != "1" or request.accelerators:
        return []
    return [CheckResult(level="note", what="SMT", found="enabled: two ranks may share one core",
                        do="bind ranks to cores (mpirun --bind-to core, srun --hint=nomultithread)")]


def _balancing() -> list[CheckResult]:
    nodes = len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))
    if nodes < 2 or _read("/proc/sys/kernel/numa_balancing") in ("", "0"):
        return []
    return [CheckResult(level="note", what="NUMA balancing",
                        found=f"enabled on {nodes} nodes: the kernel migrates pages",
                        do="sysctl kernel.numa_balancing=0 while measuring")]


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
