"""Find this process's rank, world size, local rank and address from the variables that launchers set.

Several launchers may have left variables in one environment. If they describe the same world, they are one launch; if
one launcher was started inside another, once per node, the inner one counts; anything else is a contradiction, which is
reported before anything starts.
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

    `address` is host and port of the rendezvous store; None if the launcher provides none. `node` is the launcher's
    name for this host, and `nodes` those of the job; None and empty if unknown. `device_stride` is the distance between
    the devices of two neighbouring ranks of a host.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int | None
    address: tuple[str, int] | None
    node: str | None = None
    nodes: tuple[str, ...] = ()
    device_stride: int = 1

    @property
    def device_slot(self) -> int:
        """The device of this rank, modulo the number of devices that it sees."""
        return self.local_rank * self.device_stride


class _Starter(NamedTuple):
    """The variables of one launcher.

    `mark` is set if and only if the launcher started this process; its value must start with `begins`. Columns with
    several names list the preferred one first. `agents` holds the number of agents (one per node) of the launch.
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
# Launchers that can run inside another one come first.
LAUNCHERS = (
    _Starter("collbench", _LISTENING, "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    _Starter("torchrun", "TORCHELASTIC_RUN_ID", "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",),
             agents="GROUP_WORLD_SIZE"),
    _Starter("plain variables", "RANK", "RANK", ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    _Starter("Flux", "FLUX_TASK_RANK", "FLUX_TASK_RANK", ("FLUX_JOB_SIZE",), ("FLUX_TASK_LOCAL_ID",), (),
             starts_mpi=True),
    _Starter("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",),
             ("OMPI_COMM_WORLD_LOCAL_RANK",), ("OMPI_COMM_WORLD_LOCAL_SIZE",), starts_mpi=True),
    _Starter("Intel MPI", "I_MPI_MPIRUN", "PMI_RANK", ("PMI_SIZE",), ("MPI_LOCALRANKID",), ("MPI_LOCALNRANKS",),
             starts_mpi=True),
    _Starter("MPICH", "MPI_LOCALNRANKS", "PMI_RANK", ("PMI_SIZE",), ("MPI_LOCALRANKID",), ("MPI_LOCALNRANKS",),
             starts_mpi=True),
    _Starter("PMI", "PMI_RANK", "PMI_RANK", ("PMI_SIZE",), ("PMI_LOCAL_RANK", "SLURM_LOCALID"), ("PMI_LOCAL_SIZE",),
             starts_mpi=True),
    _Starter("Slurm with PMIx", "PMIX_NAMESPACE", "PMIX_RANK", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
             ("SLURM_LOCALID",), (), begins="slurm.pmix.", starts_mpi=True),
    _Starter("Slurm", "SLURM_STEP_ID", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), ("SLURM_LOCALID",),
             ()),
)
_WHOLE = re.compile(r"\s{0,9}-?[0-9]{1,18}\s{0,9}")
_MOST_RANKS = 1_000_000
_LAST_PORT = 65_535
_OF_A_SHELL = ("Slurm", "Slurm with PMIx", "PMI")       # their variables with one task are those of a shell
_DEFAULT_PORT = 29500
_FIRST_PORT, _PORTS = 15000, 15000      # below the range of ephemeral ports
_JOB_NAMES = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")


class _LauncherClaim(NamedTuple):
    """What the variables of one launcher say about this process; `source` names the variables."""

    by: _Starter
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    source: str


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place according to its launcher; None without a launcher.

    UsageError: a variable that is no integer or out of range, a rank outside its world, or contradicting launchers.
    """
    claims = list(_claims(environment))
    if not claims:
        if "PMIX_RANK" in environment and not environment.get("PMIX_NAMESPACE", "").startswith("slurm."):
            raise UsageError(f"PMIX_RANK={environment['PMIX_RANK']} is set, but no variable has the world size: set "
                             "RANK and WORLD_SIZE, or start with mpirun, srun or torchrun")
        return None
    for outer in claims[1:]:
        _compare(claims[0], outer, environment)
    return _place(claims, environment)


def why_not_a_rank(environment: Mapping[str, str] = os.environ) -> str | None:
    """Why a process without a place was probably meant to be a rank, or None."""
    tasks = environment.get("SLURM_NTASKS", "1")
    if "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment and tasks != "1":
        return (f"this Slurm job has {tasks} tasks, but this process is the batch shell and not one of them: start it "
                "with srun")
    return None


def seems_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this rank should report an error that all ranks have; probably rank 0."""
    return not any(row.mark in environment and environment.get(row.rank, "0") != "0" for row in LAUNCHERS)


def mpi_obstacle(place: Place, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why MPI could not connect the ranks started by this launcher, or None."""
    if place.size == 1 or any(claim.by.starts_mpi for claim in _claims(environment)):
        return None
    if place.launcher == "Slurm":
        return (f"srun started {place.size} tasks without PMI support, so each would be a world of its own: use "
                "srun --mpi=pmix (Open MPI) or --mpi=pmi2 (MPICH); srun --mpi=list shows what is available")
    return f"{place.launcher} did not start these {place.size} ranks as MPI ranks: use mpirun"


def _claims(environment: Mapping[str, str]) -> list[_LauncherClaim]:
    """The claims of all launchers, innermost first; launchers that share variables are listed once."""
    claims: list[_LauncherClaim] = []
    for row in LAUNCHERS:
        size = next((name for name in row.size if name in environment), None)
        if size is None or row.rank not in environment or not environment.get(row.mark, "").startswith(row.begins):
            continue
        if row.mark not in environment or any(row.rank == claim.by.rank for claim in claims):
            continue
        claim = _claim(row, size, environment)
        if claim.size > 1 or row.name not in _OF_A_SHELL:
            claims.append(claim)
    return claims


def _claim(row: _Starter, size_name: str, environment: Mapping[str, str]) -> _LauncherClaim:
    """What a launcher's variables say about this process; UsageError if they contradict each other."""
    rank, size = _required(environment, row.rank), _required(environment, size_name, 1)
    if rank >= size:
        raise UsageError(f"{row.rank}={rank} is not a rank of a world of {size_name}={size}: ranks are from 0 to "
                         f"{size - 1}")
    rank_name, count_name = (next((name for name in names if name in environment), None)
                             for names in (row.local_rank, row.local_size))
    local_rank = _number(environment, rank_name) if rank_name else None
    local_size = _number(environment, count_name, 1) if count_name else None
    if local_size is None and row.name.startswith("Slurm"):
        local_size = _slurm_local_size(environment)
    most = size if local_size is None else local_size
    if most > size or (local_rank or 0) >= most:
        given = ", ".join(f"{name}={environment[name]}" for name in (rank_name, count_name) if name)
        raise UsageError(f"{row.name}: local rank {local_rank} of {most} on this host ({given}) does not fit rank "
                         f"{rank} of {size}: variables of two launches are mixed")
    return _LauncherClaim(row, rank, size, local_rank, local_size, f"{row.rank}={rank}, {size_name}={size}")


def _slurm_local_size(environment: Mapping[str, str]) -> int | None:
    counts = expand_counts(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _number(environment, "SLURM_NODEID")
    return counts[node] if node is not None and 0 <= node < len(counts) else None


def _compare(inner: _LauncherClaim, outer: _LauncherClaim, environment: Mapping[str, str]) -> None:
    """UsageError unless both describe the same world, or the outer launcher started the inner one once per node.

    A launcher with agents starts its own ranks; if these have the same numbers as the agents, it is a coincidence.
    """
    if not inner.by.agents and (inner.rank, inner.size) == (outer.rank, outer.size):
        if None not in (inner.local_rank, outer.local_rank) and inner.local_rank != outer.local_rank:
            raise UsageError(f"{inner.by.name} says local rank {inner.local_rank} ({inner.source}), {outer.by.name} "
                             f"says {outer.local_rank}: two ranks on one host would use one device")
        return
    if inner.by.name == "plain variables":
        raise UsageError(f"{inner.source} ({inner.by.name}), but {outer.by.name} says {outer.source}: "
                         "unset RANK and WORLD_SIZE, or start the ranks with one launcher")
    if outer.local_size is not None and outer.local_size > 1:
        raise UsageError(f"{inner.by.name} was started {outer.local_size} times on this host by {outer.by.name} "
                         f"({inner.source}; {outer.source}): start {inner.by.name} once per host, or the ranks "
                         f"directly with {outer.by.name}")
    agents = _number(environment, inner.by.agents, 1) if inner.by.agents else None
    if agents is not None and agents != outer.size and outer.local_size == 1:
        raise UsageError(f"{outer.by.name} started {inner.by.name} {outer.size} times, but this one forms a world of "
                         f"{inner.size} ranks with {agents - 1} others: use --nnodes {outer.size} and a common "
                         "--rdzv-endpoint")


def _place(claims: list[_LauncherClaim], environment: Mapping[str, str]) -> Place:
    """The innermost claim, completed from other claims about the same world."""
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
    """MASTER_ADDR if set, else this host if it has all ranks, else the first node of a Slurm job."""
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
    """UsageError if ranks of other hosts cannot connect to `host`."""
    remote = 0 if place.local_size is None else place.size - place.local_size
    if remote > 0 and place.launcher != "torchrun" and re.fullmatch(r"localhost|127\..*|::1", host):
        raise UsageError(f"MASTER_ADDR={host} is a loopback address, but {remote} of {place.size} ranks are on other "
                         "hosts: set it to a name or address of rank 0's host")
    if not _resolves(host):
        raise UsageError(f"MASTER_ADDR={host} cannot be resolved on {socket.gethostname()}: set it to a name or "
                         "address of rank 0's host that every host can resolve")
    return host


def _reachable(node: str) -> str:
    """The name of a Slurm node if it can be resolved, else the address that Slurm has for it."""
    return node if _resolves(node) else slurm_node_address(node) or node


def _resolves(host: str) -> bool:
    try:
        return bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def _port(environment: Mapping[str, str]) -> int:
    """A port that all ranks of a job derive alike, and that two jobs on one host rarely share."""
    job = environment.get("PMIX_NAMESPACE") or ".".join(
        environment[name] for name in _JOB_NAMES if name in environment)
    return _FIRST_PORT + zlib.crc32(job.encode()) % _PORTS if job else _DEFAULT_PORT


def _number(environment: Mapping[str, str], name: str, least: int = 0, most: int = _MOST_RANKS) -> int | None:
    """The integer in a variable; None if it is not set. UsageError for anything else."""
    return _required(environment, name, least, most) if name in environment else None


def _required(environment: Mapping[str, str], name: str, least: int = 0, most: int = _MOST_RANKS) -> int:
    """The integer in a variable that is set."""
    text = environment[name]
    if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
        raise UsageError(f"{name}={text!r:.60} in the environment: expected a whole number from {least} to {most}")
    return int(text)
