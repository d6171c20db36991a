"""Which rank is this? One table from the variables that launchers set to rank, world size, local rank and address.

Several launchers may have left their variables in one environment. Where these tell of one world they are one launch;
where one launcher was started inside another, once a node, the inner one counts; everything else is a contradiction,
and is explained before anything is started.
"""

import os
import re
import socket
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UsageError
from .slurm_nodelist import expand_counts, expand_nodes, slurm_node_address

__all__ = ["LAUNCHERS", "Place", "find_place", "mpi_obstacle", "seems_first", "why_not_a_rank"]


class Place(NamedTuple):
    """A rank's place in its job.

    `address` is host and port where ranks meet; None where the launcher names none. `node` is what the launcher calls
    this host, and `nodes` those of the job; None and empty where it does not say.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int | None
    address: tuple[str, int] | None
    node: str | None = None
    nodes: tuple[str, ...] = ()


class _Launcher(NamedTuple):
    """Variables of one launcher. `mark` is there if and only if it started this process, and may have to begin so.

    A column holds the names that are known for it, the best first. `agents` says how many of it share a world.
    """

    name: str
    mark: str
    rank: str
    size: tuple[str, ...]
    local_rank: tuple[str, ...]
    local_size: tuple[str, ...]
    begins: str = ""
    agents: str = ""
    starts_mpi: bool = False


_LISTENING = "COLLBENCH_LISTEN_FD"
# What starts ranks inside another launcher comes before it.
LAUNCHERS = (
    _Launcher("collbench", _LISTENING, "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    _Launcher("torchrun", "TORCHELASTIC_RUN_ID", "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",),
              agents="GROUP_WORLD_SIZE"),
    _Launcher("plain variables", "RANK", "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    _Launcher("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",),
              ("OMPI_COMM_WORLD_LOCAL_RANK",), ("OMPI_COMM_WORLD_LOCAL_SIZE",), starts_mpi=True),
    _Launcher("Intel MPI", "I_MPI_MPIRUN", "PMI_RANK", ("PMI_SIZE",), ("MPI_LOCALRANKID",), ("MPI_LOCALNRANKS",),
              starts_mpi=True),
    _Launcher("MPICH", "MPI_LOCALNRANKS", "PMI_RANK", ("PMI_SIZE",), ("MPI_LOCALRANKID",), ("MPI_LOCALNRANKS",),
              starts_mpi=True),
    _Launcher("PMI", "PMI_RANK", "PMI_RANK", ("PMI_SIZE",), ("PMI_LOCAL_RANK", "SLURM_LOCALID"), ("PMI_LOCAL_SIZE",),
              starts_mpi=True),
    _Launcher("Slurm with PMIx", "PMIX_NAMESPACE", "PMIX_RANK", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
              ("SLURM_LOCALID",), (), begins="slurm.pmix.", starts_mpi=True),
    _Launcher("Slurm", "SLURM_STEP_ID", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), ("SLURM_LOCALID",),
              ()),
)
_WHOLE = re.compile(r"\s{0,9}-?[0-9]{1,18}\s{0,9}")
_MOST_RANKS = 1_000_000
_LAST_PORT = 65_535
_DEFAULT_PORT = 29500
_FIRST_PORT, _PORTS = 15000, 15000      # below what systems hand out by themselves
_JOB_NAMES = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")


class _Claim(NamedTuple):
    """What one row of the table says of this process, with the variables that said so."""

    by: _Launcher
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    said: str


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that the launcher gave this process; None when no launcher did.

    UsageError: a variable that is not a whole number or out of range, a rank outside its world, or launchers that
    contradict each other.
    """
    claims = list(_claims(environment))
    if not claims:
        if "PMIX_RANK" in environment and not environment.get("PMIX_NAMESPACE", "").startswith("slurm."):
            raise UsageError(f"PMIX_RANK={environment['PMIX_RANK']} says that this is one rank of several, but no "
                             "variable says of how many: set RANK and WORLD_SIZE, or start with mpirun, srun or "
                             "torchrun")
        return None
    for outer in claims[1:]:
        _compare(claims[0], outer, environment)
    return _place(claims, environment)


def why_not_a_rank(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why a process without a place was most likely meant to have one; None when it was not."""
    tasks = environment.get("SLURM_NTASKS", "1")
    if "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment and tasks != "1":
        return (f"this Slurm job has {tasks} tasks, but this process is the job's own shell and none of them: "
                "start it with srun")
    return None


def seems_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the rank to speak for all of them where they contradict each other; most likely rank 0."""
    return not any(row.mark in environment and environment.get(row.rank, "0") != "0" for row in LAUNCHERS)


def mpi_obstacle(place: Place, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why MPI would find this rank alone, where the launcher alone tells; None when nothing speaks against it."""
    if place.size == 1 or any(claim.by.starts_mpi for claim in _claims(environment)):
        return None
    if place.launcher == "Slurm":
        return (f"srun started {place.size} tasks without a start-up protocol for MPI, so each would be alone: give "
                "srun --mpi=pmix (Open MPI) or --mpi=pmi2 (MPICH); srun --mpi=list shows what this Slurm has")
    return f"{place.launcher} started {place.size} ranks, but not as ranks of MPI, so each would be alone: use mpirun"


def _claims(environment: Mapping[str, str]) -> list[_Claim]:
    """What every launcher says, innermost first; one that only names variables of another is left out."""
    claims: list[_Claim] = []
    for row in LAUNCHERS:
        size = next((name for name in row.size if name in environment), None)
        if size is None or row.rank not in environment or not environment.get(row.mark, "").startswith(row.begins):
            continue
        if row.mark not in environment or any(row.rank == claim.by.rank for claim in claims):
            continue
        claim = _claim(row, size, environment)
        if claim.size > 1 or not row.name.startswith("Slurm"):      # a step of one task is a shell, and no world
            claims.append(claim)
    return claims


def _claim(row: _Launcher, size_name: str, environment: Mapping[str, str]) -> _Claim:
    """What a launcher's variables say of this process; UsageError where they contradict each other."""
    rank, size = _number(environment, row.rank), _number(environment, size_name, 1)
    if rank >= size:
        raise UsageError(f"{row.rank}={rank} is not a rank of a world of {size_name}={size}: ranks are from 0 to "
                         f"{size - 1}")
    local = [next((name for name in names if name in environment), None) for names in (row.local_rank, row.local_size)]
    local_rank, local_size = (name and _number(environment, name, least) for least, name in enumerate(local))
    if local_size is None and row.name.startswith("Slurm"):
        local_size = _slurm_local_size(environment)
    most = size if local_size is None else local_size
    if most > size or (local_rank or 0) >= most:
        said = ", ".join(f"{name}={environment[name]}" for name in local if name)
        raise UsageError(f"{row.name}: local rank {local_rank} of {most} on this host ({said}) does not fit rank "
                         f"{rank} of {size}: the variables of two launches are mixed")
    return _Claim(row, rank, size, local_rank, local_size, f"{row.rank}={rank}, {size_name}={size}")


def _slurm_local_size(environment: Mapping[str, str]) -> int | None:
    counts = expand_counts(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _number(environment, "SLURM_NODEID")
    return counts[node] if node is not None and 0 <= node < len(counts) else None


def _compare(inner: _Claim, outer: _Claim, environment: Mapping[str, str]) -> None:
    """UsageError unless both tell of one world, or the inner launcher was started once a node by the outer one.

    One that has agents makes its own ranks: that they are numbered as the agents are is chance.
    """
    if not inner.by.agents and (inner.rank, inner.size) == (outer.rank, outer.size):
        if None not in (inner.local_rank, outer.local_rank) and inner.local_rank != outer.local_rank:
            raise UsageError(f"{inner.by.name} says local rank {inner.local_rank} ({inner.said}), {outer.by.name} says "
                             f"{outer.local_rank}: two ranks of one host would take one device")
        return
    if inner.by.name == "plain variables":
        raise UsageError(f"{inner.said} ({inner.by.name}), but {outer.by.name} says {outer.said}: "
                         "unset RANK and WORLD_SIZE, or start the ranks with one launcher")
    if outer.local_size is not None and outer.local_size > 1:
        raise UsageError(f"{inner.by.name} was started {outer.local_size} times on this host by {outer.by.name} "
                         f"({inner.said}; {outer.said}): start {inner.by.name} once a host, or the ranks themselves "
                         f"by {outer.by.name}")
    agents = _number(environment, inner.by.agents, 1) if inner.by.agents else None
    if agents is not None and agents != outer.size and outer.local_size == 1:
        raise UsageError(f"{outer.by.name} started {inner.by.name} {outer.size} times, but this one makes a world of "
                         f"{inner.size} ranks with {agents - 1} others: give it --nnodes {outer.size} and a common "
                         "--rdzv-endpoint")


def _place(claims: list[_Claim], environment: Mapping[str, str]) -> Place:
    """The innermost claim, with what it leaves open from those that tell of the same world."""
    first = claims[0]
    if first.by.mark == _LISTENING:
        _number(environment, _LISTENING)
    same = [claim for claim in claims if (claim.rank, claim.size) == (first.rank, first.size)]
    local_rank = next((claim.local_rank for claim in same if claim.local_rank is not None), first.rank)
    local_size = next((claim.local_size for claim in same if claim.local_size is not None), None)
    nodes = _nodes(environment, "SLURM_STEP_NODELIST" if same[-1].by.name == "Slurm" else "SLURM_JOB_NODELIST")
    place = Place(first.by.name, first.rank, first.size, local_rank, local_size, None,
                  environment.get("SLURMD_NODENAME"), nodes)
    return place._replace(address=_address(environment, place, nodes))


def _nodes(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return expand_nodes(environment.get(name, ""))


def _address(environment: Mapping[str, str], place: Place, nodes: tuple[str, ...]) -> tuple[str, int] | None:
    """MASTER_ADDR where it is set; this host where it has all ranks; the first node of a Slurm job."""
    port = _number(environment, "MASTER_PORT", 1, _LAST_PORT)
    if port is None:
        port = _port(environment)
    host = environment.get("MASTER_ADDR")
    if host:
        return _checked(host, place), port
    if place.size in (1, place.local_size) or len(nodes) == 1:
        return "127.0.0.1", port
    return (_reachable(nodes[0]), port) if nodes else None


def _checked(host: str, place: Place) -> str:
    """UsageError where no rank of another host could come to `host`."""
    elsewhere = place.local_size is not None and place.local_size < place.size
    if elsewhere and place.launcher != "torchrun" and re.fullmatch(r"localhost|127\..*|::1", host):
        raise UsageError(f"MASTER_ADDR={host} is this host to everyone, but {place.size - place.local_size} of "
                         f"{place.size} ranks are on others: set it to a name or address of rank 0's host")
    if not _resolves(host):
        raise UsageError(f"MASTER_ADDR={host} has no address on {socket.gethostname()}: set it to a name or address of "
                         "rank 0's host that every host knows")
    return host


def _reachable(node: str) -> str:
    """The name of a Slurm node where it can be looked up, else the address that Slurm has for it."""
    return node if _resolves(node) else slurm_node_address(node) or node


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def _port(environment: Mapping[str, str]) -> int:
    """One that all ranks of a job find by themselves, and two jobs on one host seldom share."""
    job = environment.get("PMIX_NAMESPACE") or ".".join(
        environment[name] for name in _JOB_NAMES if name in environment)
    return _FIRST_PORT + zlib.crc32(job.encode()) % _PORTS if job else _DEFAULT_PORT


def _number(environment: Mapping[str, str], name: str, least: int = 0, most: int = _MOST_RANKS) -> int | None:
    """The whole number in a variable; None where it is not set. UsageError for anything else."""
    text = environment.get(name)
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise UsageError(f"{name}={text!r:.60} in the environment: expected a whole number from {least} to {most}")
    return int(text)
