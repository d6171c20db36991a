"""Clock, graphs, streams and free memory of an accelerator, through torch's device-neutral interface.

Nothing here is specific to a vendor. Whether a device has a feature (timing events, graph capture, a query for free
memory) is found by trying it.
"""

import gc
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from inspect import signature
from typing import Any

import torch

from ..loop.timing import Stopwatch

__all__ = ["Filler", "captured", "concurrent", "evictor", "find_stopwatch", "graph_reason", "room_bytes"]

_WARM_UPS = 3               # calls before a capture: libraries initialise lazily
_CAPTURE_MODE = "thread_local"
_LARGEST_CACHE = 1 << 30    # four times the 256 MiB of the AMD MI300X, whose L2 size, as torch reports it, is 4 MiB
_FILL_NS = 50_000           # of one filler call: much longer than queueing it, much shorter than queueing a sample
_FIRST_FILL_BYTES = 1 << 20     # copied to find how much that is; at most
_FILL_BYTES = 256 << 20
_FILL_CALLS = 4             # to time a filler call
_FILL_TRIES = 4             # of sizes
_MOST_FILL_NS = 200_000_000
_MEMORY_SHARE = 32          # of the free memory, what a buffer of this module may take: one part in so many


def find_stopwatch(device: torch.device) -> Stopwatch | None:
    """Two events of the device and the time between them; None if it has no timing events."""
    if device.type == "cpu":
        return None
    try:
        first, last = (torch.Event(device, enable_timing=True) for _ in range(2))
        first.record()
        last.record()
        torch.accelerator.synchronize(device)
        first.elapsed_time(last)
    except (RuntimeError, NotImplementedError):
        return None
    return Stopwatch(first.record, last.record, lambda: round(first.elapsed_time(last) * 1e6),     # it is in ms
                     first.query)


class Filler:
    """Work that keeps a device busy, so that the host can queue calls before the device reaches the first of them.

    Without it, an accelerator that is faster than the interpreter waits for the host between two calls, and the time on
    its clock is that of the host.
    """

    def __init__(self, device: torch.device, stopwatch: Stopwatch) -> None:
        self._device, self._stopwatch = device, stopwatch

    def __call__(self, ns: int) -> None:
        """Queue at least `ns` nanoseconds of work, at most 0.2 s; nothing if `ns` is 0."""
        if ns <= 0:
            return
        copy, copy_ns = self._copy
        for _ in range(-(-min(ns, _MOST_FILL_NS) // copy_ns)):
            copy()

    @cached_property
    def _copy(self) -> tuple[Callable[[], object], int]:
        """A call that queues a copy within the device, and its time there in ns: about `_FILL_NS`, if memory allows."""
        most = min(_FILL_BYTES, (room_bytes(self._device) or _FILL_BYTES * _MEMORY_SHARE) // _MEMORY_SHARE)
        size = max(1, min(_FIRST_FILL_BYTES, most))
        copy, ns = self._timed_copy(size)
        for _ in range(_FILL_TRIES):        # small copies take as long as their launch, whatever their size
            if 0.5 * _FILL_NS <= ns <= 2 * _FILL_NS or (size == most and ns < _FILL_NS):
                break
            size = max(1, min(most, size * _FILL_NS // ns))
            copy, ns = self._timed_copy(size)
        return copy, ns

    def _timed_copy(self, size: int) -> tuple[Callable[[], object], int]:
        source = torch.zeros(size, dtype=torch.uint8, device=self._device)
        target = torch.zeros_like(source)

        def copy() -> None:
            target.copy_(source, non_blocking=True)
        copy()
        self._stopwatch.start()
        for _ in range(_FILL_CALLS):
            copy()
        self._stopwatch.stop()
        torch.accelerator.synchronize(self._device)
        return copy, max(1, self._stopwatch.elapsed_ns() // _FILL_CALLS)


def graph_reason(device: torch.device) -> str | None:
    """Why no graph can be captured on `device`; None if capture can be tried."""
    if device.type == "cpu":
        return "the CPU has no queue to capture"
    return None if _graph_class(device) else f"torch {torch.__version__} has no graphs for {device.type}"


def _graph_class(device: torch.device) -> Any:
    """torch's device-neutral graph class, or else that of the device module, which all follow one naming scheme."""
    neutral = getattr(torch.accelerator, "Graph", None)
    return neutral or getattr(torch.get_device_module(device), f"{device.type.upper()}Graph", None)


def _begin_capture(device: torch.device) -> Any:
    """A graph that is being captured in a mode that other threads do not disturb.

    Communication libraries have threads that query the device meanwhile; nccl-tests captures in this mode too. torch's
    neutral class takes the mode when it is made, those of device modules when the capture begins, if at all.
    """
    mode = {"capture_error_mode": _CAPTURE_MODE}
    try:
        graph = _graph_class(device)(**mode)
    except TypeError:
        graph = _graph_class(device)()
    graph.capture_begin(**(mode if "capture_error_mode" in signature(graph.capture_begin).parameters else {}))
    return graph


def captured(calls: Sequence[Callable[[], object]], device: torch.device) -> Callable[[], object]:
    """A call that replays all calls as one graph. RuntimeError if the device or the library cannot capture them."""
    for _ in range(_WARM_UPS):
        calls[0]()
    torch.accelerator.synchronize(device)
    usual = torch.accelerator.current_stream(device)
    gc.collect()        # memory freed by a collection during the capture would break it
    torch.accelerator.set_stream(torch.Stream(device))      # the default stream cannot be captured
    try:
        graph = _begin_capture(device)
        try:
            for call in calls:
                call()
        finally:
            graph.capture_end()
    finally:
        torch.accelerator.set_stream(usual)
    replay: Callable[[], object] = graph.replay
    return replay


def concurrent(first: Callable[[], object], second: Callable[[], object],
               device: torch.device) -> Callable[[], object]:
    """A call that queues both so that the device may run them concurrently; later work waits for both."""
    side = torch.Stream(device)

    def both() -> None:
        usual = torch.accelerator.current_stream(device)
        side.wait_stream(usual)
        torch.accelerator.set_stream(side)
        try:
            first()
        finally:
            torch.accelerator.set_stream(usual)
        second()
        usual.wait_stream(side)
    return both


def room_bytes(device: torch.device, local_ranks: int = 1) -> int | None:
    """Free memory of the device, divided among those of `local_ranks` that share it; None if unknown.

    Memory that torch keeps for reuse is released first, because devices do not count it as free. Where a rank sees one
    device only, the launcher gave each rank its own; two ranks on one device are refused at start-up.
    """
    devices = torch.accelerator.device_count()
    sharing = -(-local_ranks // devices) if devices > 1 else 1
    module = torch.get_device_module(device)
    for holder in (torch.accelerator, module):
        if _tried(getattr(holder, "empty_cache", None)) is not _FAILED:
            break
    for ask in (getattr(torch.accelerator, "get_memory_info", None), getattr(module, "mem_get_info", None)):
        answer = _tried(ask, device)        # some devices implement only one of these
        if answer is not _FAILED:
            return int(answer[0]) // sharing
    return None


_FAILED = object()


def _tried(function: Callable[..., Any] | None, *arguments: object) -> Any:
    """What `function` returns; `_FAILED` if there is none, or the device does not implement it."""
    try:
        return _FAILED if function is None else function(*arguments)
    except (RuntimeError, NotImplementedError, AttributeError):
        return _FAILED


def evictor(device: torch.device) -> Callable[[], object]:
    """A call that overwrites more device memory than the caches hold; it allocates that memory on first use."""
    @lru_cache(maxsize=1)
    def scratch() -> torch.Tensor:
        module = torch.get_device_module(device)
        properties = module.get_device_properties(device) if hasattr(module, "get_device_properties") else None
        size = max(4 * (getattr(properties, "L2_cache_size", 0) or 0), _LARGEST_CACHE)
        room = room_bytes(device)
        return torch.zeros(size if room is None else min(size, room // 3), dtype=torch.uint8, device=device)

    def evict() -> None:
        scratch().fill_(1)
        torch.accelerator.synchronize(device)
    return evict
