"""MPI through mpi4py's buffer interface, timed by a compiled loop if one can be built.

mpi4py is imported here and in the `mpi_` modules next to this one, which are imported after mpi4py is configured.
"""

import ctypes
import itertools
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import mpi4py
import numpy as np

mpi4py.rc.initialize, mpi4py.rc.finalize = False, True      # MPI_Init ends the process on errors checked for below
from mpi4py import MPI  # noqa: E402

from ..cases.case import Case  # noqa: E402
from ..cases.families.one_shot import ONE_SHOT  # noqa: E402
from ..errors import CollbenchError, UsageError, write_error  # noqa: E402
from ..interfaces import (  # noqa: E402
    NO_DEVICE,
    CallSettings,
    Layout,
    LoopChoice,
    Prepared,
    RawBytes,
    empty_call,
    layout,
)
from ..loop.timing import maker, python_block  # noqa: E402
from ..native import build  # noqa: E402
from ..ranks.processes import forget_shared_memory  # noqa: E402
from ..ranks.rendezvous import Place  # noqa: E402
from . import composed  # noqa: E402
from .mpi_buffers import (  # noqa: E402
    HOST,
    BufferKind,
    RowMemory,
    ask_support,
    choose_device,
    loaded_library,
    settle_device,
)
from .mpi_calls import BINDERS, OPS, Buffers, bind  # noqa: E402
from .mpi_control import MpiControl  # noqa: E402
from .mpi_native import NativeLoop  # noqa: E402
from .mpi_parts import MpiParts  # noqa: E402
from .mpi_settings import settings_in_force  # noqa: E402
from .mpi_shared import SharedWindow  # noqa: E402

__all__ = ["MpiTransport", "open_transport"]

_WINDOWS = "OMPI_MCA_osc"       # the components of Open MPI that make windows

_T = TypeVar("_T")


class MpiCallContext:
    """How calls are made and timed, shared by all communicators of a transport."""

    def __init__(self, buffers: BufferKind) -> None:
        self.buffers = buffers
        self.native: NativeLoop | None = None
        self.persistent = False


class MpiCommunicator(MpiControl):
    """The first ranks of MPI_COMM_WORLD: one communicator to time, a duplicate of it for control."""

    def __init__(self, timed: MPI.Intracomm, control: MPI.Intracomm, context: MpiCallContext) -> None:
        super().__init__(control)
        self.timed, self._context, self.kept = timed, context, dict[Case, int]()
        self.drain, self.evict = context.buffers.drain, context.buffers.evict
        self.room_bytes, self.slots_bytes = context.buffers.room_bytes, context.buffers.slots_bytes
        self._groups: dict[tuple[int, ...], MPI.Intracomm] = {}

    def prepare(self, case: Case, slots: int, repeats: int = 1) -> Prepared:
        place, context = _mpi_layout(case, self.rank), self._context
        memory = context.buffers.open_memory(slots, place.slot_bytes)
        if case.composition:
            return self._composed(case, memory, place)
        if case.op == ONE_SHOT:
            return self._one_shot(case, memory, place, repeats)
        buffers = [Buffers(case, *_send_and_recv(row, place)) for row in memory.rows]
        if context.native and context.native.has(case):
            return context.native.prepare(self.timed, self.control, case, buffers, memory, place, context.persistent,
                                          repeats)
        calls = [bind(self.timed, case, slot, context.persistent) for slot in buffers] * repeats

        def release() -> None:
            for slot in buffers:
                slot.free()
        # MPI's calls are complete when they return, on device buffers too: there is nothing to wait for in a sample.
        return Prepared(python_block(calls, self.now_ns, empty_call), slots, memory, place, "python", release,
                        repeats=repeats, make=maker(calls, empty_call))

    def _one_shot(self, case: Case, memory: RowMemory, place: Layout, repeats: int) -> Prepared:
        shared = SharedWindow(self.timed, case)
        calls = [shared.bind(*_send_and_recv(row, place)) for row in memory.rows] * repeats
        return Prepared(python_block(calls, self.now_ns, empty_call), len(memory.rows), memory, place, "python",
                        shared.free, repeats=repeats, make=maker(calls, empty_call))

    def _composed(self, case: Case, memory: RowMemory, place: Layout) -> Prepared:
        shared: dict[str, Any] = {}
        parts = [MpiParts(self, row, shared) for row in memory.rows]
        bound = [composed.bind(one, case, place) for one in parts]

        def release() -> None:
            for one in parts:
                one.free()
        block, marks = composed.host_block(case, [one.call for one in bound], self.now_ns, self.drain)
        return Prepared(block, len(bound), memory, place, "python", release, select=composed.selector(case, bound),
                        marks=marks, settle=composed.settler(bound))

    def group(self, ranks: Sequence[int] | None) -> MPI.Intracomm:
        """The communicator of some of these ranks, made when it is first asked for. Collective over them."""
        members = tuple(range(self.size) if ranks is None else ranks)
        if len(members) == self.size:
            return self.timed
        if members not in self._groups:
            self._groups[members] = self.timed.Create_group(self.timed.Get_group().Incl(members))
            self._groups[members].Set_errhandler(MPI.ERRORS_RETURN)
        return self._groups[members]

    def all_max(self, values: Sequence[float]) -> list[float]:
        own = np.array(values, dtype=np.float64)
        self.control.Allreduce(MPI.IN_PLACE, own, MPI.MAX)
        return [float(value) for value in own]

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


class MpiTransport:
    """MPI over all ranks that the launcher started."""

    name = "mpi"
    threads = 1

    def __init__(self, buffers: BufferKind) -> None:
        _start()
        self._context, self._support = MpiCallContext(buffers), ask_support()
        self.device, self.buffers, self.own_device = buffers.device, buffers.policy, buffers.own_device
        world = MPI.COMM_WORLD
        world.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank, self.size = world.rank, world.size
        self.library = _library()

    def why_not(self, case: Case) -> str | None:
        if case.composition:
            return composed.why_not(case, self.why_not)
        if case.operation.memories and self.device != "cpu":
            return "copies on a device are measured by transport torch"
        if case.op not in BINDERS and case.operation.memories:
            return NO_DEVICE
        if case.op == ONE_SHOT and self.device != "cpu":
            return f"MPI's shared windows are in host memory, and the buffers on {self.device}"
        if case.op not in (*BINDERS, ONE_SHOT) and (case.operation.reduces or case.in_place):
            return f"MPI has no {'in-place ' if case.in_place else ''}{case.op}"
        if case.redop and case.redop not in OPS:
            return f"MPI has no reduce operation {case.redop}"
        if case.op == ONE_SHOT and case.dtype == "bfloat16":
            return "numpy, which reduces here, has no bfloat16 arithmetic"
        if case.redop and case.dtype == "bfloat16":
            return f"MPI {'.'.join(map(str, MPI.Get_version()))} has no {case.dtype} arithmetic"
        return None

    def communicator(self, ranks: int) -> MpiCommunicator | None:
        # The stubs promise a Comm; an intracommunicator is split into intracommunicators.
        timed = cast(MPI.Intracomm, MPI.COMM_WORLD.Split(0 if self.rank < ranks else MPI.UNDEFINED, self.rank))
        if timed == MPI.COMM_NULL:
            return None
        timed.Set_errhandler(MPI.ERRORS_RETURN)
        communicator = MpiCommunicator(timed, timed.Dup(), self._context)
        timed.Barrier()     # the first call may set up connections
        return communicator

    def trial(self, ranks: int) -> "MpiTrial":
        return MpiTrial(ranks)

    @property
    def notes(self) -> tuple[str, ...]:
        return () if self._context.native else ("messages of a window are started as persistent requests",)

    def configure(self, settings: CallSettings) -> LoopChoice:
        if settings.graph:
            raise UsageError("--graph: MPI's calls are complete when they return, so there is nothing to capture")
        self._context.persistent = settings.persistent
        reason = "requested" if settings.loop == "python" else self._load(settings.compiles)
        if settings.loop == "native" and reason:
            raise UsageError(f"no native loop: {reason}")
        return LoopChoice("python" if reason else "native", reason)

    def _load(self, compiles: bool) -> str | None:
        """Build and load the compiled loop on all ranks, or on none; the reason on a rank that failed."""
        library = MPI.Get_library_version()
        path: Path | None = None
        loaded: ctypes.CDLL | None = None
        reason: str | None = None
        if compiles:    # first one rank of each host, so that the others find it in the cache
            path, reason = _attempt(lambda: build.build(library))
        MPI.COMM_WORLD.Barrier()
        if not reason:
            loaded, reason = _attempt(lambda: build.load(path or build.build(library), library))
        failed = np.array([reason is not None], np.int64)
        MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, failed, MPI.MAX)
        if loaded is None or failed[0]:
            return reason or "another rank has none"
        self._context.native = NativeLoop(loaded)
        return None

    def versions(self) -> dict[str, str]:
        return {"mpi4py": mpi4py.__version__, "MPI": ".".join(map(str, MPI.Get_version())),
                "MPI library": MPI.Get_library_version().partition("\n")[0].strip("\0 "),
                "MPI device buffers": self._support.by or f"not reported: {self._support.asked}"}

    def settings_in_force(self) -> dict[str, str | None]:
        return settings_in_force()

    def close(self) -> None:
        MPI.COMM_WORLD.Barrier()
        # MPI.Finalize() would hold the interpreter lock, and with it the watchdog, while it waits for other processes.
        if status := loaded_library().MPI_Finalize():
            raise CollbenchError(f"MPI_Finalize failed with error {status}")

    def abort(self, status: int) -> None:
        forget_shared_memory()
        MPI.COMM_WORLD.Abort(status)


class MpiTrial:
    """A communicator split from MPI_COMM_WORLD, step by step; see `interfaces.Trial`."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._comm: MPI.Comm = MPI.COMM_NULL

    def create(self) -> None:
        world = MPI.COMM_WORLD
        self._comm = world.Split(0 if world.rank < self._ranks else MPI.UNDEFINED, world.rank)

    def first_call(self) -> bool:
        total = np.array([self._comm.rank + 1], np.int32)
        self._comm.Allreduce(MPI.IN_PLACE, total)
        return int(total[0]) == self._ranks * (self._ranks + 1) // 2

    def destroy(self) -> None:
        if self._comm != MPI.COMM_NULL:
            self._comm.Free()


def open_transport(place: Place | None, device: str, meeting_s: float | None = None) -> MpiTransport:
    """Start MPI, which finds its ranks by itself and ignores `meeting_s`; collective.

    Buffers are on the host unless this MPI reports that it supports the device. UsageError if MPI finds a different
    number of ranks than the launcher started, most often because launcher and library belong to different MPIs; if a
    device is requested that is not here or not supported; and if two ranks would use one device.
    """
    if place and place.size > 1 and _lacks_pmix():
        raise UsageError(f"{place.launcher} started {place.size} ranks over PMIx, which {_library()}, used by mpi4py, "
                         "does not support: use the mpirun of that MPI, or srun --mpi=pmi2")
    if place:
        _warn_of_host_names(place)
    choice = choose_device(device, place.device_slot if place else 0)
    _start()
    world = MPI.COMM_WORLD
    if place and place.launcher != "none" and place.size != world.size:
        raise UsageError(f"{place.launcher} started {place.size} ranks, but {_library()}, used by mpi4py, finds "
                         f"{world.size}: use the mpirun of that MPI, or srun --mpi=pmix (or pmi2)")
    settled = settle_device(device, choice, place or Place("none", world.rank, world.size, 0, None, None), _library())
    if settled is None:
        return MpiTransport(HOST)
    from .torch_mpi_buffers import torch_buffers
    return MpiTransport(torch_buffers(settled))


def _start() -> None:
    if not MPI.Is_initialized():
        # Without network cards for UCX, Open MPI prints errors when a shared window is made, which never uses UCX.
        own = _WINDOWS not in os.environ
        os.environ.setdefault(_WINDOWS, "^ucx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # about a launcher of another MPI, which `open_transport` checks itself
            MPI.Init()
        if own:
            del os.environ[_WINDOWS]      # no setting of the user's, so not on the record


def _lacks_pmix(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether ranks were started over PMIx only and this MPICH was built without it: MPI_Init would abort."""
    return ("PMIX_NAMESPACE" in environment and "PMI_SIZE" not in environment and MPI.get_vendor()[0] == "MPICH"
            and "pmix" not in MPI.Get_library_version().lower())


def _warn_of_host_names(place: Place) -> None:
    """Explain in advance why the third rank of a node may abort in MPI_Init.

    Slurm's PMIx stores the ranks of a node under Slurm's node name. If the hostname differs, Open MPI finds no entry,
    assumes one local peer for each rank, and rejects ranks with a higher local rank.
    """
    own = socket.gethostname()
    if (place.launcher == "Slurm with PMIx" and place.local_rank == 2 and MPI.get_vendor()[0] == "Open MPI"
            and place.node and place.node.partition(".")[0] != own.partition(".")[0]):
        write_error(f"collbench: rank {place.rank}: Slurm calls this host {place.node}, but it calls itself {own}: if "
                    "MPI_Init fails now, start at most 2 ranks a node, or use mpirun in the allocation")


def _attempt(step: Callable[[], _T]) -> tuple[_T | None, str | None]:
    try:
        return step(), None
    except build.BuildError as error:
        return None, str(error)


def _library() -> str:
    name, version = MPI.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"


def _send_and_recv(row: RawBytes, place: Layout) -> tuple[RawBytes, RawBytes]:
    return (row[place.send_at:place.send_at + place.send_bytes], row[place.recv_at:place.recv_at + place.recv_bytes])


def _mpi_layout(case: Case, rank: int) -> Layout:
    """NCCL's layout, except that MPI puts the result of an in-place reduce-scatter at the start of the buffer."""
    place = layout(case, rank)
    return place._replace(recv_at=0) if case.in_place and case.op == "reduce_scatter" else place
