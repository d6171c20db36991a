"""Compute on the host for operations that overlap it with communication: products of small matrices."""

from collections.abc import Callable
from functools import cache

import numpy as np

from ..interfaces import empty_call
from ..parts import Work

__all__ = ["Ended", "compute_on_host"]

_SIDE = 64      # fits the first-level caches; OpenBLAS multiplies up to 64 x 64 x 64 in one thread (interface/gemm.c)


class Ended:
    """Work that is complete."""

    def __init__(self, at_ns: int) -> None:
        self._at_ns = at_ns

    def __call__(self) -> int:
        return self._at_ns

    poll = staticmethod(empty_call)


@cache
def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one = np.linspace(0.0, 1.0, _SIDE * _SIDE, dtype=np.float32).reshape(_SIDE, _SIDE)
    return one, one.T.copy(), np.empty_like(one)


def compute_on_host(units: int, poll: Callable[[], object], now_ns: Callable[[], int]) -> Work:
    """Multiply `units` pairs of matrices in this thread, with a `poll` after each; complete on return."""
    one, other, product = _matrices()
    for _ in range(units):
        np.matmul(one, other, out=product)
        poll()
    return Ended(now_ns())
