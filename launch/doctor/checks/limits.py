"""Limits that many ranks on one host run into: files, processes, memory, shared memory, locked memory."""

import resource
from pathlib import Path

from collbench.collectives.ranks import host_limits

from ..check_api import Asked, Finding

__all__ = ["ORDER", "examine"]

ORDER = 70
_MIB = 1 << 20
_RANK_MIB = 60              # of a rank that imports torch by itself; a forked one takes a tenth
_THREADS = 8                # of a rank: Python, gloo and its store
_RDMA_LOCKED_MIB = 64


def examine(asked: Asked) -> list[Finding]:
    """Each limit against what so many ranks need."""
    return [_open_files(asked), _processes(asked), _memory(asked), _shared(asked), _locked()]


def _open_files(asked: Asked) -> Finding:
    """collbench raises the soft limit to the hard one by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = host_limits.open_files_needed(asked.ranks)
    words = f"{_count(soft)} (can be raised to {_count(hard)}); {asked.ranks} ranks need {need} each"
    facts = {"soft": soft, "hard": hard, "need": need}
    if hard != resource.RLIM_INFINITY and hard < need:
        return Finding(level="error", what="open files", found=words, facts=facts, works={"torch": False},
                       do=f"raise the hard limit to {need} (limits.conf, or LimitNOFILE of the service; in Slurm "
                          "PropagateResourceLimits), or start fewer ranks")
    return Finding(level="ok", what="open files", found=words, facts=facts)


def _processes(asked: Asked) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    need = asked.ranks * _THREADS
    words = f"{_count(soft)}; {asked.ranks} ranks have about {need} threads"
    if soft not in (resource.RLIM_INFINITY,) and soft < need:
        return Finding(level="warning", what="processes", found=words,
                       do=f"ulimit -u {_count(hard) if hard == resource.RLIM_INFINITY else max(hard, need)}")
    return Finding(level="ok", what="processes", found=words)


def _memory(asked: Asked) -> Finding:
    available, need = host_limits.available_bytes(), asked.ranks * _RANK_MIB * _MIB
    if available is None:
        return Finding(level="note", what="memory", found="the system does not say how much is free")
    words = f"{available / 2**30:.1f} GiB free; {asked.ranks} ranks take about {need / 2**30:.1f} GiB and their buffers"
    if available < need:
        return Finding(level="warning", what="memory", found=words,
                       do="start fewer ranks, or by collbench run, which forks them after one import")
    return Finding(level="ok", what="memory", found=words)


def _shared(asked: Asked) -> Finding:
    found = host_limits.shared_memory(asked.ranks)
    if found is None:
        return Finding(level="warning", what="/dev/shm", found="is not there: MPI and nccl use slower ways",
                       do="mount -t tmpfs tmpfs /dev/shm")
    total, free, need = found
    words = f"{free // _MIB} of {total // _MIB} MiB free; MPI and nccl take up to {need // _MIB} MiB"
    if free < need:
        return Finding(level="warning", what="/dev/shm", found=words,
                       do="containers: --shm-size=8g or --ipc=host; else mount -o remount,size=8g /dev/shm")
    return Finding(level="ok", what="/dev/shm", found=words)


def _locked() -> Finding:
    """InfiniBand and its like pin the memory that they send from."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    fabric = sorted(path.name for path in Path("/sys/class/infiniband").glob("*"))
    words = "no limit" if soft == resource.RLIM_INFINITY else f"{soft / _MIB:g} MiB"
    if fabric and soft != resource.RLIM_INFINITY and soft < _RDMA_LOCKED_MIB * _MIB:
        return Finding(level="warning", what="locked memory", found=f"{words}, but {', '.join(fabric)} pins buffers",
                       do="ulimit -l unlimited (limits.conf; in Slurm PropagateResourceLimitsExcept=MEMLOCK)")
    return Finding(level="ok", what="locked memory", found=words + ("" if fabric else "; nothing here pins memory"))


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
