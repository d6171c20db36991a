"""MPI through mpi4py's buffer interface. The only module that imports mpi4py."""

import ctypes
import itertools
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import mpi4py
import numpy as np

mpi4py.rc.thread_level = "single"
from mpi4py import MPI  # noqa: E402  (the thread level must be set before MPI starts)

from .. import catalog  # noqa: E402
from ..cases import Case  # noqa: E402
from ..errors import UsageError  # noqa: E402
from ..memory import HostMemory, Memory  # noqa: E402
from ..rendezvous import Place  # noqa: E402
from .base import Layout, Prepared, empty_call, layout  # noqa: E402

__all__ = ["MpiTransport", "open_transport"]

_DATATYPES = {"float32": MPI.FLOAT, "float64": MPI.DOUBLE, "int8": MPI.INT8_T, "int32": MPI.INT32_T,
              "int64": MPI.INT64_T}
_OPS = {"sum": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}
_NAPS_S = (0.0, 20e-6, 100e-6, 500e-6, 2e-3)


class Payloads(NamedTuple):
    """Where buffers live, and how to wait for what was started on them; MPI's own calls return when complete."""

    device: str
    open_memory: Callable[[int, int], Memory]
    drain: Callable[[], object]


HOST = Payloads("cpu", HostMemory, empty_call)


class MpiCommunicator:
    """The first ranks of MPI_COMM_WORLD: one communicator to time, a duplicate of it for control."""

    def __init__(self, timed: MPI.Intracomm, control: MPI.Intracomm, place: Payloads) -> None:
        self.timed, self.control, self.payloads = timed, control, place
        self.drain = place.drain
        self.rank, self.size = timed.rank, timed.size
        self.now_ns = time.perf_counter_ns
        self.barrier = control.Barrier

    def prepare(self, case: Case, slots: int) -> Prepared:
        place = _mpi_layout(case, self.rank)
        memory = self.payloads.open_memory(slots, place.slot_bytes)
        slots_at = [_Buffers(case, row, place) for row in memory.rows]
        calls = [_BINDERS[case.op](self.timed, case, at) for at in slots_at]

        def release() -> None:
            for at in slots_at:
                for request in at.requests:
                    request.Free()
        return Prepared(calls, memory, place, release)

    def all_max(self, values: Sequence[float]) -> list[float]:
        own = np.array(values, dtype=np.float64)
        self.control.Allreduce(MPI.IN_PLACE, own, MPI.MAX)
        return own.tolist()

    def gather(self, payload: bytes) -> list[bytes] | None:
        lengths = np.empty(self.size, np.int64)
        self.control.Allgather(np.array([len(payload)], np.int64), lengths)
        if self.rank != 0:
            self.control.Gatherv(payload, None)
            return None
        everything = bytearray(int(lengths.sum()))
        self.control.Gatherv(payload, [everything, lengths.tolist(), MPI.BYTE])
        ends = np.cumsum(lengths).tolist()
        return [bytes(everything[begin:end]) for begin, end in itertools.pairwise([0, *ends])]

    def agree(self, word: int) -> int:
        shared = np.array([word], np.int64)
        request = self.control.Ibcast(shared, root=0)
        naps = itertools.chain(_NAPS_S, itertools.repeat(_NAPS_S[-1]))
        while not request.Test():      # MPI waits by spinning; ranks outside the group would steal its cores
            time.sleep(next(naps))
        return int(shared[0])


class MpiTransport:
    """MPI, started by importing mpi4py."""

    name = "mpi"
    notes = ("windows of point-to-point messages are started as persistent requests",)

    def __init__(self, payloads: Payloads) -> None:
        self._payloads, self.device = payloads, payloads.device
        world = MPI.COMM_WORLD
        world.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank, self.size = world.rank, world.size
        self.library = _library()

    def why_not(self, case: Case) -> str | None:
        if case.redop and case.redop not in _OPS:
            return f"MPI has no reduce operation {case.redop}"
        if case.redop and case.dtype == "bfloat16":
            return f"MPI {'.'.join(map(str, MPI.Get_version()))} has no {case.dtype} arithmetic"
        return None

    def communicator(self, ranks: int) -> MpiCommunicator | None:
        timed = MPI.COMM_WORLD.Split(0 if self.rank < ranks else MPI.UNDEFINED, self.rank)
        if timed == MPI.COMM_NULL:
            return None
        timed.Set_errhandler(MPI.ERRORS_RETURN)
        return MpiCommunicator(timed, timed.Dup(), self._payloads)

    def versions(self) -> dict[str, str]:
        return {"mpi4py": mpi4py.__version__, "MPI": ".".join(map(str, MPI.Get_version())),
                "MPI library": MPI.Get_library_version().partition("\n")[0].strip("\0 ")}

    def close(self) -> None:
        MPI.COMM_WORLD.Barrier()
        MPI.Finalize()

    def abort(self, status: int) -> None:
        MPI.COMM_WORLD.Abort(status)


def open_transport(place: Place, device: str) -> MpiTransport:
    """MPI finds its own ranks. Payloads are on the host unless this MPI says that it can use the device."""
    if device == "cpu" or (device == "auto" and not _device_aware()):
        return MpiTransport(HOST)
    if not _device_aware():
        raise UsageError(f"device {device}: {_library()} does not say that it can use device buffers "
                         "(no MPIX_Query_*_support, and MPICH_GPU_SUPPORT_ENABLED is not 1)")
    from .torch_memory import find_device
    return MpiTransport(torch_payloads(find_device(device, place.local_rank)))


def torch_payloads(device: object) -> Payloads:
    """Buffers that are torch tensors on `device`, which mpi4py takes through DLPack."""
    from . import torch_memory
    return Payloads(str(device), partial(torch_memory.DeviceMemory, device=device),
                    torch_memory.drain(device))


def _device_aware() -> bool:
    """Whether the MPI that is loaded takes device buffers: Open MPI's extensions answer, MPICH's follow a variable."""
    if os.environ.get("MPICH_GPU_SUPPORT_ENABLED") == "1":
        return True
    loaded = ctypes.CDLL(None)
    queries = (getattr(loaded, f"MPIX_Query_{kind}_support", None) for kind in ("cuda", "rocm", "ze"))
    return any(query() for query in queries if query)


def _library() -> str:
    name, version = MPI.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"


def _mpi_layout(case: Case, rank: int) -> Layout:
    """As NCCL places them, but MPI leaves the result of an in-place reduce-scatter at the start of the buffer."""
    place = layout(case, rank)
    return place._replace(recv_at=0) if case.in_place and case.op == "reduce_scatter" else place


class _Buffers:
    """One slot as the buffer arguments that MPI calls take."""

    def __init__(self, case: Case, row: object, place: Layout) -> None:
        self.case = case
        self.send_bytes = row[place.send_at:place.send_at + place.send_bytes]
        self.recv_bytes = row[place.recv_at:place.recv_at + place.recv_bytes]
        self.datatype = _datatype(case)
        self.send = self._spec(self.send_bytes)
        self.recv = self._spec(self.recv_bytes)
        self.requests: list[MPI.Prequest] = []

    def _spec(self, raw: object) -> list:
        return [raw, self.datatype]      # mpi4py divides what is there among the ranks where the call needs it

    def messages(self, raw: object) -> list[list]:
        """The buffers of a window, one spec a message; used again in turn where there are fewer."""
        size = self.case.bytes
        parts = [self._spec(raw[at:at + size]) for at in range(0, len(raw), size)]
        return [parts[i % len(parts)] for i in range(catalog.WINDOW)] if parts else []

    def vector(self, counts: list[int], raw: object) -> list:
        """Counts and displacements for the v variants."""
        return [raw, (counts, [0, *itertools.accumulate(counts[:-1])]), self.datatype]


def _datatype(case: Case) -> MPI.Datatype:
    """The MPI type of the elements; half-precision values that are only carried travel as two bytes each."""
    if case.dtype is None:
        return MPI.BYTE
    if case.dtype in _DATATYPES:
        return _DATATYPES[case.dtype]
    return MPI.INT16_T if case.redop is None else MPI.Datatype.fromcode("e")


def _all_reduce(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return partial(comm.Allreduce, MPI.IN_PLACE if case.in_place else at.send, at.recv, _OPS[case.redop])


def _all_gather(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return partial(comm.Allgather, MPI.IN_PLACE if case.in_place else at.send, at.recv)


def _reduce_scatter(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    if case.in_place:
        return partial(comm.Reduce_scatter_block, MPI.IN_PLACE, at.send, _OPS[case.redop])
    return partial(comm.Reduce_scatter_block, at.send, at.recv, _OPS[case.redop])


def _broadcast(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return partial(comm.Bcast, at.recv, catalog.ROOT)


def _reduce(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Reduce, at.send, None, _OPS[case.redop], catalog.ROOT)
    return partial(comm.Reduce, MPI.IN_PLACE if case.in_place else at.send, at.recv, _OPS[case.redop], catalog.ROOT)


def _gather(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Gather, at.send, None, catalog.ROOT)
    return partial(comm.Gather, MPI.IN_PLACE if case.in_place else at.send, at.recv, catalog.ROOT)


def _scatter(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    if comm.rank != catalog.ROOT:
        return partial(comm.Scatter, None, at.recv, catalog.ROOT)
    return partial(comm.Scatter, at.send, MPI.IN_PLACE if case.in_place else at.recv, catalog.ROOT)


def _all_to_all(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return partial(comm.Alltoall, MPI.IN_PLACE if case.in_place else at.send, at.recv)


def _all_to_all_v(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    counts = catalog.traffic_counts(case)
    sends = at.vector(counts[comm.rank], at.send_bytes)
    receives = at.vector([row[comm.rank] for row in counts], at.recv_bytes)
    return partial(comm.Alltoallv, MPI.IN_PLACE if case.in_place else sends, receives)


def _barrier(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return comm.Barrier


def _noop(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    return empty_call


def _send_recv(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return partial(comm.Sendrecv, at.send, right, 0, at.recv, left, 0)


def _ping_pong(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    half = comm.size // 2
    send = partial(comm.Send, at.send, (comm.rank + half) % comm.size, 0)
    receive = partial(comm.Recv, at.recv, (comm.rank + half) % comm.size, 0)
    first, second = (send, receive) if comm.rank < half else (receive, send)

    def exchange() -> None:
        first()
        second()
    return exchange


def _window(comm: MPI.Intracomm, case: Case, at: _Buffers) -> Callable[[], object]:
    """All messages of a window in flight at once, then an empty answer from each receiver to say they all arrived."""
    half = comm.size // 2
    partner = (comm.rank + half) % comm.size
    receives = [comm.Recv_init(message, partner, 0) for message in at.messages(at.recv_bytes)]
    sends = [comm.Send_init(message, partner, 0) for message in at.messages(at.send_bytes)]
    at.requests = receives + sends
    start, wait = partial(MPI.Prequest.Startall, at.requests), partial(MPI.Request.Waitall, at.requests)
    nothing = np.empty(0, np.uint8)
    if comm.rank < half:
        acknowledge = partial(comm.Recv, nothing, partner, 1)
    else:
        acknowledge = partial(comm.Send, nothing, partner, 1)

    def exchange() -> None:
        start()
        wait()
        acknowledge()
    return exchange


_BINDERS = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter,
            "broadcast": _broadcast, "reduce": _reduce, "gather": _gather, "scatter": _scatter,
            "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "barrier": _barrier, "noop": _noop,
            "send_recv": _send_recv, "ping_pong": _ping_pong, "bandwidth": _window, "bi_bandwidth": _window}
