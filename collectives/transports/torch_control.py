"""The control path between some ranks over gloo; see `interfaces.Control`."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist

__all__ = ["GLOO_TIMEOUT", "TorchControl"]

GLOO_TIMEOUT = timedelta(hours=12)      # ranks outside a group may wait long for their next case


class TorchControl:
    """A gloo group of the first ranks of the job, or of some of these."""

    def __init__(self, control: dist.ProcessGroup, members: Sequence[int]) -> None:
        self.control, self._members = control, tuple(members)
        self.rank, self.size = dist.get_rank(control), len(self._members)
        self.now_ns = time.perf_counter_ns
        self._subsets: dict[tuple[int, ...], TorchControl] = {}

    def barrier(self) -> None:
        dist.barrier(self.control)

    def share(self, word: int) -> int:
        return self.announce(word)()

    agree = share       # gloo sleeps while it waits

    def arrive(self) -> Callable[[], bool]:
        work = dist.barrier(self.control, async_op=True)
        assert work is not None
        return lambda: bool(work.is_completed())

    def announce(self, word: int) -> Callable[[], int]:
        shared = torch.tensor([word])
        work = dist.broadcast(shared, self._members[0], self.control, async_op=True)
        assert work is not None

        def wait() -> int:
            work.wait()
            return int(shared)
        return wait

    def among(self, ranks: Sequence[int]) -> "TorchControl":
        members = tuple(self._members[rank] for rank in ranks)
        if members not in self._subsets:
            made = dist.new_group(list(members), timeout=GLOO_TIMEOUT, backend="gloo", use_local_synchronization=True)
            self._subsets[members] = TorchControl(made, members)
        return self._subsets[members]

    def ask(self, peer: int) -> int:
        stamp = torch.zeros(1, dtype=torch.int64)
        dist.send(stamp, self._members[peer], self.control)
        dist.recv(stamp, self._members[peer], self.control)
        return int(stamp)

    def answer(self, peer: int) -> None:
        stamp = torch.zeros(1, dtype=torch.int64)
        dist.recv(stamp, self._members[peer], self.control)
        stamp[0] = self.now_ns()
        dist.send(stamp, self._members[peer], self.control)
