"""Which rank is this? One table from the variables that launchers set to rank, world size, local rank and address."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from .errors import UsageError

__all__ = ["LAUNCHERS", "Place", "find_place"]


class Place(NamedTuple):
    """A rank's place in its job. `address` is host and port where ranks meet; None where the launcher names none."""

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int | None
    address: tuple[str, int] | None


class _Names(NamedTuple):
    launcher: str
    rank: str
    size: str
    local_rank: str
    local_size: str


# The first row whose rank and size are both set wins: what starts ranks inside another launcher comes before it.
LAUNCHERS = (
    _Names("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    _Names("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
           "OMPI_COMM_WORLD_LOCAL_SIZE"),
    _Names("MPICH or Intel MPI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    _Names("Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)
_DEFAULT_PORT = 29500


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that the launcher gave this process; None when no launcher did.

    UsageError: a variable that is not a whole number, or a rank outside the world.
    """
    for names in LAUNCHERS:
        if names.rank in environment and names.size in environment:
            return _place(names, environment)
    return None


def _place(names: _Names, environment: Mapping[str, str]) -> Place:
    rank, size = _number(environment, names.rank), _number(environment, names.size)
    local_rank = _number(environment, names.local_rank, rank)
    local_size = _number(environment, names.local_size, None)
    if not 0 <= rank < size:
        raise UsageError(f"{names.rank}={rank} is not a rank of a world of {names.size}={size}")
    return Place(names.launcher, rank, size, local_rank, local_size, _address(environment, size, local_size))


def _address(environment: Mapping[str, str], size: int, local_size: int | None) -> tuple[str, int] | None:
    host = environment.get("MASTER_ADDR") or ("127.0.0.1" if size in (1, local_size) else None)
    return (host, _number(environment, "MASTER_PORT", _DEFAULT_PORT)) if host else None


def _number(environment: Mapping[str, str], name: str, default: int | None = 0) -> int | None:
    text = environment.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name}={text!r} in the environment: expected a whole number") from None
