"""Each operation as a bound torch.distributed call on one slot's tensors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist

from ..cases import catalog
from ..cases.case import Case
from ..cases.messages import Message, messages, window
from ..interfaces import Layout, empty_call
from ..loop.memory import HostMemory, host_copy
from .torch_memory import DeviceMemory, tensor

__all__ = ["BINDERS", "IN_PLACE", "OUT_OF_PLACE", "Tensors", "TimedGroup", "Transfers", "bind", "slot_tensors"]

_DTYPES = {"fp8_e4m3": "float8_e4m3fn"}     # where torch has another name
# torch 2.13 renamed these two; the old names still work there, with a warning on every rank.
_all_gather_flat = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter_flat = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_OPS = {name: getattr(dist.ReduceOp, attribute) for name, attribute in
        {"sum": "SUM", "prod": "PRODUCT", "min": "MIN", "max": "MAX", "avg": "AVG"}.items()}


class TimedGroup(Protocol):
    """What calls need of a communicator: its process group, and this rank in it."""

    @property
    def timed(self) -> dist.ProcessGroup:
        """The process group."""

    @property
    def rank(self) -> int:
        """This rank's number in it."""

    def in_job(self, rank: int) -> int:
        """The rank in the job of a rank of this group, as torch.distributed names peers and roots."""


class Tensors:
    """The buffers of one call, given as bytes, in the element type of the case."""

    def __init__(self, case: Case, send: torch.Tensor, recv: torch.Tensor) -> None:
        dtype = getattr(torch, _DTYPES.get(case.dtype, case.dtype)) if case.dtype else torch.uint8
        self.case = case
        self.send, self.recv = send.view(dtype), recv.view(dtype)
        self.token = torch.zeros(1, dtype=torch.uint8, device=self.send.device)

    def messages(self, whole: torch.Tensor) -> list[torch.Tensor]:
        """The buffers of a window, one per message; reused in turn if there are fewer than messages."""
        parts = whole.split(self.case.count) if whole.numel() else ()
        return [parts[i % len(parts)] for i in range(self.case.operation.messages)] if parts else []


def slot_tensors(case: Case, memory: HostMemory | DeviceMemory, row: int, place: Layout) -> Tensors:
    """One slot as tensors for torch.distributed."""
    return Tensors(case, tensor(memory, row, place.send_at, place.send_bytes, torch.uint8),
                   tensor(memory, row, place.recv_at, place.recv_bytes, torch.uint8))


def bind(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    """The call of `case` on these buffers."""
    if case.operation.windowed:
        return (_window if case.operation.pairs else _windows)(comm, case, at)
    return BINDERS.get(case.op, _by_messages)(comm, case, at)


def _op(case: Case) -> Any:
    """torch's reduce operation of a case that reduces."""
    assert case.redop is not None
    return _OPS[case.redop]


def _all_reduce(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(dist.all_reduce, at.recv, _op(case), comm.timed)


def _all_gather(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(_all_gather_flat, at.recv, at.send, comm.timed)


def _reduce_scatter(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(_reduce_scatter_flat, at.recv, at.send, _op(case), comm.timed)


def _broadcast(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(dist.broadcast, at.recv, comm.in_job(catalog.ROOT), comm.timed)


def _reduce(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(dist.reduce, at.send, comm.in_job(catalog.ROOT), _op(case), comm.timed)


def _gather(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    parts = list(at.recv.chunk(case.ranks)) if comm.rank == catalog.ROOT else None
    return partial(dist.gather, at.send, parts, comm.in_job(catalog.ROOT), comm.timed)


def _scatter(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    parts = list(at.send.chunk(case.ranks)) if comm.rank == catalog.ROOT else None
    return partial(dist.scatter, at.recv, parts, comm.in_job(catalog.ROOT), comm.timed)


def _all_to_all(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(dist.all_to_all_single, at.recv, at.send, None, None, comm.timed)


def _all_to_all_v(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    counts = catalog.traffic_counts(case)
    return partial(dist.all_to_all_single, at.recv, at.send, [row[comm.rank] for row in counts],
                   counts[comm.rank], comm.timed)


def _barrier(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return partial(dist.barrier, comm.timed)


def _noop(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return empty_call


def _host_copy(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    return host_copy(at.send.view(torch.uint8).numpy(), at.recv.view(torch.uint8).numpy())


class Transfers:
    """Messages that are all in flight at once; grouped, since some libraries would deadlock otherwise.

    Args:
        transfers: dist.isend or dist.irecv, the data, and the rank in the group.
        kept: source and target of what the rank keeps for itself, which is copied.
    """

    def __init__(self, comm: TimedGroup, transfers: list[tuple[Callable, torch.Tensor, int]],
                 kept: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()) -> None:
        self._operations = [dist.P2POp(start, data, comm.in_job(peer), comm.timed) for start, data, peer in transfers]
        self._kept = kept

    def start(self) -> Callable[[], object]:
        """Start all; returns the wait for all."""
        for source, target in self._kept:
            target.copy_(source, non_blocking=True)
        requests = dist.batch_isend_irecv(self._operations) if self._operations else []

        def wait() -> None:
            for request in requests:
                request.wait()
        return wait

    def __call__(self) -> None:
        self.start()()


def _by_messages(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    """An operation without a call of its own, message by message."""
    sends, receives = messages(case, comm.rank) or ([], [])
    transfers = _transfers(dist.isend, at.send, sends, comm.rank) + _transfers(dist.irecv, at.recv, receives, comm.rank)
    own_sent, own_received = ([_view(data, message) for message in group if message.peer == comm.rank]
                              for data, group in ((at.send, sends), (at.recv, receives)))
    if not transfers and not own_received:
        return empty_call
    return Transfers(comm, transfers, list(zip(own_sent, own_received, strict=True)))


def _view(data: torch.Tensor, message: Message) -> torch.Tensor:
    return data[message.at:message.at + message.count]


def _transfers(start: Callable, data: torch.Tensor, group: list[Message],
               rank: int) -> list[tuple[Callable, torch.Tensor, int]]:
    """The messages to (or from) other ranks."""
    return [(start, _view(data, message), message.peer) for message in group if message.peer != rank]


def _windows(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    """Windows between several ranks, all in flight at once, then a one-byte acknowledgement from each receiver."""
    sends, receives = window(case, comm.rank)
    if not sends and not receives:
        return empty_call
    messages = Transfers(comm, _transfers(dist.irecv, at.recv, receives, comm.rank)
                         + _transfers(dist.isend, at.send, sends, comm.rank))
    acknowledge = Transfers(comm, [
        (start, torch.zeros_like(at.token), peer) for start, group in ((dist.irecv, sends), (dist.isend, receives))
        for peer in dict.fromkeys(message.peer for message in group)])

    def exchange() -> None:
        messages()
        acknowledge()
    return exchange


def _ping_pong(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    send = partial(dist.send, at.send, comm.in_job(other), comm.timed)
    receive = partial(dist.recv, at.recv, comm.in_job(other), comm.timed)
    first, second = (send, receive) if catalog.begins(case, comm.rank) else (receive, send)

    def exchange() -> None:
        first()
        second()
    return exchange


def _window(comm: TimedGroup, case: Case, at: Tensors) -> Callable[[], object]:
    """All messages of a window in flight at once, then a one-byte acknowledgement from each receiver."""
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    sends = [(dist.isend, message, other) for message in at.messages(at.send)]
    window = Transfers(comm, [(dist.irecv, message, other) for message in at.messages(at.recv)] + sends)
    answer = dist.recv if catalog.begins(case, comm.rank) else dist.send
    acknowledge = partial(answer, at.token, comm.in_job(other), comm.timed)

    def exchange() -> None:
        window()
        acknowledge()
    return exchange


BINDERS = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter,
            "broadcast": _broadcast, "reduce": _reduce, "gather": _gather, "scatter": _scatter,
            "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "barrier": _barrier, "noop": _noop,
            "ping_pong": _ping_pong, "link_latency": _ping_pong, "copy": _host_copy}
IN_PLACE = {"all_reduce", "reduce", "all_gather", "reduce_scatter"}
OUT_OF_PLACE = {"all_gather", "reduce_scatter", "gather", "scatter", "all_to_all", "all_to_all_v"}
