"""Copies within a rank that load the memory of its host: within that, or from a device to it and back."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ..interfaces import RawBytes
from ..loop.memory import host_copy

__all__ = ["copy_by_host"]


def copy_by_host(send: RawBytes, recv: RawBytes) -> Callable[[], object]:
    """A call that copies `send` to `recv`; of a device it is queued, and goes through pinned host memory."""
    if isinstance(send, np.ndarray):
        return host_copy(send, recv)
    if send.device.type == "cpu":
        return partial(recv.copy_, send)
    staging = send.cpu().pin_memory()

    def copy() -> None:
        staging.copy_(send, non_blocking=True)
        recv.copy_(staging, non_blocking=True)
    return copy
