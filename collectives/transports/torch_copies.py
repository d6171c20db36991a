"""Copies within a rank: between two places of one memory, and between the host's memory and a device's.

What is sent and what must be held lie in different memories here, so a slot is made of parts: one for each way of the
operation (see `catalog.Operation.memories`), with a source and a target each.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..cases.case import Case
from ..interfaces import Layout
from ..loop.memory import Pattern, slot_stride
from .torch_device import side_by_side

__all__ = ["CopyMemory", "copy_calls", "copy_layout"]


class _Way(NamedTuple):
    """[slot, byte] of where a copy comes from and where it goes."""

    source: torch.Tensor
    target: torch.Tensor


class CopyMemory:
    """Slots of a case that copies; sending is from the sources and receiving is into the targets of all ways."""

    def __init__(self, case: Case, slots: int, device: torch.device) -> None:
        shape = slots, slot_stride(case.bytes)
        self.bytes = case.bytes
        self.ways = [_Way(*(_rows(shape, place, device) for place in way)) for way in case.operation.memories]

    def keep(self, pattern: Pattern) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each way its share of the pattern, where it comes from and where it goes to."""
        shares = torch.from_numpy(pattern.image()).split(self.bytes)
        return [(share.to(way.source.device), share.to(way.target.device))
                for share, way in zip(shares, self.ways, strict=True)]

    def poison(self, value: int) -> None:
        for way in self.ways:
            way.source.fill_(value)
            way.target.fill_(value)

    def write(self, rows: slice, at: int, pattern: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for way, (share, _) in zip(self.ways, pattern, strict=True):
            way.source[rows, :self.bytes] = share

    def equal(self, rows: slice, at: int, pattern: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
        return all(bool((way.target[rows, :self.bytes] == share).all())
                   for way, (_, share) in zip(self.ways, pattern, strict=True))

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        return np.concatenate([way.target[row, :self.bytes].cpu().numpy() for way in self.ways])


def _rows(shape: tuple[int, int], place: str, device: torch.device) -> torch.Tensor:
    if place == "device":
        return torch.zeros(shape, dtype=torch.uint8, device=device)
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=place == "pinned")


def copy_layout(case: Case) -> Layout:
    """Both buffers start where their own memory does."""
    size = case.bytes * len(case.operation.memories)
    return Layout(0, size, 0, size)


def copy_calls(case: Case, memory: CopyMemory, slots: int, device: torch.device) -> list[Callable[[], object]]:
    """A call for each slot that queues its copies; two ways are queued so that they may overlap."""
    calls = []
    for row in range(slots):
        one_way = [partial(way.target[row, :case.bytes].copy_, way.source[row, :case.bytes], non_blocking=True)
                   for way in memory.ways]
        calls.append(one_way[0] if len(one_way) == 1 else side_by_side(*one_way, device))
    return calls
