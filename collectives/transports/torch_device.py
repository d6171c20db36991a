"""What an accelerator offers beyond memory, asked through torch's neutral interface: its clock, graphs, streams, room.

Nothing here knows a vendor. Where a device lacks something (a clock, captured graphs, telling its free memory), that is
found by asking for it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from ..loop.timing import Stopwatch

__all__ = ["captured", "evictor", "find_stopwatch", "graph_reason", "room_bytes", "side_by_side"]

_WARM_UPS = 3               # calls before a capture: libraries set themselves up in their first ones
_UNKNOWN_CACHE = 256 << 20  # more than any accelerator's cache known today


def find_stopwatch(device: torch.device) -> Stopwatch | None:
    """Two events of the device and the time between them; None where it has no events that tell the time."""
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
    """Why no graph can be captured on `device`; None where one can be tried."""
    if device.type == "cpu":
        return "the CPU queues nothing that could be captured"
    return None if _graph_class(device) else f"torch {torch.__version__} has no graphs for {device.type}"


def _graph_class(device: torch.device) -> type | None:
    """The neutral class where torch has it, else the device module's own, which are all named alike."""
    neutral = getattr(torch.accelerator, "Graph", None)
    return neutral or getattr(torch.get_device_module(device), f"{device.type.upper()}Graph", None)


def captured(calls: Sequence[Callable[[], object]], device: torch.device) -> Callable[[], object]:
    """All calls as one graph; what replays it. RuntimeError where the device or the library cannot capture them."""
    for _ in range(_WARM_UPS):
        calls[0]()
    torch.accelerator.synchronize(device)
    graph, usual = _graph_class(device)(), torch.accelerator.current_stream(device)
    torch.accelerator.set_stream(torch.Stream(device))      # the stream in use by default cannot be captured
    try:
        graph.capture_begin()
        try:
            for call in calls:
                call()
        finally:
            graph.capture_end()
    finally:
        torch.accelerator.set_stream(usual)
    return graph.replay


def side_by_side(first: Callable[[], object], second: Callable[[], object],
                 device: torch.device) -> Callable[[], object]:
    """What queues both so that the device may do them at once, and whatever is queued later waits for both."""
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
    """Free memory of the device, shared among the ranks on it; None where neither torch nor the device tells."""
    ask = getattr(torch.accelerator, "get_memory_info", None) or getattr(torch.get_device_module(device),
                                                                         "mem_get_info", None)
    try:
        free = ask(device)[0] if ask else None
    except (RuntimeError, NotImplementedError):
        free = None
    if free is None:
        return None
    sharing = -(-local_ranks // max(1, torch.accelerator.device_count()))
    return free // sharing


def evictor(device: torch.device) -> Callable[[], object]:
    """What writes over more memory of the device than its caches hold; takes that memory when it is first called."""
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
