"""Collectives that tell when they were complete, and compute beside them, for torch.distributed."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from ..interfaces import empty_call
from ..parts import Work
from .host_compute import Ended

__all__ = ["DeviceWork", "HostWork", "compute", "observed"]

_HOST_SIDE = 64         # fits the first-level caches
_DEVICE_SIDE = 1024     # a product takes longer than queueing it


def observed(work: Any, begun: "DeviceWork | None", now_ns: Callable[[], int]) -> Work:
    """What was started on the host, or on the device, where `begun` was made just before."""
    if begun is None:
        return HostWork(work, now_ns)
    begun.follow(work.wait, _waiting_queue(begun.device))
    return begun


class HostWork:
    """A collective of gloo, whose own thread notes when it is complete, as soon as Python lets it.

    Those that consist of several others, such as reduce_scatter, tell it to the wait only.
    """

    def __init__(self, work: Any, now_ns: Callable[[], int]) -> None:
        self._now_ns, self._at_ns = now_ns, 0
        try:
            self._wait = work.get_future().then(self._note).wait
        except RuntimeError:
            self._wait = work.wait

    def _note(self, done: object) -> None:
        self._at_ns = self._now_ns()

    def __call__(self) -> int:
        self._wait()
        return self._at_ns or self._now_ns()

    poll = staticmethod(empty_call)     # gloo needs no help


class DeviceWork:
    """Work in a queue of its own, between two events; begins when it is made."""

    def __init__(self, device: torch.device, now_ns: Callable[[], int]) -> None:
        self.device = device
        self._first, self._last = (torch.Event(device, enable_timing=True) for _ in range(2))
        self._begin_ns = now_ns()
        self._first.record()

    def follow(self, queue: Callable[[], object], side: torch.Stream) -> None:
        """Queue more work in `side`, and the last event behind it."""
        usual = torch.accelerator.current_stream(self.device)
        side.wait_event(self._first)
        torch.accelerator.set_stream(side)
        try:
            queue()
            self._last.record()
        finally:
            torch.accelerator.set_stream(usual)

    def __call__(self) -> int:
        self._last.synchronize()
        return self._begin_ns + int(self._first.elapsed_time(self._last) * 1e6)       # it is in ms

    poll = staticmethod(empty_call)


@cache
def _waiting_queue(device: torch.device) -> torch.Stream:
    return torch.Stream(device)


@cache
def _compute_queue(device: torch.device) -> torch.Stream:
    return torch.Stream(device)


@cache
def _matrices(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    side = _HOST_SIDE if device.type == "cpu" else _DEVICE_SIDE
    one = torch.linspace(0.0, 1.0, side * side, device=device).reshape(side, side)
    return one, one.T.contiguous(), torch.empty_like(one)


def compute(units: int, poll: Callable[[], object], device: torch.device, now_ns: Callable[[], int]) -> Work:
    """See `Parts.compute`."""
    one, other, product = _matrices(device)
    if device.type == "cpu":
        for _ in range(units):
            torch.mm(one, other, out=product)
            poll()
        return Ended(now_ns())

    def queue() -> None:
        for _ in range(units):
            torch.mm(one, other, out=product)
    work = DeviceWork(device, now_ns)
    work.follow(queue, _compute_queue(device))
    return work
