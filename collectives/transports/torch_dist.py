"""torch.distributed on the accelerator or the CPU, over that device's default backend (nccl, hccl, xccl, gloo)."""

import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from ..cases.case import Case
from ..cases.families.one_shot import ONE_SHOT
from ..errors import CollbenchError, UsageError
from ..interfaces import NO_DEVICE, CallSettings, Layout, LoopChoice, Memory, Prepared, layout
from ..loop.memory import HOST_SLOTS_BYTES, evict_host
from ..loop.timing import QueuedBlock, maker, python_block
from ..ranks import host_limits
from ..ranks.handshake import meet, own_claim, why_apart
from ..ranks.processes import forget_shared_memory
from ..ranks.rendezvous import Place
from ..topology.affinity import CpuBinding, bind_near
from ..topology.device_identity import RankDevice
from . import composed, torch_symmetric
from .torch_calls import BINDERS, IN_PLACE, OUT_OF_PLACE, bind, slot_tensors
from .torch_control import GLOO_TIMEOUT, TorchControl
from .torch_copies import CopyMemory, copy_calls, copy_layout
from .torch_device import Filler, captured, evictor, find_stopwatch, graph_reason, room_bytes
from .torch_memory import DEVICE_SLOTS_BYTES, drain, drain_queue, find_device, identify, memory_policy, open_memory
from .torch_parts import TorchParts
from .torch_versions import torch_versions

__all__ = ["ADDRESSES_FD", "LISTEN_FD", "MANY", "TorchTransport", "open_transport"]

LISTEN_FD = "COLLBENCH_LISTEN_FD"      # an inherited listening socket, when ranks were forked by one parent
ADDRESSES_FD = "COLLBENCH_ADDRESSES_FD"     # likewise an empty file in memory, for gloo's addresses
MANY = 64       # ranks from which on gloo connects two when they first need it, not all pairs of every group
_EXTRA_WAIT_S = 30.0            # beyond the rendezvous timeout, for rank 0 to report which ranks are missing
_LENGTH_BYTES = 8


class TorchCallContext:
    """How calls are made and timed on a device, shared by all communicators of a transport."""

    def __init__(self, device: torch.device, backend: str) -> None:
        on_host = device.type == "cpu"
        self.device, self.backend, self.graph = device, backend, False
        self.drain, self.stopwatch = drain(device), find_stopwatch(device)
        self.hold: Callable[[int], object] = Filler(device, self.stopwatch) if self.stopwatch else lambda ns: None
        self.slots_bytes = HOST_SLOTS_BYTES if on_host else DEVICE_SLOTS_BYTES
        self.evict = evict_host if on_host else evictor(device)


class TorchCommunicator(TorchControl):
    """A process group to time, and a gloo group of the same ranks for control."""

    def __init__(self, timed: dist.ProcessGroup, control: dist.ProcessGroup, context: TorchCallContext) -> None:
        super().__init__(control, range(dist.get_world_size(timed)))
        self.timed, self._context, self.kept = timed, context, dict[Case, int]()
        self.drain, self.evict, self.slots_bytes = context.drain, context.evict, context.slots_bytes
        self._token = torch.zeros(1, device=context.device)
        self._groups: dict[tuple[int, ...], TorchGroup] = {}

    def in_job(self, rank: int) -> int:
        return rank     # it consists of the first ranks of the job

    def group(self, ranks: Sequence[int] | None) -> "TorchGroup | TorchCommunicator":
        """The group of some of these ranks, made when it is first asked for. Collective over them."""
        members = tuple(range(self.size) if ranks is None else ranks)
        if len(members) == self.size:
            return self
        if members not in self._groups:
            self.level_groups(members)
            made = new_group(members, self._context, use_local_synchronization=True)
            self._groups[members] = TorchGroup(made, members.index(self.rank), members)
        return self._groups[members]

    def prepare(self, case: Case, slots: int, repeats: int = 1) -> Prepared:
        device = self._context.device
        if case.operation.memories and device.type != "cpu":
            copies = CopyMemory(case, slots, device)
            return self._timed(copy_calls(case, copies, slots, device), copies, copy_layout(case), self.drain, repeats)
        place = layout(case, self.rank)
        memory = open_memory(slots, place.slot_bytes, device)
        if case.composition:
            shared: dict[str, Any] = {}
            bound = [composed.bind(TorchParts(self, memory, row, device, shared), case, place) for row in range(slots)]
            calls, select, settle = [one.call for one in bound], composed.selector(case, bound), composed.settler(bound)
            if case.composition.marks(case) or case.operation.background(case):
                # Such calls read the host's clock; and ranks of which some make other calls cannot meet on the device.
                block, marks = composed.host_block(case, calls, self.now_ns, self.drain)
                return Prepared(block, slots, memory, place, select=select, marks=marks, settle=settle)
            drain = drain_queue(device) if case.axis else self.drain     # other axes may go on
            return self._timed(calls, memory, place, drain)._replace(select=select, settle=settle, make=None)
        tensors = [slot_tensors(case, memory, row, place) for row in range(slots)]
        calls = [torch_symmetric.bind(self, at) if case.op == ONE_SHOT else bind(self, case, at) for at in tensors]
        return self._timed(calls, memory, place, self.drain, repeats)

    def _timed(self, bound: list[Callable[[], object]], memory: Memory, place: Layout, drain: Callable[[], object],
               repeats: int = 1) -> Prepared:
        """Several calls are timed on the device, if it has a clock; a single call on the host, with the wait for it."""
        context, calls = self._context, bound * repeats
        make = maker(calls, drain)
        as_called = python_block(calls, self.now_ns, drain)
        stopwatch = context.stopwatch if len(calls) > 1 else None
        if stopwatch is None:
            return Prepared(as_called, len(bound), memory, place, repeats=repeats, make=make)
        queue = [captured(calls, context.device)] if context.graph else calls
        block = QueuedBlock(queue, self.now_ns, drain, stopwatch, context.hold, self._meet)
        return Prepared(block, len(bound), memory, place, stopwatch="device", graph=context.graph, as_called=as_called,
                        host_bound=block.host_bound, repeats=repeats, make=make)

    def _meet(self) -> None:
        """Queue a rendezvous of this group's ranks on the device."""
        if self.size > 1:
            dist.all_reduce(self._token, group=self.timed)

    def room_bytes(self, local_ranks: int) -> int | None:
        rooms = [host_limits.room_bytes(local_ranks)]
        if self._context.device.type != "cpu":
            rooms.append(room_bytes(self._context.device, local_ranks))
        return min((room for room in rooms if room is not None), default=None)

    def all_max(self, values: Sequence[float]) -> list[float]:
        """Through rank 0: gloo's ring all_reduce sends a number of messages quadratic in the rank count."""
        own = torch.tensor(values, dtype=torch.float64)
        parts = self._collected(own)
        if parts is not None:
            own = torch.stack(parts).amax(0)
        dist.broadcast(own, 0, self.control)
        return [float(value) for value in own.tolist()]

    def _collected(self, own: torch.Tensor) -> list[torch.Tensor] | None:
        parts = [torch.empty_like(own) for _ in range(self.size)] if self.rank == 0 else None
        dist.gather(own, parts, 0, self.control)
        return parts

    def gather(self, payload: bytes) -> list[bytes] | None:
        longest, = self.all_max([len(payload)])
        padded = len(payload).to_bytes(_LENGTH_BYTES, "little") + payload.ljust(int(longest), b"\0")
        parts = self._collected(torch.from_numpy(np.frombuffer(padded, np.uint8).copy()))
        return parts and [_unpadded(part.numpy().tobytes()) for part in parts]


def _unpadded(padded: bytes) -> bytes:
    length = int.from_bytes(padded[:_LENGTH_BYTES], "little")
    return padded[_LENGTH_BYTES:_LENGTH_BYTES + length]


class TorchGroup(NamedTuple):
    """Some ranks of a communicator, in increasing order."""

    timed: dist.ProcessGroup
    rank: int
    members: tuple[int, ...]

    def in_job(self, rank: int) -> int:
        return self.members[rank]


def new_group(ranks: Sequence[int], context: TorchCallContext, **settings: bool) -> dist.ProcessGroup:
    """A process group that is timed.

    With a device, libraries connect all ranks now. Otherwise they do so in the first call, point-to-point calls get a
    communicator of their own for each pair, and barriers guess the device of each rank.
    """
    device, backend = context.device, context.backend
    knows = device.type in dist.Backend.backend_capability.get(backend, ())
    return dist.new_group(list(ranks), timeout=GLOO_TIMEOUT, backend=backend,
                          device_id=device if device.type != "cpu" and knows else None, **settings)


class TorchTrial:
    """A process group over the first `ranks` ranks, step by step; see `interfaces.Trial`."""

    def __init__(self, ranks: int, context: TorchCallContext) -> None:
        self._ranks, self._context = ranks, context
        self.group: dist.ProcessGroup | None = None

    def create(self) -> None:
        self.group = new_group(range(self._ranks), self._context)

    def first_call(self) -> bool:
        total = torch.tensor([dist.get_rank() + 1], dtype=torch.int32, device=self._context.device)
        dist.all_reduce(total, group=self.group)
        self._context.drain()
        return int(total) == self._ranks * (self._ranks + 1) // 2

    def destroy(self) -> None:
        dist.destroy_process_group(self.group)
        self.group = None


class TorchTransport:
    """torch.distributed over the default backend of the accelerator, or of the CPU."""

    name = "torch"
    notes: tuple[str, ...] = ()

    def __init__(self, device: torch.device, backend: str, own: RankDevice, binding: CpuBinding | None,
                 store: dist.Store) -> None:
        self._context = TorchCallContext(device, backend)
        self._store = store     # rank 0 serves the other ranks as long as it has this
        self.device = str(device) if device.type == "cpu" else f"{device.type}:{_device_name(device)}"
        self.buffers = memory_policy(device) + (f"; {binding.words()}" if binding else "")
        self.own_device = own
        self.threads = 2 if backend == "gloo" else 1    # gloo moves data in a separate thread
        self.library = _library(backend, device)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def why_not(self, case: Case) -> str | None:
        if case.composition:
            if self._context.graph and case.composition.varies(case):
                return "its steps differ in routing, and a captured graph would repeat one: steps=1 measures one"
            if self._context.graph and case.operation.states(case):
                return "its samples take turns between states, and a captured graph would repeat one"
            return composed.why_not(case, self.why_not)
        if case.in_place and case.op not in IN_PLACE:
            return f"torch.distributed has no in-place {case.op}"
        if case.operation.has_in_place and not case.in_place and case.op not in OUT_OF_PLACE:
            return f"torch.distributed.{case.op} works in place only"
        if case.op not in BINDERS and case.operation.memories and self._context.device.type == "cpu":
            return NO_DEVICE
        if case.op == ONE_SHOT:
            return torch_symmetric.why_not(case, self._context.device)
        if case.op not in BINDERS and case.operation.reduces:
            return f"torch.distributed has no {case.op}"
        if case.op == "send_recv" and case.ranks == 1:
            return "torch.distributed does not support sending to the same rank"
        return None

    def communicator(self, ranks: int) -> TorchCommunicator | None:
        trial = self.trial(ranks)
        trial.create()
        # The default group already is a gloo mesh of all ranks: no need for a second one.
        control = dist.group.WORLD if ranks == self.size else dist.new_group(
            list(range(ranks)), timeout=GLOO_TIMEOUT, backend="gloo")
        if self.rank >= ranks or trial.group is None:
            return None
        if not trial.first_call():
            raise CollbenchError(f"rank {self.rank}: the first all_reduce over {ranks} ranks gave a wrong sum")
        return TorchCommunicator(trial.group, control, self._context)

    def trial(self, ranks: int) -> "TorchTrial":
        return TorchTrial(ranks, self._context)

    def configure(self, settings: CallSettings) -> LoopChoice:
        if settings.loop == "native":
            raise UsageError("--loop native: torch.distributed is called from Python")
        if settings.persistent:
            raise UsageError("--persistent: torch.distributed has no persistent collectives")
        reason = graph_reason(self._context.device) if settings.graph else None
        if reason:
            raise UsageError(f"--graph: {reason}")
        self._context.graph = settings.graph
        return LoopChoice("python", "torch.distributed is called from Python")

    def versions(self) -> dict[str, str]:
        return torch_versions()

    def settings_in_force(self) -> dict[str, str | None]:
        return {}

    def close(self) -> None:
        dist.barrier()
        dist.destroy_process_group()

    def abort(self, status: int) -> None:
        forget_shared_memory()
        os._exit(status)      # the launcher ends the other ranks


def open_transport(place: Place, device_name: str, meeting_s: float = 300.0,
                   backend: str | None = None) -> TorchTransport:
    """Rendezvous with the other ranks; `backend` is the default one of the device if None.

    Raises:
        UsageError: the device or the backend is not available here.
        CollbenchError: the rendezvous failed.
    """
    host_limits.raise_open_files(place.size)
    torch.set_num_threads(1)
    os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "0")     # the flight recorder notes the stack of every call
    if place.size >= MANY:
        os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    device = find_device(device_name, place.device_slot)
    if place.size > 1 and place.address is None:
        raise UsageError(f"{place.launcher} started {place.size} ranks but gave no rendezvous address: "
                         "set MASTER_ADDR (and MASTER_PORT) to the first rank's host")
    backend = backend or dist.get_default_backend_for_device(device)
    if not _available(backend):
        raise UsageError(f"--backend {backend}: not a backend of this torch; it has "
                         f"{', '.join(name for name in dist.Backend.backend_list if _available(name))}")
    able = dist.Backend.backend_capability.get(backend, [device.type])
    if device.type not in able:
        raise UsageError(f"--backend {backend}: it takes tensors on {', '.join(able)}, not on {device.type}")
    identity = identify(device)
    own = RankDevice(**identity)
    binding = None if device.type == "cpu" else bind_near(own.bus)
    try:
        store = _store(place, timedelta(seconds=meeting_s + _EXTRA_WAIT_S))
        meet(store, place, own_claim(place, **identity), meeting_s)
    except RuntimeError as error:       # torch raises this for any problem with a store
        raise CollbenchError(why_apart(place, str(error))) from None
    dist.init_process_group("gloo", store=_addresses() or store, rank=place.rank, world_size=place.size,
                            timeout=GLOO_TIMEOUT)
    return TorchTransport(device, backend, own, binding, store)


def _available(backend: str) -> bool:
    return backend in dist.Backend.backend_list and backend != "undefined" and dist.is_backend_available(backend)


def _store(place: Place, timeout: timedelta) -> dist.Store:
    host, port = place.address or ("127.0.0.1", 29500)
    listening = os.environ.get(LISTEN_FD)
    if listening is None or place.rank != 0:
        # torchrun serves the store at this address; otherwise rank 0 does
        serves = place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        return dist.TCPStore(host, port, place.size, serves, timeout, wait_for_workers=False)
    return dist.TCPStore(host, port, place.size, True, timeout, wait_for_workers=False,
                         master_listen_fd=int(listening))


def _addresses() -> dist.Store | None:
    """A store that every rank reads in the file once, instead of asking rank 0 for each rank that it connects to."""
    inherited = os.environ.get(ADDRESSES_FD)
    return None if inherited is None else dist.FileStore(f"/proc/self/fd/{inherited}", -1)


def _device_name(device: torch.device) -> str:
    module = torch.get_device_module(device)
    return module.get_device_name(device) if hasattr(module, "get_device_name") else socket.gethostname()


def _library(backend: str, device: torch.device) -> str:
    """Name and version; device modules have the version in a part named like the backend, as torch.cuda.nccl."""
    name = "rccl" if backend == "nccl" and torch.version.hip else backend
    module = None if device.type == "cpu" else torch.get_device_module(device)
    version = getattr(getattr(module, backend, None), "version", None)
    if version is None:
        return f"{name}, torch {torch.__version__}"
    found = version()
    return f"{name} {'.'.join(map(str, found)) if isinstance(found, tuple) else found}"
