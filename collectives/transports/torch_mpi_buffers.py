"""Buffers of MPI calls as torch tensors on a device, whose addresses are passed to MPI."""

import socket
from functools import partial

import torch

from ..topology.device_identity import RankDevice
from .mpi_buffers import BufferKind
from .torch_device import evictor, room_bytes
from .torch_memory import DEVICE_SLOTS_BYTES, DeviceMemory, drain, find_device, identify, memory_policy

__all__ = ["identify", "take_device", "torch_buffers"]


def take_device(wanted: str, slot: int) -> torch.device | None:
    """The device of this rank, made current and with memory in use; None for the CPU. UsageError if it is not here."""
    torch.set_num_threads(1)
    device = find_device(wanted, slot)
    if device.type == "cpu":
        return None
    torch.empty(1, device=device)       # a current device alone may not have a context yet
    return device


def torch_buffers(device: torch.device) -> BufferKind:
    """Tensors on `device`."""
    own = RankDevice(**identify(device))
    name = str(device) if device.type == "cpu" else f"{device.type}:{own.name or socket.gethostname()}"
    return BufferKind(name, f"{memory_policy(device)}; passed to MPI by address", partial(DeviceMemory, device=device),
                      drain(device), DEVICE_SLOTS_BYTES, partial(room_bytes, device), evictor(device), own)
