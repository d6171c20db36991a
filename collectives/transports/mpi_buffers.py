"""Where the buffers of MPI calls are: in host memory, or on the device that each rank chooses before MPI_Init."""

import ctypes
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
from mpi4py import MPI

from ..errors import UsageError
from ..interfaces import Memory, empty_call
from ..loop.memory import HOST_POLICY, HOST_SLOTS_BYTES, HostMemory, evict_host
from ..ranks.handshake import RankClaim, contradiction, doubt, own_claim
from ..ranks.host_limits import room_bytes
from ..ranks.mpi_device_support import DeviceSupport, device_support, may_take_devices, switched_on
from ..ranks.rendezvous import Place
from ..text import name_ranks
from ..topology import accelerators_present
from ..topology.device_identity import RankDevice

__all__ = ["HOST", "BufferKind", "Device", "RowMemory", "agree_on_devices", "ask_support", "choose_device"]

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


def choose_device(wanted: str, local_rank: int) -> Device | None:
    """This rank's device, made current and in use; None for host memory. To be called before MPI_Init.

    Some libraries look for the current device in MPI_Init: without one all ranks of a host would use the first device,
    and Open MPI would copy through the host (open-mpi/ompi issue 13354).

    `auto` is a device if this MPI may support it and there is one. UsageError if there is no such device, or torch,
    which allocates the buffers, is not installed.
    """
    if wanted == "cpu" or (wanted == "auto" and not _may_use_devices()):
        return None
    try:
        from .torch_mpi_buffers import take_device
    except ImportError as error:
        if wanted == "auto" and not accelerators_present():
            return None
        raise UsageError(f"device {wanted}: torch allocates buffers on a device, but it cannot be imported ({error}): "
                         "install it, or measure host memory with --device cpu") from None
    return take_device(wanted, local_rank)


def _may_use_devices() -> bool:
    """Whether to look for a device. That imports torch, which takes seconds and, on a GPU host, memory of the device.
    """
    library = MPI.Get_library_version()
    return may_take_devices(_loaded(), library) and bool(accelerators_present() or switched_on(library))


def ask_support() -> DeviceSupport:
    """What this MPI, which must be initialised, says of device buffers."""
    hints = MPI.COMM_WORLD.Get_info()
    kinds = hints.Get("mpi_memory_alloc_kinds")
    hints.Free()
    return device_support(_loaded(), MPI.Get_library_version(), kinds)


def _loaded() -> ctypes.CDLL:
    return ctypes.CDLL(MPI.__file__)


class _Choice(msgspec.Struct):
    """What one rank has chosen; `obstacle` is why it cannot be."""

    claim: RankClaim
    obstacle: str | None


def agree_on_devices(place: Place, device: Device | None, obstacle: str | None) -> None:
    """Compare the choices of all ranks. Collective over MPI_COMM_WORLD.

    UsageError, on all ranks: one has an obstacle, two would use one device, or only some use a device.
    """
    gathered = MPI.COMM_WORLD.gather(msgspec.json.encode(_Choice(_claim(place, device), obstacle)))
    verdict = None
    if gathered is not None:
        choices = [msgspec.json.decode(raw, type=_Choice) for raw in gathered]
        verdict = _objection(choices)
        if verdict is None and (note := doubt([choice.claim for choice in choices])):
            print(f"collbench: {note}", file=sys.stderr, flush=True)
    verdict = MPI.COMM_WORLD.bcast(verdict)
    if verdict:
        raise UsageError(verdict)


def _claim(place: Place, device: Device | None) -> RankClaim:
    if device is None:
        return own_claim(place)
    from .torch_mpi_buffers import identify
    return own_claim(place, **identify(device))


def _objection(choices: list[_Choice]) -> str | None:
    for choice in choices:
        if choice.obstacle:
            return choice.obstacle
    claims = [choice.claim for choice in choices]
    on_host = [claim.rank for claim in claims if claim.device is None]
    if 0 < len(on_host) < len(claims):
        on_device = [claim.rank for claim in claims if claim.device is not None]
        return (f"{name_ranks(on_device)} would have their buffers on a device, {name_ranks(on_host)} in host memory: "
                "choose for all with --device")
    return contradiction(claims)
