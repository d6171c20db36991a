"""What operations made of several calls may use of torch.distributed; see `parts.Parts`."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist

from ..cases.case import Case
from ..loop.memory import HostMemory
from ..parts import Work
from ..row_math import RowMath
from .torch_calls import Tensors, TimedGroup, Transfers, bind
from .torch_memory import DeviceMemory, tensor
from .torch_overlap import DeviceWork, compute, observed
from .torch_rows import TorchRows

__all__ = ["TorchParts"]


class _Groups(Protocol):
    """A communicator, as far as its parts need it."""

    rank: int
    size: int
    now_ns: Callable[[], int]
    kept: dict[Case, int]

    def share(self, word: int) -> int:
        """Broadcast an integer from rank 0."""

    def group(self, ranks: Sequence[int] | None) -> TimedGroup:
        """Some of its ranks."""


class TorchParts:
    """One slot of a communicator."""

    def __init__(self, comm: _Groups, memory: HostMemory | DeviceMemory, row: int, device: torch.device,
                 shared: dict[str, Any]) -> None:
        self.rank, self.size, self.now_ns = comm.rank, comm.size, comm.now_ns
        self.share, self.kept, self.shared = comm.share, comm.kept, shared
        self.rows: RowMath = TorchRows(device)
        self._comm, self._memory, self._row, self._device = comm, memory, row, device

    def slot(self, at: int, length: int) -> torch.Tensor:
        return tensor(self._memory, self._row, at, length, torch.uint8)

    def scratch(self, length: int) -> torch.Tensor:
        return torch.zeros(length, dtype=torch.uint8, device=self._device)

    def call(self, case: Case, send: torch.Tensor, recv: torch.Tensor,
             ranks: Sequence[int] | None = None) -> Callable[[], object]:
        return bind(self._comm.group(ranks), case, Tensors(case, send, recv))

    def start(self, case: Case, send: torch.Tensor, recv: torch.Tensor,
              ranks: Sequence[int] | None = None) -> Callable[[], Callable[[], object]]:
        call = self.call(case, send, recv, ranks)
        if isinstance(call, Transfers):
            return call.start
        if not isinstance(call, partial):
            raise NotImplementedError(f"torch.distributed cannot start {case.op} without waiting for it")
        begin = partial(call, async_op=True)
        return lambda: begin().wait

    def start_timed(self, case: Case, send: torch.Tensor, recv: torch.Tensor,
                    ranks: Sequence[int] | None = None) -> Callable[[], Work]:
        call = self.call(case, send, recv, ranks)
        if not isinstance(call, partial):
            raise NotImplementedError(f"torch.distributed cannot start {case.op} without waiting for it")
        start, on_device = partial(call, async_op=True), self._device.type != "cpu"

        def begin() -> Work:
            begun = DeviceWork(self._device, self.now_ns) if on_device else None
            return observed(start(), begun, self.now_ns)
        return begin

    def compute(self, units: int, poll: Callable[[], object]) -> Work:
        return compute(units, poll, self._device, self.now_ns)

    def exchange(self, send: torch.Tensor, sends: Sequence[int], recv: torch.Tensor, receives: Sequence[int],
                 ranks: Sequence[int] | None = None) -> None:
        dist.all_to_all_single(recv, send, list(receives), list(sends), self._comm.group(ranks).timed)
