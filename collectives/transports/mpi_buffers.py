"""Where the buffers of MPI calls are: in host memory, or on the device that each rank chooses before MPI_Init."""

import ctypes
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from mpi4py import MPI

from ..errors import UsageError, write_error
from ..interfaces import Memory, empty_call
from ..loop.memory import HOST_POLICY, HOST_SLOTS_BYTES, HostMemory, evict_host
from ..ranks.handshake import RankClaim, contradiction, doubt, own_claim
from ..ranks.host_limits import room_bytes
from ..ranks.mpi_device_support import DeviceSupport, device_support, may_take_devices, switched_on
from ..ranks.rendezvous import Place
from ..text import name_ranks
from ..topology import accelerators_present
from ..topology.device_identity import RankDevice

__all__ = ["HOST", "BufferKind", "Device", "DeviceChoice", "RowMemory", "ask_support", "choose_device",
           "loaded_library", "settle_device"]

Device = Any    # a torch.device; torch is imported only if there may be one


class RowMemory(Memory, Protocol):
    """A memory whose slots are the rows of an array or tensor."""

    @property
    def rows(self) -> Any:
        """uint8 [slot, byte]."""


class BufferKind(NamedTuple):
    """Where buffers are allocated, and how to wait for work on them; MPI's own calls return when complete."""

    device: str
    policy: str
    open_memory: Callable[[int, int], RowMemory]
    drain: Callable[[], object]
    slots_bytes: int
    room_bytes: Callable[[int], int | None]
    evict: Callable[[], object]
    own_device: RankDevice = RankDevice()


HOST = BufferKind("cpu", HOST_POLICY, HostMemory, empty_call, HOST_SLOTS_BYTES, room_bytes, evict_host)


class DeviceChoice(NamedTuple):
    """A rank's device; None for host memory. `lack` is what it would take to use the accelerators of this host."""

    device: Device | None = None
    lack: str | None = None


def choose_device(wanted: str, slot: int) -> DeviceChoice:
    """This rank's device, number `slot`, made current and in use. To be called before MPI_Init.

    Some libraries look for the current device in MPI_Init: without one all ranks of a host would use the first device,
    and Open MPI would copy through the host (open-mpi/ompi issue 13354).

    `auto` is a device if this MPI may support it and there is one. UsageError if a requested device is not here, or
    torch, which allocates the buffers, is not installed.
    """
    if wanted == "cpu" or (wanted == "auto" and not _may_use_devices()):
        return DeviceChoice()
    try:
        from .torch_mpi_buffers import take_device
    except ImportError as error:
        lack = (f"device {wanted}: torch allocates buffers on a device, but it cannot be imported ({error}): install "
                "it, or measure host memory with --device cpu")
        if wanted == "auto":
            return DeviceChoice(lack=lack if accelerators_present() else None)
        raise UsageError(lack) from None
    return DeviceChoice(take_device(wanted, slot))


def _may_use_devices() -> bool:
    """Whether to look for a device. That imports torch, which takes seconds and, on a GPU host, memory of the device.
    """
    library = MPI.Get_library_version()
    return may_take_devices(loaded_library(), library) and bool(accelerators_present() or switched_on(library))


def ask_support() -> DeviceSupport:
    """What this MPI, which must be initialised, says of device buffers."""
    hints = MPI.COMM_WORLD.Get_info()
    kinds = hints.Get("mpi_memory_alloc_kinds")
    hints.Free()
    return device_support(loaded_library(), MPI.Get_library_version(), kinds)


def loaded_library() -> ctypes.CDLL:
    """The MPI that mpi4py uses, for calls that it lacks or makes with the interpreter lock held."""
    return ctypes.CDLL(MPI.__file__)


class _Claim(msgspec.Struct):
    """What one rank is going to use; `obstacle` is why it cannot."""

    device: RankClaim
    obstacle: str | None


def settle_device(wanted: str, choice: DeviceChoice, place: Place, library: str) -> Device | None:
    """The device that was chosen before MPI_Init; None for host memory. Collective over MPI_COMM_WORLD.

    `auto` falls back to host memory if this MPI, named `library`, does not report support for device buffers; rank 0
    says so. UsageError, on all ranks: a requested device is not supported, two ranks would use one device, or only some
    use a device.
    """
    device, support = choice.device, ask_support()
    obstacle = choice.lack if support.by else None
    if device is not None and not support.by:
        reason = f"{library} does not report support for device buffers ({support.asked})"
        if wanted != "auto":
            obstacle = f"device {wanted}: {reason}"
        elif MPI.COMM_WORLD.rank == 0:
            write_error(f"collbench: buffers of MPI are in host memory and not on {device.type}: {reason}")
        device = None
    _compare(_Claim(_rank_claim(place, device), obstacle))
    return device


def _compare(own: _Claim) -> None:
    """UsageError, on all ranks, if the claims of the ranks contradict each other or one has an obstacle."""
    claims = [msgspec.json.decode(raw, type=_Claim) for raw in _all_gathered(msgspec.json.encode(own))]
    verdict = _objection(claims)
    if verdict:
        raise UsageError(verdict)
    if MPI.COMM_WORLD.rank == 0 and (note := doubt([claim.device for claim in claims])):
        write_error(f"collbench: {note}")


def _all_gathered(payload: bytes) -> list[bytes]:
    """Every rank's bytes on every rank. Collective over MPI_COMM_WORLD."""
    world = MPI.COMM_WORLD
    lengths = np.empty(world.size, np.int64)
    world.Allgather(np.array([len(payload)], np.int64), lengths)
    everything = bytearray(int(lengths.sum()))
    world.Allgatherv(payload, [everything, lengths.tolist(), MPI.BYTE])
    ends = np.cumsum(lengths).tolist()
    return [bytes(everything[begin:end]) for begin, end in itertools.pairwise([0, *ends])]


def _rank_claim(place: Place, device: Device | None) -> RankClaim:
    if device is None:
        return own_claim(place)
    from .torch_mpi_buffers import identify
    return own_claim(place, **identify(device))


def _objection(claims: list[_Claim]) -> str | None:
    if obstacle := next(filter(None, (claim.obstacle for claim in claims)), None):
        return obstacle
    own = [claim.device for claim in claims]
    on_host = [claim.rank for claim in own if claim.device is None]
    if 0 < len(on_host) < len(own):
        on_device = [claim.rank for claim in own if claim.device is not None]
        return (f"{name_ranks(on_device)} would have their buffers on a device, {name_ranks(on_host)} in host memory: "
                "choose for all with --device")
    return contradiction(own)
