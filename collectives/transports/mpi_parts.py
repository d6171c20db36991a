"""What operations made of several calls may use of MPI; see `parts.Parts`."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from ..cases.case import Case
from ..interfaces import RawBytes
from ..parts import Work
from ..row_math import RowMath
from .host_compute import compute_on_host
from .host_rows import HostRows
from .mpi_calls import Buffers, bind, by_address, request_starter, starter

__all__ = ["MpiParts"]


class _Groups(Protocol):
    """A communicator, as far as its parts need it."""

    rank: int
    size: int
    now_ns: Callable[[], int]
    drain: Callable[[], object]
    kept: dict[Case, int]

    def share(self, word: int) -> int:
        """Broadcast an integer from rank 0."""

    def group(self, ranks: Sequence[int] | None) -> MPI.Intracomm:
        """Some of its ranks."""


class MpiParts:
    """One slot of a communicator."""

    def __init__(self, comm: _Groups, row: RawBytes, shared: dict[str, Any]) -> None:
        self.rank, self.size, self.now_ns = comm.rank, comm.size, comm.now_ns
        self.share, self.kept, self.shared = comm.share, comm.kept, shared
        self.rows = _row_math(row, comm.drain)
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

    def start_timed(self, case: Case, send: RawBytes, recv: RawBytes,
                    ranks: Sequence[int] | None = None) -> Callable[[], "MpiWork"]:
        start, now_ns = request_starter(self._comm.group(ranks), case, self._buffers(case, send, recv)), self.now_ns
        return lambda: MpiWork(start(), now_ns)

    def compute(self, units: int, poll: Callable[[], object]) -> Work:
        return compute_on_host(units, poll, self.now_ns)

    def exchange(self, send: RawBytes, sends: Sequence[int], recv: RawBytes, receives: Sequence[int],
                 ranks: Sequence[int] | None = None) -> None:
        self._comm.group(ranks).Alltoallv(_vector(send, sends), _vector(recv, receives))

    def _buffers(self, case: Case, send: RawBytes, recv: RawBytes) -> Buffers:
        self._bound.append(Buffers(case, send, recv))
        return self._bound[-1]


class MpiWork:
    """A request. It is complete for the program when MPI says so, which it does in a call only."""

    def __init__(self, request: MPI.Request, now_ns: Callable[[], int]) -> None:
        self._request, self._now_ns, self._at_ns = request, now_ns, 0

    def poll(self) -> None:
        if not self._at_ns and self._request.Test():
            self._at_ns = self._now_ns()

    def __call__(self) -> int:
        if not self._at_ns:
            self._request.Wait()
            self._at_ns = self._now_ns()
        return self._at_ns


def _row_math(row: RawBytes, drain: Callable[[], object]) -> RowMath:
    if isinstance(row, np.ndarray):
        return HostRows()
    from .torch_rows import TorchRows
    return TorchRows(row.device, drain)


def _vector(raw: RawBytes, counts: Sequence[int]) -> list[object]:
    return [by_address(raw), (counts, [0, *itertools.accumulate(counts[:-1])]), MPI.BYTE]
