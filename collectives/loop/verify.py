"""Is the answer right? Fill with values that depend on rank and index and are exact in the dtype; compare bytes.

Every timed call writes into a slot of its own, poisoned beforehand, and every slot is compared afterwards. Samples and
slots alternate between two patterns, so that an answer kept from the call before does not pass either.

For reductions the values are whole numbers chosen so that every partial result, in whatever order a library combines
them, is exact in the dtype: a right answer has exactly one bit pattern, and each rank's contribution changes it.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..cases import catalog
from ..cases.case import Case
from ..records.record import Mismatch
from .memory import Pattern

if TYPE_CHECKING:
    from ..interfaces import Communicator, Prepared

__all__ = ["POISON", "Inspector", "barrier_fault", "decode", "expected_pattern", "sent_pattern"]

POISON = 0xA5       # what every byte of a buffer is before it is filled or written to

# Patterns repeat after a prime number of elements: no power-of-two chunk can be mistaken for its neighbour.
_PERIOD = 16381
_REPEATS = 4        # of a tile in a piece, from which it is not written out
_BARRIER_DELAYS_S = (4e-3, 20e-3, 100e-3)


def sent_pattern(case: Case, rank: int, salt: int) -> Pattern:
    """What `rank` sends; of size 0 where it sends nothing."""
    return _pattern(case, catalog.sent(case, rank), salt)


def expected_pattern(case: Case, rank: int, salt: int) -> Pattern:
    """What `rank` must hold afterwards; of size 0 where it receives nothing."""
    return _pattern(case, catalog.received(case, rank), salt)


def _pattern(case: Case, pieces: list[catalog.Piece], salt: int) -> Pattern:
    if not pieces:
        return Pattern(np.empty((1, 0), np.uint8), 0)
    tiles = [_tile(case, piece, salt) for piece in pieces]
    if len({piece.count for piece in pieces}) == 1 and pieces[0].count >= _REPEATS * len(tiles[0]):
        return Pattern(np.stack(tiles).view(np.uint8), pieces[0].count * case.itemsize)
    image = np.concatenate([np.resize(tile, piece.count) for tile, piece in zip(tiles, pieces, strict=True)])
    return Pattern(image.view(np.uint8)[None], image.nbytes)


def _tile(case: Case, piece: catalog.Piece, salt: int) -> np.ndarray:
    """The values of a piece from its first element on, until they repeat."""
    length = min(_PERIOD, piece.start + piece.count)
    index = np.arange(length, dtype=np.uint32)
    if case.redop is None:
        values = _moved(case, piece.source, piece.block, index, salt)
    elif piece.source is None:
        values = _reduced(case, index, salt)
    else:
        values = _CONTRIBUTIONS[case.redop](case, piece.source, index, salt)
    return np.roll(_encode(values, case.dtype), -(piece.start % length))


def _hash(index: np.ndarray, salt: int) -> np.ndarray:
    """A well-mixed whole number for each index (a 32-bit finaliser), as int64 so that sums have room."""
    x = index * np.uint32(0x9E3779B1) + np.uint32(salt * 0x85EBCA6B + 0x165667B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return (x ^ (x >> np.uint32(16))).astype(np.int64)


def _moved(case: Case, source: int, block: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Values that are only carried: at each index different for every source (of up to 256 neighbours)."""
    span = 256 if case.itemsize == 1 else min(catalog.DTYPES[case.dtype].exact, 1 << 24)
    low = -128 if case.itemsize == 1 else 0
    return (_hash(index, salt + 101 * block + 10007 * (source >> 8)) + source) % span + low


def _sum_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Never 0, so a rank left out changes the sum, which no order of adding can take out of the exact range.

    Nothing may overflow either: Open MPI 5's vectorised sum of int8 saturates where its plain loop wraps.
    """
    mixed = _hash(index, salt + 101 * rank)
    exact = catalog.DTYPES[case.dtype].exact
    size = 1 + mixed % max(1, min(exact // case.ranks, 1 << 20))
    signed = np.where(mixed & (1 << 30), -size, size)
    if case.ranks <= exact:
        return signed
    # More ranks than the dtype can count: at each index only as many of them contribute as it can.
    return np.where((rank + _hash(index, salt)) % case.ranks < exact, signed, 0)


def _avg_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    return np.abs(_sum_term(case, rank, index, salt))


def _prod_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """A few ranks, others at each index, contribute 2 or 4 with a sign, the rest -1: never 1, never too large."""
    mixed = _hash(index, salt + 101 * rank)
    power = np.where(mixed & 1, 2, 4) * np.where(mixed & 2, -1, 1)
    few = 3 if case.dtype == "int8" else 7      # at most 2**6 or 2**14, below the limits of int8 and float16
    chosen = (rank + _hash(index, salt)) % case.ranks < few
    return np.where(chosen, power, -1)


def _extreme_term(sign: int) -> Callable[[Case, int, np.ndarray, int], np.ndarray]:
    """Each index has another winner, so that every rank decides some of the answer."""
    def term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
        half = min(catalog.DTYPES[case.dtype].exact // 2, 1 << 20)
        value = _hash(index, salt + 101 * rank) % half
        wins = (index + salt) % case.ranks == rank
        return sign * np.where(wins, value + half, value)
    return term


_CONTRIBUTIONS = {"sum": _sum_term, "prod": _prod_term, "min": _extreme_term(-1), "max": _extreme_term(1),
                  "avg": _avg_term}
_COMBINE = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


def _reduced(case: Case, index: np.ndarray, salt: int) -> np.ndarray:
    terms = (_CONTRIBUTIONS[case.redop](case, rank, index, salt) for rank in range(case.ranks))
    total = next(terms)
    for term in terms:
        total = _COMBINE[case.redop](total, term)
    if case.redop != "avg":
        return total
    return total / case.ranks if catalog.DTYPES[case.dtype].is_float else total // case.ranks


def _encode(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":     # numpy has none: the upper half of a float32, exact for what is used here
        return (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(dtype)


def decode(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers from bytes (uint8) of `dtype`."""
    if dtype == "bfloat16":
        return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.view(dtype)


def _close(found: np.ndarray, expected: np.ndarray, case: Case) -> bool:
    """Averages over other than a power of two ranks round; each of n steps by at most one unit in the last place."""
    if case.redop != "avg" or not catalog.DTYPES[case.dtype].is_float:
        return False
    found, expected = (decode(raw, case.dtype).astype(np.float64) for raw in (found, expected))
    return bool((np.abs(found - expected) <= case.ranks * np.abs(expected) / catalog.DTYPES[case.dtype].exact).all())


class Inspector:
    """Fills the buffers of a prepared case before each sample and checks every slot after it, on one rank.

    Slot j of sample i is filled with `sends[(i + j) % 2]` and must then hold `wanted[(i + j) % 2]`.
    """

    def __init__(self, case: Case, rank: int, prepared: "Prepared", salt: int = 0) -> None:
        self.case, self.rank, self.prepared = case, rank, prepared
        self.checks = self.wrong = 0
        self.fault: Mismatch | None = None
        memory = prepared.memory
        self.sends = [memory.keep(sent_pattern(case, rank, salt + k)) for k in (1, 2)]
        self._expected = [expected_pattern(case, rank, salt + k) for k in (1, 2)]
        self.wanted = [memory.keep(pattern) for pattern in self._expected]

    def reset(self, sample: int) -> None:
        """Poison everything, then write what is to be sent; slots alternate between the two patterns."""
        self.prepared.memory.poison(POISON)
        if self.prepared.sends:
            for rows, which in self._rows(sample):
                self.prepared.memory.write(rows, self.prepared.send_at, self.sends[which])

    def check(self, sample: int, when: str) -> None:
        """Compare every slot with what it must hold; the first fault is kept with its place and values."""
        if not self.prepared.receives:
            return
        for rows, which in self._rows(sample):
            slots = range(*rows.indices(self.prepared.slots))
            self.checks += len(slots)
            if slots and not self.prepared.memory.equal(rows, self.prepared.recv_at, self.wanted[which]):
                self._examine(slots, which, when)

    def _rows(self, sample: int) -> tuple[tuple[slice, int], tuple[slice, int]]:
        return (slice(0, None, 2), sample & 1), (slice(1, None, 2), 1 - (sample & 1))

    def _examine(self, slots: range, which: int, when: str) -> None:
        expected = self._expected[which].image()
        for slot in slots:
            found = self.prepared.memory.read(slot, self.prepared.recv_at, expected.size)
            if np.array_equal(found, expected) or _close(found, expected, self.case):
                continue
            self.wrong += 1
            if self.fault is None:
                index = int(np.flatnonzero(found != expected)[0]) // self.case.itemsize
                self.fault = Mismatch(rank=self.rank, index=index, when=when,
                                   expected=_element(expected, index, self.case),
                                   found=_element(found, index, self.case))


def _element(raw: np.ndarray, index: int, case: Case) -> str:
    value = decode(raw, case.dtype)[index]
    return f"{value:.9g}" if catalog.DTYPES[case.dtype].is_float else str(value)


def barrier_fault(communicator: "Communicator", barrier: Callable[[], object], when: str) -> Mismatch | None:
    """Delay each rank in turn before it enters: no other may leave a barrier before that rank came.

    Needs no common clock, since each rank judges its own waiting time. A rank that the system itself held up seems to
    have waited too little, so only a barrier that fails at every delay counts as broken. Collective.
    """
    for late in range(communicator.size):
        for delay_s in _BARRIER_DELAYS_S:
            waited_s = _wait_for(late, delay_s, communicator, barrier)
            if not communicator.all_max([waited_s < delay_s / 2])[0]:
                break
        else:
            if waited_s < delay_s / 2:
                return Mismatch(rank=communicator.rank, index=late, when=when,
                             expected=f"to wait for rank {late}, {delay_s * 1e3:.0f} ms late",
                             found=f"left after {waited_s * 1e3:.3f} ms")
            return None     # a fault that another rank saw; all leave together
    return None


def _wait_for(late: int, delay_s: float, communicator: "Communicator", barrier: Callable[[], object]) -> float:
    """Seconds from this rank's entry to its exit while rank `late` comes later than the others."""
    communicator.barrier()
    begin_ns = communicator.now_ns()
    if communicator.rank == late:
        time.sleep(delay_s)
    barrier()
    communicator.drain()
    return (communicator.now_ns() - begin_ns) / 1e9
