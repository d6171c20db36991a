"""Clock, graphs, streams and free memory of an accelerator, through torch's device-neutral interface.

Nothing here is specific to a vendor. Whether a device has a feature (timing events, graph capture, a query for free
memory) is found by trying it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch

from ..loop.timing import Stopwatch

__all__ = ["captured", "concurrent", "evictor", "find_stopwatch", "graph_reason", "room_bytes"]

_WARM_UPS = 3               # calls before a capture: libraries initialise lazily
_UNKNOWN_CACHE = 256 << 20  # larger than the cache of any current accelerator


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
    return Stopwatch(first.record, last.record, lambda: round(first.elapsed_time(last) * 1e6))      # it is in ms


def graph_reason(device: torch.device) -> str | None:
    """Why no graph can be captured on `device`; None if capture can be tried."""
    if device.type == "cpu":
        return "the CPU has no queue to capture"
    return None if _graph_class(device) else f"torch {torch.__version__} has no graphs for {device.type}"


def _graph_class(device: torch.device) -> Any:
    """torch's device-neutral graph class, or else that of the device module, which all follow one naming scheme."""
    neutral = getattr(torch.accelerator, "Graph", None)
    return neutral or getattr(torch.get_device_module(device), f"{device.type.upper()}Graph", None)


def captured(calls: Sequence[Callable[[], object]], device: torch.device) -> Callable[[], object]:
    """A call that replays all calls as one graph. RuntimeError if the device or the library cannot capture them."""
    for _ in range(_WARM_UPS):
        calls[0]()
    torch.accelerator.synchronize(device)
    graph, usual = _graph_class(device)(), torch.accelerator.current_stream(device)
    torch.accelerator.set_stream(torch.Stream(device))      # the default stream cannot be captured
    try:
        graph.capture_begin()
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


def room_bytes(device: torch.device, local_ranks: int) -> int | None:
    """Free memory of the device, divided among the ranks on it; None if unknown."""
    ask = getattr(torch.accelerator, "get_memory_info", None) or getattr(torch.get_device_module(device),
                                                                         "mem_get_info", None)
    if ask is None:
        return None
    try:
        free = int(ask(device)[0])
    except (RuntimeError, NotImplementedError):
        return None
    sharing: int = -(-local_ranks // max(1, torch.accelerator.device_count()))
    return free // sharing


def evictor(device: torch.device) -> Callable[[], object]:
    """A call that overwrites more device memory than the caches hold; it allocates that memory on first use."""
    @lru_cache(maxsize=1)
    def scratch() -> torch.Tensor:
        module = torch.get_device_module(device)
        properties = module.get_device_properties(device) if hasattr(module, "get_device_properties") else None
        size = 4 * (getattr(properties, "L2_cache_size", 0) or _UNKNOWN_CACHE // 4)
        return torch.zeros(size, dtype=torch.uint8, device=device)

    def evict() -> None:
        scratch().fill_(1)
        torch.accelerator.synchronize(device)
    return evict
