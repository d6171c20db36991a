"""Rows of buffers as tensors; see `row_math.RowMath`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..interfaces import empty_call

__all__ = ["TorchRows"]

_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)


class _Addition(NamedTuple):
    places: torch.Tensor
    weights: torch.Tensor       # [row, 1]
    weighted: torch.Tensor      # [row, value]
    width: int


class TorchRows:
    """On a device, work is queued.

    Args:
        device: where the buffers are.
        settle: waits for it, where the library that is called next does not.
    """

    def __init__(self, device: torch.device, settle: Callable[[], object] = empty_call) -> None:
        self._device, self._settle = device, settle

    def stored(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.reshape(-1).view(np.uint8)).to(self._device)

    def selection(self, places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(places).to(self._device)

    def take(self, source: torch.Tensor, target: torch.Tensor, row_bytes: int, selection: torch.Tensor) -> None:
        word = next(word for word in _WORDS if row_bytes % word.itemsize == 0)
        width = row_bytes // word.itemsize
        torch.index_select(source.view(word).view(-1, width), 0, selection,
                           out=target[:len(selection) * row_bytes].view(word).view(-1, width))
        self._settle()

    def addition(self, places: np.ndarray, weights: np.ndarray, counts: np.ndarray, rows: int, width: int,
                 dtype: str) -> _Addition:
        kind = getattr(torch, dtype)
        return _Addition(torch.from_numpy(places).to(self._device),
                         torch.from_numpy(weights).to(kind).to(self._device)[:, None],
                         torch.empty((len(places), width), dtype=kind, device=self._device), width)

    def add(self, source: torch.Tensor, target: torch.Tensor, addition: _Addition) -> None:
        places, weights, weighted, width = addition
        into = target.view(weighted.dtype).view(-1, width)
        torch.mul(source.view(weighted.dtype).view(-1, width)[:len(places)], weights, out=weighted)
        into.zero_()
        into.index_add_(0, places, weighted)
        self._settle()

    def numbers(self, raw: torch.Tensor) -> list[int]:
        found: list[int] = raw.view(torch.int64).tolist()
        return found
