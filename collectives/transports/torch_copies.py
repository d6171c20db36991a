"""Copies within a rank: within one memory, and between host and device memory.

Source and target are in different memories, so a slot consists of one part per direction of the operation (see
`catalog.Operation.memories`), each with a source and a target.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..cases.case import Case
from ..interfaces import Layout, Pattern
from ..loop.memory import slot_stride
from .torch_device import concurrent

__all__ = ["CopyMemory", "copy_calls", "copy_layout"]


class _Direction(NamedTuple):
    """Source and target of a copy, uint8 [slot, byte]."""

    source: torch.Tensor
    target: torch.Tensor


class CopyMemory:
    """Slots of a copy case: sources of all directions are the send buffer, targets the receive buffer."""

    by_core = False

    def __init__(self, case: Case, slots: int, device: torch.device) -> None:
        shape = slots, slot_stride(case.bytes)
        self.bytes = case.bytes
        self.directions = [_Direction(_rows(shape, source, device), _rows(shape, target, device))
                           for source, target in case.operation.memories or ()]

    def keep(self, pattern: Pattern) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The part of the pattern for each direction, on the device of its source and on that of its target."""
        parts = torch.from_numpy(pattern.image()).split(self.bytes)
        return [(part.to(direction.source.device), part.to(direction.target.device))
                for part, direction in zip(parts, self.directions, strict=True)]

    def poison(self, value: int) -> None:
        for direction in self.directions:
            direction.source.fill_(value)
            direction.target.fill_(value)

    def poke(self, at: int, length: int, value: int) -> None:
        direction, first = divmod(at - self.bytes * len(self.directions), self.bytes)
        self.directions[direction].target[0, first:min(first + length, self.bytes)] = value

    def write(self, rows: slice, at: int, pattern: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        for direction, (part, _) in zip(self.directions, pattern, strict=True):
            direction.source[rows, :self.bytes] = part

    def equal(self, rows: slice, at: int, pattern: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
        return all(bool((direction.target[rows, :self.bytes] == part).all())
                   for direction, (_, part) in zip(self.directions, pattern, strict=True))

    def read(self, row: int, at: int, length: int) -> np.ndarray:
        return np.concatenate([direction.target[row, :self.bytes].cpu().numpy() for direction in self.directions])


def _rows(shape: tuple[int, int], place: str, device: torch.device) -> torch.Tensor:
    if place == "device":
        return torch.zeros(shape, dtype=torch.uint8, device=device)
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=place == "pinned")


def copy_layout(case: Case) -> Layout:
    """The targets count as being behind the sources, although they are in memory of their own."""
    size = case.bytes * len(case.operation.memories or ())
    return Layout(0, size, size, size)


def copy_calls(case: Case, memory: CopyMemory, slots: int, device: torch.device) -> list[Callable[[], object]]:
    """A call for each slot that queues its copies; two directions are queued so that they may overlap."""
    calls: list[Callable[[], object]] = []
    for row in range(slots):
        first, *second = [
            partial(direction.target[row, :case.bytes].copy_, direction.source[row, :case.bytes], non_blocking=True)
            for direction in memory.directions]
        calls.append(concurrent(first, second[0], device) if second else first)
    return calls
