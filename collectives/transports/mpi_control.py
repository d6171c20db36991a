"""The control path between some ranks over MPI; see `interfaces.Control`."""

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

__all__ = ["MpiControl"]

_BACKOFF_S = (0.0, 20e-6, 100e-6, 500e-6, 2e-3)


class MpiControl:
    """A communicator of its own, so that nothing here matches an operation that is timed."""

    def __init__(self, control: MPI.Intracomm) -> None:
        self.control = control
        self.rank, self.size = control.rank, control.size
        self.now_ns = time.perf_counter_ns
        self.barrier = control.Barrier
        self._subsets: dict[tuple[int, ...], MpiControl] = {}

    def share(self, word: int) -> int:
        shared = np.array([word], np.int64)
        self.control.Bcast(shared, root=0)
        return int(shared[0])

    def agree(self, word: int) -> int:
        shared = np.array([word], np.int64)
        request = self.control.Ibcast(shared, root=0)
        delays = itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1]))
        while not request.Test():      # MPI waits by spinning; ranks outside the group would take cores from it
            time.sleep(next(delays))
        return int(shared[0])

    def arrive(self) -> Callable[[], bool]:
        return self.control.Ibarrier().Test

    def announce(self, word: int) -> Callable[[], int]:
        shared = np.array([word], np.int64)
        request = self.control.Ibcast(shared, root=0)

        def wait() -> int:
            request.Wait()
            return int(shared[0])
        return wait

    def among(self, ranks: Sequence[int]) -> "MpiControl":
        members = tuple(ranks)
        if members not in self._subsets:
            made = self.control.Create_group(self.control.Get_group().Incl(members))
            made.Set_errhandler(MPI.ERRORS_RETURN)
            self._subsets[members] = MpiControl(made)
        return self._subsets[members]

    def ask(self, peer: int) -> int:
        question, stamp = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.control.Send(question, peer, 1)
        self.control.Recv(stamp, peer, 2)
        return int(stamp[0])

    def answer(self, peer: int) -> None:
        self.control.Recv(np.zeros(1, np.int64), peer, 1)
        self.control.Send(np.array([self.now_ns()], np.int64), peer, 2)
