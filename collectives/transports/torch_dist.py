"""torch.distributed on whatever device is here, over that device's default backend (nccl, hccl, xccl, gloo)."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

from ..cases import catalog
from ..cases.case import Case
from ..errors import CollbenchError, UsageError
from ..interfaces import NO_DEVICE, Layout, Prepared, empty_call, layout
from ..loop.memory import HOST_SLOTS_BYTES, Memory, evict_host, host_copy
from ..loop.timing import python_block, queued_block
from ..ranks import host_limits
from ..ranks.handshake import meet, own_claim, why_apart
from ..ranks.rendezvous import Place
from ..ranks.processes import forget_shared_memory
from .torch_copies import CopyMemory, copy_calls, copy_layout
from .torch_device import captured, evictor, find_stopwatch, graph_reason, room_bytes
from .torch_memory import DEVICE_SLOTS_BYTES, drain, find_device, identify, memory_policy, open_memory, tensor

__all__ = ["LISTEN_FD", "TorchTransport", "open_transport"]

LISTEN_FD = "COLLBENCH_LISTEN_FD"      # an inherited listening socket, when ranks were forked by one parent
_PATIENCE = timedelta(hours=12)        # ranks outside a group wait for their next case as long as it takes
_LONGER_S = 30.0         # how much longer than it takes to meet ranks wait for rank 0 to say who did not come
_LENGTH_BYTES = 8
# torch 2.13 renamed these two; the older names still work there, with a warning on every rank.
_all_gather_flat = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter_flat = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_OPS = {name: getattr(dist.ReduceOp, attribute) for name, attribute in
        {"sum": "SUM", "prod": "PRODUCT", "min": "MIN", "max": "MAX", "avg": "AVG"}.items()}


class Manner:
    """How calls are made and timed on a device: found once for all communicators of a transport."""

    def __init__(self, device: torch.device) -> None:
        on_host = device.type == "cpu"
        self.device, self.graph = device, False
        self.drain, self.stopwatch = drain(device), find_stopwatch(device)
        self.slots_bytes = HOST_SLOTS_BYTES if on_host else DEVICE_SLOTS_BYTES
        self.evict = evict_host if on_host else evictor(device)


class TorchCommunicator:
    """A process group to time, and a gloo group of the same ranks for control."""

    def __init__(self, timed: dist.ProcessGroup, control: dist.ProcessGroup, manner: "Manner") -> None:
        self.timed, self.control, self._manner = timed, control, manner
        self.rank, self.size = dist.get_rank(timed), dist.get_world_size(timed)
        self.now_ns = time.perf_counter_ns
        self.drain, self.evict, self.slots_bytes = manner.drain, manner.evict, manner.slots_bytes

    def prepare(self, case: Case, slots: int) -> Prepared:
        device = self._manner.device
        if case.operation.memories and device.type != "cpu":
            place, memory = copy_layout(case), CopyMemory(case, slots, device)
            calls = copy_calls(case, memory, slots, device)
        else:
            place = layout(case, self.rank)
            memory = open_memory(slots, place.slot_bytes, device)
            calls = [_BINDERS[case.op](self, case, _Tensors(case, memory, row, place)) for row in range(slots)]
        return self._timed(calls, memory, place)

    def _timed(self, calls: list[Callable[[], object]], memory: Memory, place: Layout) -> Prepared:
        """Several calls are timed where they run, if that has a clock of its own; one with the wait for it."""
        manner = self._manner
        streamed = len(calls) > 1 and manner.stopwatch is not None
        graph = streamed and manner.graph
        queue = [captured(calls, manner.device)] if graph else calls
        block = (queued_block(queue, self.now_ns, self.drain, manner.stopwatch) if streamed
                 else python_block(queue, self.now_ns, self.drain))
        return Prepared(block, len(calls), memory, place, stopwatch="device" if streamed else "host", graph=graph)

    def room_bytes(self, local_ranks: int) -> int | None:
        rooms = [host_limits.room_bytes(local_ranks)]
        if self._manner.device.type != "cpu":
            rooms.append(room_bytes(self._manner.device, local_ranks))
        return min((room for room in rooms if room is not None), default=None)

    def barrier(self) -> None:
        dist.barrier(self.control)

    def all_max(self, values: Sequence[float]) -> list[float]:
        """By way of rank 0: gloo's own all_reduce goes round a ring, which takes a square of messages."""
        own = torch.tensor(values, dtype=torch.float64)
        parts = self._collected(own)
        if parts is not None:
            own = torch.stack(parts).amax(0)
        dist.broadcast(own, 0, self.control)
        return own.tolist()

    def _collected(self, own: torch.Tensor) -> list[torch.Tensor] | None:
        parts = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(own, parts, 0, self.control)
        return parts

    def gather(self, payload: bytes) -> list[bytes] | None:
        longest, = self.all_max([len(payload)])
        padded = len(payload).to_bytes(_LENGTH_BYTES, "little") + payload.ljust(int(longest), b"\0")
        parts = self._collected(torch.from_numpy(np.frombuffer(padded, np.uint8).copy()))
        return parts and [_unpadded(part.numpy().tobytes()) for part in parts]

    def share(self, word: int) -> int:
        shared = torch.tensor([word])
        dist.broadcast(shared, 0, self.control)
        return int(shared)

    agree = share       # gloo sleeps while it waits

    def ask(self, peer: int) -> int:
        stamp = torch.zeros(1, dtype=torch.int64)
        dist.send(stamp, peer, self.control)
        dist.recv(stamp, peer, self.control)
        return int(stamp)

    def answer(self, peer: int) -> None:
        stamp = torch.zeros(1, dtype=torch.int64)
        dist.recv(stamp, peer, self.control)
        stamp[0] = self.now_ns()
        dist.send(stamp, peer, self.control)


def _unpadded(padded: bytes) -> bytes:
    length = int.from_bytes(padded[:_LENGTH_BYTES], "little")
    return padded[_LENGTH_BYTES:_LENGTH_BYTES + length]


class TorchTransport:
    """torch.distributed over the default backend of the accelerator that is here, or of the CPU."""

    name = "torch"
    notes = ()

    def __init__(self, device: torch.device, backend: str) -> None:
        self._manner, self._backend = Manner(device), backend
        self.device = str(device) if device.type == "cpu" else f"{device.type}:{_device_name(device)}"
        self.buffers = memory_policy(device)
        self.threads = 2 if backend == "gloo" else 1    # gloo moves data in a thread of its own
        self.library = _library(backend)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def why_not(self, case: Case) -> str | None:
        if case.in_place and case.op not in _IN_PLACE:
            return f"torch.distributed has no in-place {case.op}"
        if case.operation.has_in_place and not case.in_place and case.op not in _OUT_OF_PLACE:
            return f"torch.distributed.{case.op} works in place only"
        if case.op not in _BINDERS and self._manner.device.type == "cpu":
            return NO_DEVICE
        if case.op == "send_recv" and case.ranks == 1:
            return "torch.distributed does not send to the own rank"
        return None

    def communicator(self, ranks: int) -> TorchCommunicator | None:
        members = list(range(ranks))
        timed = dist.new_group(members, timeout=_PATIENCE, backend=self._backend)
        # the first group is of all ranks and over gloo: a second mesh of sockets between all would do nothing for us
        control = dist.group.WORLD if ranks == self.size else dist.new_group(members, timeout=_PATIENCE, backend="gloo")
        return TorchCommunicator(timed, control, self._manner) if self.rank < ranks else None

    def configure(self, loop: str, persistent: bool, builds: bool, graph: bool = False) -> tuple[str, str | None]:
        reason = graph_reason(self._manner.device) if graph else None
        if reason:
            raise UsageError(f"--graph: {reason}")
        self._manner.graph = graph
        return "python", "torch.distributed is called from Python"

    def versions(self) -> dict[str, str]:
        return {"torch": str(torch.__version__)}

    def close(self) -> None:
        dist.barrier()
        dist.destroy_process_group()

    def abort(self, status: int) -> None:
        forget_shared_memory()
        os._exit(status)      # the launcher ends the other ranks


def open_transport(place: Place, device_name: str, meeting_s: float = 300.0) -> TorchTransport:
    """Meet the other ranks and choose the backend from the device."""
    host_limits.raise_open_files(place.size)
    torch.set_num_threads(1)
    device = find_device(device_name, place.local_rank)
    if place.size > 1 and place.address is None:
        raise UsageError(f"{place.launcher} started {place.size} ranks but named no meeting point: "
                         "set MASTER_ADDR (and MASTER_PORT) to the first rank's host")
    backend = dist.get_default_backend_for_device(device)
    try:
        store = _store(place, timedelta(seconds=meeting_s + _LONGER_S))
        meet(store, place, own_claim(place, **identify(device)), meeting_s)
    except RuntimeError as error:       # what torch raises for everything that goes wrong with a store
        raise CollbenchError(why_apart(place, str(error))) from None
    dist.init_process_group("gloo", store=store, rank=place.rank, world_size=place.size, timeout=_PATIENCE)
    return TorchTransport(device, backend)


def _store(place: Place, patience: timedelta) -> dist.Store:
    host, port = place.address or ("127.0.0.1", 29500)
    listening = os.environ.get(LISTEN_FD)
    if listening is None or place.rank != 0:
        # torchrun keeps a store of its own at this address; otherwise rank 0 does
        serves = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        return dist.TCPStore(host, port, place.size, serves, patience, wait_for_workers=False)
    return dist.TCPStore(host, port, place.size, True, patience, wait_for_workers=False,
                         master_listen_fd=int(listening))


def _device_name(device: torch.device) -> str:
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else socket.gethostname()


def _library(backend: str) -> str:
    if backend == "nccl":
        return "nccl " + ".".join(map(str, torch.cuda.nccl.version()))
    return f"{backend}, torch {torch.__version__}"


class _Tensors:
    """One slot as the tensors that torch.distributed takes."""

    def __init__(self, case: Case, memory: object, row: int, place: Layout) -> None:
        dtype = getattr(torch, case.dtype) if case.dtype else torch.uint8
        self.case = case
        self.send = tensor(memory, row, place.send_at, place.send_bytes, dtype)
        self.recv = tensor(memory, row, place.recv_at, place.recv_bytes, dtype)
        self.token = torch.zeros(1, dtype=torch.uint8, device=self.send.device)

    def messages(self, whole: torch.Tensor) -> list[torch.Tensor]:
        """The buffers of a window, one a message; used again in turn where there are fewer."""
        parts = whole.split(self.case.count) if whole.numel() else ()
        return [parts[i % len(parts)] for i in range(self.case.operation.messages)] if parts else []


def _all_reduce(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(dist.all_reduce, at.recv, _OPS[case.redop], comm.timed)


def _all_gather(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(_all_gather_flat, at.recv, at.send, comm.timed)


def _reduce_scatter(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(_reduce_scatter_flat, at.recv, at.send, _OPS[case.redop], comm.timed)


def _broadcast(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(dist.broadcast, at.recv, catalog.ROOT, comm.timed)


def _reduce(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(dist.reduce, at.send, catalog.ROOT, _OPS[case.redop], comm.timed)


def _gather(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    parts = list(at.recv.chunk(case.ranks)) if comm.rank == catalog.ROOT else None
    return partial(dist.gather, at.send, parts, catalog.ROOT, comm.timed)


def _scatter(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    parts = list(at.send.chunk(case.ranks)) if comm.rank == catalog.ROOT else None
    return partial(dist.scatter, at.recv, parts, catalog.ROOT, comm.timed)


def _all_to_all(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(dist.all_to_all_single, at.recv, at.send, None, None, comm.timed)


def _all_to_all_v(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    counts = catalog.traffic_counts(case)
    return partial(dist.all_to_all_single, at.recv, at.send, [row[comm.rank] for row in counts],
                   counts[comm.rank], comm.timed)


def _barrier(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return partial(dist.barrier, comm.timed)


def _noop(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return empty_call


def _host_copy(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    return host_copy(at.send.view(torch.uint8).numpy(), at.recv.view(torch.uint8).numpy())


def _started(comm: TorchCommunicator, transfers: list[tuple[Callable, torch.Tensor, int]]) -> Callable[[], object]:
    """Start all transfers at once, wait for all. Grouped, so that libraries that need it do not deadlock."""
    operations = [dist.P2POp(start, data, peer, comm.timed) for start, data, peer in transfers]

    def exchange() -> None:
        for request in dist.batch_isend_irecv(operations):
            request.wait()
    return exchange


def _send_recv(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return _started(comm, [(dist.isend, at.send, right), (dist.irecv, at.recv, left)])


def _ping_pong(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    send = partial(dist.send, at.send, other, comm.timed)
    receive = partial(dist.recv, at.recv, other, comm.timed)
    first, second = (send, receive) if catalog.begins(case, comm.rank) else (receive, send)

    def exchange() -> None:
        first()
        second()
    return exchange


def _window(comm: TorchCommunicator, case: Case, at: _Tensors) -> Callable[[], object]:
    """All messages of a window in flight at once, then a byte back from each receiver to say they all arrived."""
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    sends = [(dist.isend, message, other) for message in at.messages(at.send)]
    window = _started(comm, [(dist.irecv, message, other) for message in at.messages(at.recv)] + sends)
    answer = dist.recv if catalog.begins(case, comm.rank) else dist.send
    acknowledge = partial(answer, at.token, other, comm.timed)

    def exchange() -> None:
        window()
        acknowledge()
    return exchange


_BINDERS = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter,
            "broadcast": _broadcast, "reduce": _reduce, "gather": _gather, "scatter": _scatter,
            "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "barrier": _barrier, "noop": _noop,
            "send_recv": _send_recv, "ping_pong": _ping_pong, "bandwidth": _window, "bi_bandwidth": _window,
            "link_latency": _ping_pong, "link_bandwidth": _window, "link_bi_bandwidth": _window, "copy": _host_copy}
_IN_PLACE = {"all_reduce", "reduce", "all_gather", "reduce_scatter"}
_OUT_OF_PLACE = {"all_gather", "reduce_scatter", "gather", "scatter", "all_to_all", "all_to_all_v"}
