"""Each operation as a bound mpi4py call on one slot's buffers, plain or persistent."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from ..cases import catalog
from ..cases.case import Case
from ..cases.messages import Message, messages, window
from ..interfaces import RawBytes, empty_call
from ..loop.memory import host_copy

__all__ = ["BINDERS", "OPS", "Buffers", "Startable", "bind", "by_address", "datatype", "persistent_request",
           "request_starter", "starter"]

_DATATYPES = {"float32": MPI.FLOAT, "float64": MPI.DOUBLE, "int8": MPI.INT8_T, "int32": MPI.INT32_T,
              "int64": MPI.INT64_T, "uint8": MPI.UINT8_T, "fp8_e4m3": MPI.BYTE}
OPS = {"sum": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}

_buffer = getattr(MPI, "buffer", None) or MPI.memory     # renamed in mpi4py 4.0


class Buffers:
    """The buffers of one call as the arguments that MPI takes."""

    def __init__(self, case: Case, send: RawBytes, recv: RawBytes) -> None:
        self.case, self.send_bytes, self.recv_bytes = case, send, recv
        self.datatype = datatype(case)
        self.send = self.spec(self.send_bytes)
        self.recv = self.spec(self.recv_bytes)
        self.requests: list[MPI.Prequest] = []

    @property
    def send_address(self) -> int:
        """Address of the send buffer."""
        return _address(self.send_bytes)

    @property
    def recv_address(self) -> int:
        """Address of the receive buffer."""
        return _address(self.recv_bytes)

    def free(self) -> None:
        """Free the requests that were set up on this slot."""
        for request in self.requests:
            request.Free()

    def spec(self, raw: RawBytes) -> list[Any]:
        """A buffer argument; where a call needs it, mpi4py divides the buffer among the ranks."""
        return [by_address(raw), self.datatype]

    def messages(self, raw: RawBytes) -> list[list[Any]]:
        """The buffers of a window, one spec per message; reused in turn if there are fewer than messages."""
        size = self.case.bytes
        parts = [self.spec(raw[at:at + size]) for at in range(0, len(raw), size)]
        return [parts[i % len(parts)] for i in range(self.case.operation.messages)] if parts else []

    def vector(self, counts: list[int], raw: RawBytes) -> list[Any]:
        """Counts and displacements for the v variants."""
        return [by_address(raw), (counts, [0, *itertools.accumulate(counts[:-1])]), self.datatype]


def by_address(raw: RawBytes) -> Any:
    """The memory as mpi4py's own buffer object, which does not own it.

    A tensor itself would go through DLPack, which costs 20 us in every call.
    """
    return _buffer.fromaddress(_address(raw), raw.nbytes)


def _address(raw: RawBytes) -> int:
    return int(raw.ctypes.data if isinstance(raw, np.ndarray) else raw.data_ptr())


def bind(comm: MPI.Intracomm, case: Case, at: Buffers, persistent: bool) -> Callable[[], object]:
    """The call on this slot. A persistent collective is initialised here; the call starts it and waits for it."""
    request = persistent_request(comm, case, at) if persistent else None
    if request is None:
        return _binder(case)(comm, case, at)
    start, wait = request.Start, request.Wait

    def call() -> None:
        start()
        wait()
    return call


def persistent_request(comm: MPI.Intracomm, case: Case, at: Buffers) -> MPI.Prequest | None:
    """The persistent form of the call, freed with the slot; None if the operation is not a collective."""
    if case.op not in BINDERS or case.op == "send_recv":
        return None
    call = BINDERS[case.op](comm, case, at)
    if not isinstance(call, partial):
        return None
    set_up = getattr(comm, f"{call.func.__name__}_init", None)
    if set_up is None:
        return None
    request = cast(MPI.Prequest, set_up(*call.args))
    at.requests.append(request)
    return request


class Startable:
    """Persistent messages that are all in flight at once."""

    def __init__(self, requests: list[MPI.Prequest]) -> None:
        self._start, self._wait = partial(MPI.Prequest.Startall, requests), partial(MPI.Request.Waitall, requests)

    def start(self) -> Callable[[], object]:
        """Start all; returns the wait for all."""
        self._start()
        return self._wait

    def __call__(self) -> None:
        self._start()
        self._wait()


def starter(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], Callable[[], object]]:
    """The nonblocking form of the call: it starts the operation and returns the wait for it.

    NotImplementedError if MPI has none.
    """
    call = _binder(case)(comm, case, at)
    if isinstance(call, Startable):
        return call.start
    start = _nonblocking(comm, case, call)
    return lambda: start().Wait


def request_starter(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], MPI.Request]:
    """The nonblocking form of a collective, which returns its request. NotImplementedError if MPI has none."""
    return _nonblocking(comm, case, _binder(case)(comm, case, at))


def _nonblocking(comm: MPI.Intracomm, case: Case, call: Callable[[], object]) -> Callable[[], MPI.Request]:
    begin = getattr(comm, f"I{call.func.__name__.lower()}", None) if isinstance(call, partial) else None
    if begin is None:
        raise NotImplementedError(f"MPI has no nonblocking {case.op}")
    return partial(begin, *cast(partial, call).args)


def _binder(case: Case) -> Callable[[MPI.Intracomm, Case, Buffers], Callable[[], object]]:
    if case.operation.windowed:
        return _window if case.operation.pairs else _windows
    return BINDERS.get(case.op, _messages)


def _op(case: Case) -> MPI.Op:
    """The reduce operation of a case that reduces."""
    assert case.redop is not None
    return OPS[case.redop]


def datatype(case: Case) -> MPI.Datatype:
    """The MPI type of the elements; half-precision values that are not reduced are sent as 16-bit integers."""
    if case.dtype is None:
        return MPI.BYTE
    if case.dtype in _DATATYPES:
        return _DATATYPES[case.dtype]
    return MPI.INT16_T if case.redop is None else MPI.Datatype.fromcode("e")


def _all_reduce(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return partial(comm.Allreduce, MPI.IN_PLACE if case.in_place else at.send, at.recv, _op(case))


def _all_gather(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return partial(comm.Allgather, MPI.IN_PLACE if case.in_place else at.send, at.recv)


def _reduce_scatter(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    if case.in_place:
        return partial(comm.Reduce_scatter_block, MPI.IN_PLACE, at.send, _op(case))
    return partial(comm.Reduce_scatter_block, at.send, at.recv, _op(case))


def _broadcast(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return partial(comm.Bcast, at.recv, catalog.ROOT)


def _reduce(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Reduce, at.send, None, _op(case), catalog.ROOT)
    return partial(comm.Reduce, MPI.IN_PLACE if case.in_place else at.send, at.recv, _op(case), catalog.ROOT)


def _gather(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Gather, at.send, None, catalog.ROOT)
    return partial(comm.Gather, MPI.IN_PLACE if case.in_place else at.send, at.recv, catalog.ROOT)


def _scatter(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Scatter, None, at.recv, catalog.ROOT)
    return partial(comm.Scatter, at.send, MPI.IN_PLACE if case.in_place else at.recv, catalog.ROOT)


def _all_to_all(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return partial(comm.Alltoall, MPI.IN_PLACE if case.in_place else at.send, at.recv)


def _all_to_all_v(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    counts = catalog.traffic_counts(case)
    sends = at.vector(counts[comm.rank], at.send_bytes)
    receives = at.vector([row[comm.rank] for row in counts], at.recv_bytes)
    return partial(comm.Alltoallv, MPI.IN_PLACE if case.in_place else sends, receives)


def _barrier(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return partial(comm.Barrier)


def _noop(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return empty_call


def _send_recv(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return partial(comm.Sendrecv, at.send, right, 0, at.recv, left, 0)


def _messages(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    """An operation without a call of its own, message by message, all in flight at once."""
    sends, receives = messages(case, comm.rank) or ([], [])
    return _in_flight(comm, at, sends, receives)


def _in_flight(comm: MPI.Intracomm, at: Buffers, sends: list[Message], receives: list[Message]) -> Startable:
    size = at.case.itemsize
    requests = [comm.Recv_init(at.spec(at.recv_bytes[one.at * size:(one.at + one.count) * size]), one.peer, 0)
                for one in receives]
    requests += [comm.Send_init(at.spec(at.send_bytes[one.at * size:(one.at + one.count) * size]), one.peer, 0)
                 for one in sends]
    at.requests += requests
    return Startable(requests)


def _windows(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    """Windows between several ranks, all in flight at once, then an empty acknowledgement from each receiver."""
    sends, receives = window(case, comm.rank)
    messages, nothing = _in_flight(comm, at, sends, receives), np.empty(0, np.uint8)
    replies = [comm.Recv_init(nothing, peer, 1) for peer in dict.fromkeys(one.peer for one in sends)]
    replies += [comm.Send_init(nothing, peer, 1) for peer in dict.fromkeys(one.peer for one in receives)]
    at.requests += replies
    acknowledge = Startable(replies)

    def exchange() -> None:
        messages()
        acknowledge()
    return exchange


def _copy(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    return host_copy(at.send_bytes, at.recv_bytes)


def _ping_pong(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    send = partial(comm.Send, at.send, other, 0)
    receive = partial(comm.Recv, at.recv, other, 0)
    first, second = (send, receive) if catalog.begins(case, comm.rank) else (receive, send)

    def exchange() -> None:
        first()
        second()
    return exchange


def _window(comm: MPI.Intracomm, case: Case, at: Buffers) -> Callable[[], object]:
    """All messages of a window in flight at once, then an empty acknowledgement from each receiver."""
    other = catalog.partner(case, comm.rank)
    if other is None:
        return empty_call
    receives = [comm.Recv_init(message, other, 0) for message in at.messages(at.recv_bytes)]
    sends = [comm.Send_init(message, other, 0) for message in at.messages(at.send_bytes)]
    at.requests += receives + sends
    start, wait = partial(MPI.Prequest.Startall, at.requests), partial(MPI.Request.Waitall, at.requests)
    nothing = np.empty(0, np.uint8)
    if catalog.begins(case, comm.rank):
        acknowledge = partial(comm.Recv, nothing, other, 1)
    else:
        acknowledge = partial(comm.Send, nothing, other, 1)

    def exchange() -> None:
        start()
        wait()
        acknowledge()
    return exchange


BINDERS = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter,
            "broadcast": _broadcast, "reduce": _reduce, "gather": _gather, "scatter": _scatter,
            "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "barrier": _barrier, "noop": _noop,
            "send_recv": _send_recv, "ping_pong": _ping_pong, "link_latency": _ping_pong, "copy": _copy}
