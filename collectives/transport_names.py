"""The list of transports: what each needs, without importing any of them. To add one, add a row and its module."""

from types import MappingProxyType
from typing import NamedTuple

__all__ = ["TRANSPORTS", "TransportRow"]


class TransportRow(NamedTuple):
    """One transport.

    Args:
        name: value of `--transport`.
        extra: the package's extra that installs all it needs.
        module: its module in `collectives.transports`.
        library: the package that must be importable.
        mpi_ranks: its ranks must be started as MPI ranks (mpirun, or srun with a PMI).
        compiled_loop: it supports `--loop native` and `--persistent`.
        backends: it has several backends, of which `--backend` selects one.
    """

    name: str
    module: str
    library: str
    extra: str
    mpi_ranks: bool = False
    compiled_loop: bool = False
    backends: bool = False

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'collbench[{self.extra}]'"


TRANSPORTS = MappingProxyType({row.name: row for row in (
    TransportRow("torch", "torch_dist", "torch", "torch", backends=True),
    TransportRow("mpi", "mpi", "mpi4py", "mpi-runtime", mpi_ranks=True, compiled_loop=True),
)})
