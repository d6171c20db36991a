"""Provenance of a run: hosts, cores, versions, and settings that influence communication libraries."""

import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from .. import topology
from ..topology import domain_of_rank, usable_cores
from .rendezvous import Place

__all__ = ["RankFacts", "describe", "host_cores", "placement", "rank_facts", "settings"]

# Only variables that configure communication or placement; never the whole environment, which holds secrets.
_ALLOWED = re.compile(r"(NCCL|RCCL|HCCL|GLOO|UCX|UCC|FI|OMPI_MCA|PRTE_MCA|MPICH|MPIR_CVAR|I_MPI|TORCH_NCCL)_\w+"
                      r"|(OMP|KMP)_\w+"
                      r"|(CUDA|HIP|ROCR|ASCEND_RT|ZE)_VISIBLE_DEVICES|SLURM_(JOB_ID|JOB_NUM_NODES|NTASKS|JOB_PARTITION)")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


class RankFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Location of one rank. Two ranks with the same `boot` read one monotonic clock.

    `cores` are the cores that this rank may use, which binding restricts. `node` is the launcher's name for the host,
    `domain` the identity of a scale-up domain that spans several hosts.
    """

    host: str
    boot: str
    cores: list[int]
    local_rank: int
    node: str
    launcher: str
    domain: str | None = None


def rank_facts(place: Place) -> RankFacts:
    """Facts of this process."""
    host = socket.gethostname()
    return RankFacts(host=host, boot=_boot(), cores=usable_cores(), local_rank=place.local_rank,
                     node=place.node or host, launcher=place.launcher, domain=domain_of_rank(place.local_rank))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{socket.gethostname()}/{platform.platform()}"


def host_cores(facts: Sequence[RankFacts]) -> list[set[int]]:
    """For each rank, the union of the cores that the ranks on its host may use."""
    by_host: dict[str, set[int]] = {}
    for fact in facts:
        by_host.setdefault(fact.boot, set()).update(fact.cores)
    return [by_host[fact.boot] for fact in facts]


def settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Allow-listed environment variables that configure communication libraries or placement."""
    return {name: value for name, value in sorted(environment.items())
            if _ALLOWED.fullmatch(name) and not _SECRET.search(name)}


def describe(facts: Sequence[RankFacts], versions: Mapping[str, str]) -> dict[str, object]:
    """The provenance that rank 0 writes to the journal."""
    return {
        "host": facts[0].host,
        "hosts": [fact.host for fact in facts],
        "launch": placement(facts),
        "cores": [len(cores) for cores in host_cores(facts)],
        "topology": {"words": topology.describe().words(), **msgspec.to_builtins(topology.describe()),
                     "domains": [fact.domain for fact in facts]},
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": {"collbench": _own_version(), "python": platform.python_version(), **versions},
        "settings": settings(),
        "git": _git_state(),
    }


def placement(facts: Sequence[RankFacts]) -> dict[str, object]:
    """The launcher, its nodes, ranks per node, and the order of ranks over nodes."""
    order = [fact.node for fact in facts]
    nodes = list(dict.fromkeys(order))
    counts = [order.count(node) for node in nodes]
    cyclic = [nodes[rank % len(nodes)] for rank in range(len(order))]
    block = [node for node, count in zip(nodes, counts, strict=True) for _ in range(count)]
    return {"launcher": facts[0].launcher, "nodes": nodes, "ranks_per_node": counts,
            "placement": "block" if order == block else "cyclic" if order == cyclic else "irregular"}


def _cpu() -> str | None:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return platform.processor() or None
    return match[1] if match else platform.processor() or None


def _own_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version("collbench")
    except PackageNotFoundError:
        return None


def _git_state() -> str | None:
    """Commit of the running source, with `+` for local changes; None outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--match="], text=True,
                              cwd=Path(__file__).parent, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
