"""The one-shot all-reduce over an MPI shared window, between ranks of one host."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from ..cases.case import Case
from ..interfaces import RawBytes
from ..ranks.host_limits import shared_memory

__all__ = ["SharedWindow"]

_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum}
_CHUNK_BYTES = 128 << 10        # of each rank, reduced at once: sums stay in the first caches


class SharedWindow:
    """Memory of each rank that all ranks of the communicator read; for all slots of one case.

    A rank may not overwrite its data before all others have read them. It has two places for them, used in turn: the
    synchronisation of a call tells that all ranks have ended the call before it.

    Raises:
        NotImplementedError: the ranks are on several hosts.
        MemoryError: /dev/shm is too small. MPI may map it all the same, and writing to it then ends the process.
    """

    def __init__(self, comm: MPI.Intracomm, case: Case) -> None:
        neighbours = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
        near = neighbours.size
        neighbours.Free()
        if near < comm.size:
            raise NotImplementedError(f"only {near} of {comm.size} ranks share memory: the others are on other hosts")
        _check_room(comm, 2 * case.bytes * comm.size)
        self._comm, self._case, self._calls = comm, case, 0
        self._window = MPI.Win.Allocate_shared(2 * case.bytes, 1, comm=comm)
        self._window.Lock_all(MPI.MODE_NOCHECK)
        rows = [np.frombuffer(cast(Any, self._window.Shared_query(rank)[0]), np.uint8) for rank in range(comm.size)]
        self._places = [[row[at:at + case.bytes] for row in rows] for at in (0, case.bytes)]

    def free(self) -> None:
        """Collective."""
        self._places = []
        self._window.Unlock_all()
        self._window.Free()

    def bind(self, send: RawBytes, recv: RawBytes) -> Callable[[], object]:
        """The call on these buffers in host memory. All ranks make their calls in the same order."""
        source, own = np.asarray(send), self._comm.rank
        steps = [self._reduction(place, np.asarray(recv)) for place in self._places]
        targets = [place[own] for place in self._places]
        sync, barrier = self._window.Sync, self._comm.Barrier

        def call() -> None:
            place = self._calls % 2
            self._calls += 1
            targets[place][:] = source
            sync()
            barrier()
            sync()
            steps[place]()
        return call

    def _reduction(self, rows: list[np.ndarray], recv: np.ndarray) -> Callable[[], None]:
        """Reduces the data of all ranks, in their order and chunk by chunk."""
        assert self._case.redop is not None
        ufunc, dtype = _UFUNCS[self._case.redop], np.dtype(self._case.dtype)
        typed, out = [row.view(dtype) for row in rows], recv.view(dtype)
        each = _CHUNK_BYTES // dtype.itemsize
        chunks = [([row[at:at + each] for row in typed], out[at:at + each]) for at in range(0, len(out), each)]

        def reduce() -> None:
            with np.errstate(over="ignore"):
                for parts, total in chunks:
                    if len(parts) == 1:
                        total[:] = parts[0]
                        continue
                    ufunc(parts[0], parts[1], out=total)
                    for part in parts[2:]:
                        ufunc(total, part, out=total)
        return reduce


def _check_room(comm: MPI.Intracomm, needed: int) -> None:
    """MemoryError, on all ranks alike, if /dev/shm has less than `needed` bytes."""
    found = shared_memory(comm.size)
    free = np.array([needed if found is None else found[1]], np.int64)
    comm.Allreduce(MPI.IN_PLACE, free, MPI.MIN)     # it is read before any rank has allocated
    if free[0] < needed:
        raise MemoryError(f"/dev/shm has {int(free[0]) >> 20} MiB free, and {needed >> 20} MiB are needed "
                          "(containers: --shm-size=8g or --ipc=host)")
