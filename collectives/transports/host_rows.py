"""Rows of buffers in host memory; see `row_math.RowMath`."""

from typing import NamedTuple

import numpy as np

from ..cases import values
from ..cases.operation import DTYPES

__all__ = ["HostRows"]

_WORDS = tuple(map(np.dtype, (np.uint64, np.uint32, np.uint16, np.uint8)))


class _Addition(NamedTuple):
    places: list[np.ndarray]
    weights: list[np.ndarray]
    total: np.ndarray       # float32 [row, value]
    dtype: str
    row_bytes: int


class HostRows:
    """numpy adds in float32, which is exact for the values that are used here, also where it lacks a type."""

    def stored(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1).view(np.uint8)

    def selection(self, places: np.ndarray) -> np.ndarray:
        return places

    def take(self, source: np.ndarray, target: np.ndarray, row_bytes: int, selection: np.ndarray) -> None:
        into = target[:len(selection) * row_bytes]
        word = next(word for word in _WORDS if row_bytes % word.itemsize == 0)
        np.take(source.view(word).reshape(-1, row_bytes // word.itemsize), selection, 0, mode="clip",
                out=into.view(word).reshape(-1, row_bytes // word.itemsize))

    def addition(self, places: np.ndarray, weights: np.ndarray, counts: np.ndarray, rows: int, width: int,
                 dtype: str) -> _Addition:
        ends = np.cumsum(counts)[:-1]
        return _Addition(np.split(places, ends), np.split(weights[:, None].astype(np.float32), ends),
                         np.empty((rows, width), np.float32), dtype, width * DTYPES[dtype].itemsize)

    def add(self, source: np.ndarray, target: np.ndarray, addition: _Addition) -> None:
        total, at = addition.total, 0
        total.fill(0)
        for places, weights in zip(addition.places, addition.weights, strict=True):
            part = source[at:at + len(places) * addition.row_bytes]
            total[places] += values.decode(part, addition.dtype).reshape(len(places), total.shape[1]) * weights
            at += len(part)
        target[:] = values.encode(total, addition.dtype).reshape(-1).view(np.uint8)

    def numbers(self, raw: np.ndarray) -> list[int]:
        return [int(number) for number in raw.view(np.int64)]
