"""What operations made of several calls may use of MPI; see `interfaces.Parts`."""

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from mpi4py import MPI

from ..cases.case import Case
from ..interfaces import RawBytes
from .mpi_calls import Buffers, bind, by_address, starter

__all__ = ["MpiParts"]


class _Groups(Protocol):
    """A communicator, as far as its parts need it."""

    rank: int
    size: int
    now_ns: Callable[[], int]

    def group(self, ranks: Sequence[int] | None) -> MPI.Intracomm:
        """Some of its ranks."""


class MpiParts:
    """One slot of a communicator."""

    def __init__(self, comm: _Groups, row: RawBytes) -> None:
        self.rank, self.size, self.now_ns = comm.rank, comm.size, comm.now_ns
        self._comm, self._row = comm, row
        self._bound: list[Buffers] = []

    def free(self) -> None:
        """Free the requests of all calls."""
        for buffers in self._bound:
            buffers.free()

    def slot(self, at: int, length: int) -> RawBytes:
        return self._row[at:at + length]

    def scratch(self, length: int) -> RawBytes:
        if isinstance(self._row, np.ndarray):
            return np.zeros(length, np.uint8)
        return self._row.new_zeros(length)

    def call(self, case: Case, send: RawBytes, recv: RawBytes,
             ranks: Sequence[int] | None = None) -> Callable[[], object]:
        return bind(self._comm.group(ranks), case, self._buffers(case, send, recv), persistent=False)

    def start(self, case: Case, send: RawBytes, recv: RawBytes,
              ranks: Sequence[int] | None = None) -> Callable[[], Callable[[], object]]:
        return starter(self._comm.group(ranks), case, self._buffers(case, send, recv))

    def exchange(self, send: RawBytes, sends: Sequence[int], recv: RawBytes, receives: Sequence[int],
                 ranks: Sequence[int] | None = None) -> None:
        self._comm.group(ranks).Alltoallv(_vector(send, sends), _vector(recv, receives))

    def _buffers(self, case: Case, send: RawBytes, recv: RawBytes) -> Buffers:
        self._bound.append(Buffers(case, send, recv))
        return self._bound[-1]


def _vector(raw: RawBytes, counts: Sequence[int]) -> list[object]:
    return [by_address(raw), (counts, [0, *itertools.accumulate(counts[:-1])]), MPI.BYTE]
