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
            self.level_groups(members)
            made = dist.new_group(list(members), timeout=GLOO_TIMEOUT, backend="gloo", use_local_synchronization=True)
            self._subsets[members] = TorchControl(made, members)
        return self._subsets[members]

    def level_groups(self, members: Sequence[int]) -> None:
        """Give these ranks of the job equally many process groups. Collective over them.

        torch names a group that its members alone make after the number of groups that each has, and members with
        different names would wait for each other. Ranks that are in few groups get some of their own.
        """
        names = dist.distributed_c10d._world.pg_names
        own, first = torch.tensor([len(names)]), members[0]
        most = own.clone()
        if dist.get_rank() == first:
            for member in members[1:]:
                dist.recv(own, member, self.control)
                most = torch.maximum(most, own)
            for member in members[1:]:
                dist.send(most, member, self.control)
        else:
            dist.send(own, first, self.control)
            dist.recv(most, first, self.control)
        while len(names) < int(most):
            dist.new_group([dist.get_rank()], backend="gloo", use_local_synchronization=True)

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
