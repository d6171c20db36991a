"""Limits that many ranks on one host may exceed: files, processes, memory, shared memory, locked memory."""

import resource
from pathlib import Path

from collbench.collectives.ranks import host_limits

from ..check_api import CheckRequest, CheckResult

__all__ = ["ORDER", "examine"]

ORDER = 70
_MIB = 1 << 20
_RANK_MIB = 60              # per rank that imports torch by itself; a forked one takes a tenth
_THREADS = 8                # per rank: Python, gloo and its store
_RDMA_LOCKED_MIB = 64


def examine(request: CheckRequest) -> list[CheckResult]:
    """Each limit compared with what that number of ranks needs."""
    return [_open_files(request), _processes(request), _memory(request), _shared(request), _locked()]


def _open_files(request: CheckRequest) -> CheckResult:
    """collbench itself raises the soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = host_limits.open_files_needed(request.ranks)
    words = f"{_count(soft)} (can be raised to {_count(hard)}); {request.ranks} ranks need {need} each"
    facts = {"soft": soft, "hard": hard, "need": need}
    if hard != resource.RLIM_INFINITY and hard < need:
        return CheckResult(level="error", what="open files", found=words, facts=facts, works={"torch": False},
                           do=f"raise the hard limit to {need} (limits.conf, or LimitNOFILE of the service; in Slurm "
                              "PropagateResourceLimits), or start fewer ranks")
    return CheckResult(level="ok", what="open files", found=words, facts=facts)


def _processes(request: CheckRequest) -> CheckResult:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    need = request.ranks * _THREADS
    words = f"{_count(soft)}; {request.ranks} ranks start about {need} threads"
    if soft not in (resource.RLIM_INFINITY,) and soft < need:
        return CheckResult(level="warning", what="processes", found=words,
                           do=f"ulimit -u {_count(hard) if hard == resource.RLIM_INFINITY else max(hard, need)}")
    return CheckResult(level="ok", what="processes", found=words)


def _memory(request: CheckRequest) -> CheckResult:
    available, need = host_limits.available_bytes(), request.ranks * _RANK_MIB * _MIB
    if available is None:
        return CheckResult(level="note", what="memory", found="free memory unknown")
    words = f"{available / 2**30:.1f} GiB free; {request.ranks} ranks need about {need / 2**30:.1f} GiB plus buffers"
    if available < need:
        return CheckResult(level="warning", what="memory", found=words,
                           do="start fewer ranks, or use collbench run, which forks them after one import")
    return CheckResult(level="ok", what="memory", found=words)


def _shared(request: CheckRequest) -> CheckResult:
    found = host_limits.shared_memory(request.ranks)
    if found is None:
        return CheckResult(level="warning", what="/dev/shm", found="missing: MPI and nccl fall back to slower paths",
                           do="mount -t tmpfs tmpfs /dev/shm")
    total, free, need = found
    words = f"{free // _MIB} of {total // _MIB} MiB free; MPI and nccl use up to {need // _MIB} MiB"
    if free < need:
        return CheckResult(level="warning", what="/dev/shm", found=words,
                           do="containers: --shm-size=8g or --ipc=host; else mount -o remount,size=8g /dev/shm")
    return CheckResult(level="ok", what="/dev/shm", found=words)


def _locked() -> CheckResult:
    """RDMA adapters pin the memory that they send from."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    fabric = sorted(path.name for path in Path("/sys/class/infiniband").glob("*"))
    words = "no limit" if soft == resource.RLIM_INFINITY else f"{soft / _MIB:g} MiB"
    if fabric and soft != resource.RLIM_INFINITY and soft < _RDMA_LOCKED_MIB * _MIB:
        return CheckResult(level="warning", what="locked memory", found=f"{words}; {', '.join(fabric)} pins buffers",
                           do="ulimit -l unlimited (limits.conf; in Slurm PropagateResourceLimitsExcept=MEMLOCK)")
    return CheckResult(level="ok", what="locked memory", found=words + ("" if fabric else "; no RDMA device found"))


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
