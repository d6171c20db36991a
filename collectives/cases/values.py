"""The values of buffers: they depend on rank, block and index, and are exact in the element type.

For reductions they are integers chosen so that every partial result is exact in the type, whatever the order in which a
library combines them: the right result has exactly one bit pattern, and each rank's contribution changes it.
"""

from collections.abc import Callable

import numpy as np

from .operation import DTYPES, CaseLike, Piece

__all__ = ["COMBINE", "CONTRIBUTIONS", "POISON", "decode", "encode", "exact", "hashed", "image", "is_float", "moved",
           "prod_term", "reduced", "sum_term", "tiles"]

POISON = 0xA5       # the value of every byte of a buffer before it is written

# Patterns repeat after a prime number of elements, so no power-of-two chunk equals its neighbour.
_PERIOD = 16381
_MIN_REPEATS = 4    # of a tile in a piece; below that the whole image is stored
_MOVED = {"fp8_e4m3": "uint8"}      # not in numpy, and never reduced here: any byte is a value


def tiles(case: CaseLike, pieces: list[Piece], salt: int) -> tuple[np.ndarray, int]:
    """The bytes of equally long pieces, each of which repeats its tile: uint8 [piece, byte], and bytes of a piece.

    Where tiles would save nothing, all bytes are one tile of one piece.
    """
    if not pieces:
        return np.empty((1, 0), np.uint8), 0
    each = [_tile(case, piece, salt) for piece in pieces]
    if len({piece.count for piece in pieces}) == 1 and pieces[0].count >= _MIN_REPEATS * len(each[0]):
        return np.stack(each).view(np.uint8), pieces[0].count * each[0].itemsize
    whole = np.concatenate([np.resize(tile, piece.count) for tile, piece in zip(each, pieces, strict=True)])
    return whole.view(np.uint8)[None], whole.nbytes


def image(case: CaseLike, pieces: list[Piece], salt: int) -> np.ndarray:
    """All bytes of `pieces`, as uint8."""
    each, piece_bytes = tiles(case, pieces, salt)
    return np.concatenate([np.resize(tile, piece_bytes) for tile in each])


def _tile(case: CaseLike, piece: Piece, salt: int) -> np.ndarray:
    """One period of the values of a piece, beginning with its first element."""
    length = min(_PERIOD, piece.start + piece.count)
    index = np.arange(length, dtype=np.uint32)
    if piece.source is None:
        values = reduced(case, index, salt)
    elif case.redop is None:
        values = moved(case, piece.source, piece.block, index, salt)
    else:
        values = CONTRIBUTIONS[case.redop](case, piece.source, index, salt)
    return np.roll(encode(values, _dtype(case)), -(piece.start % length))


def _dtype(case: CaseLike) -> str:
    """The dtype of a case that moves data."""
    assert case.dtype is not None
    return case.dtype


def exact(case: CaseLike) -> int:
    """Up to this integer, all are exact in the case's dtype."""
    return DTYPES[_dtype(case)].exact


def is_float(case: CaseLike) -> bool:
    """Whether the case's dtype is a floating-point type."""
    return DTYPES[_dtype(case)].is_float


def hashed(index: np.ndarray, salt: int) -> np.ndarray:
    """A well-mixed integer for each index (a 32-bit finaliser), as int64 so that sums do not overflow."""
    x = index * np.uint32(0x9E3779B1) + np.uint32(salt * 0x85EBCA6B + 0x165667B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return (x ^ (x >> np.uint32(16))).astype(np.int64)


def moved(case: CaseLike, source: int, block: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Values for data movement: at each index different for any 256 consecutive sources."""
    span = 256 if DTYPES[_dtype(case)].itemsize == 1 else min(exact(case), 1 << 24)
    low = -128 if _dtype(case) == "int8" else 0
    # Adding the source to one hash keeps sources apart; each group of 256 gets another hash.
    values: np.ndarray = (hashed(index, salt + 101 * block + 10007 * (source >> 8)) + source) % span + low
    return values


def sum_term(case: CaseLike, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Never 0, so a missing rank changes the sum; partial sums stay in the exact range in any order.

    Overflow is avoided too: Open MPI 5's vectorised sum of int8 saturates where its scalar loop wraps.
    """
    mixed = hashed(index, salt + 101 * rank)
    most = exact(case)
    size = 1 + mixed % max(1, min(most // case.ranks, 1 << 20))
    signed = np.where(mixed & (1 << 30), -size, size)
    if case.ranks <= most:
        return signed
    # More ranks than the dtype can count: at each index only `most` of them contribute.
    return np.where((rank + hashed(index, salt)) % case.ranks < most, signed, 0)


def _avg_term(case: CaseLike, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    term: np.ndarray = np.abs(sum_term(case, rank, index, salt))
    return term


def prod_term(case: CaseLike, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """A few ranks, different ones at each index, contribute +-2 or +-4, all others -1: never 1, never too large."""
    mixed = hashed(index, salt + 101 * rank)
    power = np.where(mixed & 1, 2, 4) * np.where(mixed & 2, -1, 1)
    few = 3 if case.dtype == "int8" else 7      # at most 2**6 or 2**14, below the limits of int8 and float16
    chosen = (rank + hashed(index, salt)) % case.ranks < few
    return np.where(chosen, power, -1)


def _extreme_term(sign: int) -> Callable[[CaseLike, int, np.ndarray, int], np.ndarray]:
    """The winning rank changes with the index, so that every rank determines part of the result."""
    def term(case: CaseLike, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
        half = min(exact(case) // 2, 1 << 20)
        value = hashed(index, salt + 101 * rank) % half
        wins = (index + salt) % case.ranks == rank
        return sign * np.where(wins, value + half, value)
    return term


CONTRIBUTIONS = {"sum": sum_term, "prod": prod_term, "min": _extreme_term(-1), "max": _extreme_term(1),
                  "avg": _avg_term}
COMBINE = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


def reduced(case: CaseLike, index: np.ndarray, salt: int) -> np.ndarray:
    """The reduction over all ranks."""
    assert case.redop is not None
    terms = (CONTRIBUTIONS[case.redop](case, rank, index, salt) for rank in range(case.ranks))
    total = next(terms)
    for term in terms:
        total = COMBINE[case.redop](total, term)
    if case.redop != "avg":
        return total
    return total / case.ranks if is_float(case) else total // case.ranks


def encode(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as elements of `dtype`; those of bfloat16 as uint16."""
    if dtype == "bfloat16":     # not in numpy: the upper half of a float32, exact for the values used here
        return (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(_MOVED.get(dtype, dtype))


def decode(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers from bytes (uint8) of `dtype`."""
    if dtype == "bfloat16":
        return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.view(_MOVED.get(dtype, dtype))
