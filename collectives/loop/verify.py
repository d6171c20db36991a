"""Verification of results: fill with values that depend on rank and index and are exact in the dtype; compare bytes.

Every timed call writes to its own slot, which is poisoned beforehand and compared afterwards. Samples and slots
alternate between two patterns, so that a stale result of the previous call is detected too.

For reductions the values are integers chosen so that every partial result is exact in the dtype, whatever the order in
which a library combines them: the right result has exactly one bit pattern, and each rank's contribution changes it.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from ..cases import catalog
from ..cases.case import Case
from ..interfaces import Communicator, Kept, Pattern, Prepared
from ..records.record import Mismatch

__all__ = ["POISON", "Inspector", "barrier_fault", "decode", "expected_pattern", "left_early",
           "sent_pattern"]

POISON = 0xA5       # the value of every byte of a buffer before it is written

# Patterns repeat after a prime number of elements, so no power-of-two chunk equals its neighbour.
_PERIOD = 16381
_MIN_REPEATS = 4    # of a tile in a piece; below that the whole image is stored
_MOVED = {"fp8_e4m3": "uint8"}      # not in numpy, and never reduced here: any byte is a value
_BARRIER_DELAYS_S = (4e-3, 20e-3, 100e-3)


def sent_pattern(case: Case, rank: int, salt: int) -> Pattern:
    """The data that `rank` sends; of size 0 if it sends nothing."""
    return _pattern(case, catalog.sent(case, rank), salt)


def expected_pattern(case: Case, rank: int, salt: int) -> Pattern:
    """The result that `rank` must have afterwards; of size 0 if it receives nothing."""
    return _pattern(case, catalog.received(case, rank), salt)


def _pattern(case: Case, pieces: list[catalog.Piece], salt: int) -> Pattern:
    if not pieces:
        return Pattern(np.empty((1, 0), np.uint8), 0)
    tiles = [_tile(case, piece, salt) for piece in pieces]
    if len({piece.count for piece in pieces}) == 1 and pieces[0].count >= _MIN_REPEATS * len(tiles[0]):
        return Pattern(np.stack(tiles).view(np.uint8), pieces[0].count * case.itemsize)
    image = np.concatenate([np.resize(tile, piece.count) for tile, piece in zip(tiles, pieces, strict=True)])
    return Pattern(image.view(np.uint8)[None], image.nbytes)


def _tile(case: Case, piece: catalog.Piece, salt: int) -> np.ndarray:
    """One period of the values of a piece, beginning with its first element."""
    length = min(_PERIOD, piece.start + piece.count)
    index = np.arange(length, dtype=np.uint32)
    if piece.source is None:
        values = _reduced(case, index, salt)
    elif case.redop is None:
        values = _moved(case, piece.source, piece.block, index, salt)
    else:
        values = _CONTRIBUTIONS[case.redop](case, piece.source, index, salt)
    return np.roll(_encode(values, _dtype(case)), -(piece.start % length))


def _dtype(case: Case) -> str:
    """The dtype of a case that moves data."""
    assert case.dtype is not None
    return case.dtype


def _exact(case: Case) -> int:
    """Up to this integer, all are exact in the case's dtype."""
    return catalog.DTYPES[_dtype(case)].exact


def _is_float(case: Case) -> bool:
    return catalog.DTYPES[_dtype(case)].is_float


def _hash(index: np.ndarray, salt: int) -> np.ndarray:
    """A well-mixed integer for each index (a 32-bit finaliser), as int64 so that sums do not overflow."""
    x = index * np.uint32(0x9E3779B1) + np.uint32(salt * 0x85EBCA6B + 0x165667B1 & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    return (x ^ (x >> np.uint32(16))).astype(np.int64)


def _moved(case: Case, source: int, block: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Values for data movement: at each index different for any 256 consecutive sources."""
    span = 256 if case.itemsize == 1 else min(_exact(case), 1 << 24)
    low = -128 if _dtype(case) == "int8" else 0
    # Adding the source to one hash keeps sources apart; each group of 256 gets another hash.
    moved: np.ndarray = (_hash(index, salt + 101 * block + 10007 * (source >> 8)) + source) % span + low
    return moved


def _sum_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """Never 0, so a missing rank changes the sum; partial sums stay in the exact range in any order.

    Overflow is avoided too: Open MPI 5's vectorised sum of int8 saturates where its scalar loop wraps.
    """
    mixed = _hash(index, salt + 101 * rank)
    exact = _exact(case)
    size = 1 + mixed % max(1, min(exact // case.ranks, 1 << 20))
    signed = np.where(mixed & (1 << 30), -size, size)
    if case.ranks <= exact:
        return signed
    # More ranks than the dtype can count: at each index only `exact` of them contribute.
    return np.where((rank + _hash(index, salt)) % case.ranks < exact, signed, 0)


def _avg_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    term: np.ndarray = np.abs(_sum_term(case, rank, index, salt))
    return term


def _prod_term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
    """A few ranks, different ones at each index, contribute +-2 or +-4, all others -1: never 1, never too large."""
    mixed = _hash(index, salt + 101 * rank)
    power = np.where(mixed & 1, 2, 4) * np.where(mixed & 2, -1, 1)
    few = 3 if case.dtype == "int8" else 7      # at most 2**6 or 2**14, below the limits of int8 and float16
    chosen = (rank + _hash(index, salt)) % case.ranks < few
    return np.where(chosen, power, -1)


def _extreme_term(sign: int) -> Callable[[Case, int, np.ndarray, int], np.ndarray]:
    """The winning rank changes with the index, so that every rank determines part of the result."""
    def term(case: Case, rank: int, index: np.ndarray, salt: int) -> np.ndarray:
        half = min(_exact(case) // 2, 1 << 20)
        value = _hash(index, salt + 101 * rank) % half
        wins = (index + salt) % case.ranks == rank
        return sign * np.where(wins, value + half, value)
    return term


_CONTRIBUTIONS = {"sum": _sum_term, "prod": _prod_term, "min": _extreme_term(-1), "max": _extreme_term(1),
                  "avg": _avg_term}
_COMBINE = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


def _reduced(case: Case, index: np.ndarray, salt: int) -> np.ndarray:
    assert case.redop is not None
    terms = (_CONTRIBUTIONS[case.redop](case, rank, index, salt) for rank in range(case.ranks))
    total = next(terms)
    for term in terms:
        total = _COMBINE[case.redop](total, term)
    if case.redop != "avg":
        return total
    return total / case.ranks if _is_float(case) else total // case.ranks


def _encode(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "bfloat16":     # not in numpy: the upper half of a float32, exact for the values used here
        return (values.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return values.astype(_MOVED.get(dtype, dtype))


def decode(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers from bytes (uint8) of `dtype`."""
    if dtype == "bfloat16":
        return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw.view(_MOVED.get(dtype, dtype))


def _close(found: np.ndarray, expected: np.ndarray, case: Case) -> bool:
    """Averages over a number of ranks that is no power of two are rounded: in n steps, each by at most 1 ulp."""
    if case.redop != "avg" or not _is_float(case):
        return False
    found, expected = (decode(raw, _dtype(case)).astype(np.float64) for raw in (found, expected))
    return bool((np.abs(found - expected) <= case.ranks * np.abs(expected) / _exact(case)).all())


class Inspector:
    """Fills the slots of a prepared case before each sample and checks every slot after it, on one rank.

    Slot j of sample i sends `sends[(i + j) % 2]` and must then hold `wanted[(i + j) % 2]`.
    """

    def __init__(self, case: Case, rank: int, prepared: Prepared, salt: int = 0) -> None:
        self.case, self.rank, self.prepared = case, rank, prepared
        self.checks = self.wrong = 0
        self.fault: Mismatch | None = None
        memory = prepared.memory
        self.sends = [memory.keep(sent_pattern(case, rank, salt + k)) for k in (1, 2)]
        self._expected = [expected_pattern(case, rank, salt + k) for k in (1, 2)]
        self.wanted = [memory.keep(pattern) for pattern in self._expected]

    def reset(self, sample: int) -> None:
        """Poison all slots, then write the data to send."""
        self.prepared.memory.poison(POISON)
        if self.prepared.sends:
            for rows, which in self._rows(sample):
                self.prepared.memory.write(rows, self.prepared.send_at, self.sends[which])

    def rehearse(self) -> None:
        """Fill and compare once, whatever the result: both may need memory of their own."""
        self.reset(0)
        if self.prepared.receives:
            for rows, which in self._rows(0):
                self.prepared.memory.equal(rows, self.prepared.recv_at, self.wanted[which])

    def check(self, sample: int, when: str) -> None:
        """Compare every slot with the expected result; keeps the place and values of the first fault."""
        if not self.prepared.receives:
            return
        for rows, which in self._rows(sample):
            slots = range(*rows.indices(self.prepared.slots))
            self.checks += len(slots)
            if slots and not self.prepared.memory.equal(rows, self.prepared.recv_at, self.wanted[which]):
                self._examine(slots, which, when)

    def patterns(self) -> tuple[tuple[Kept, Kept], tuple[Kept, Kept], int]:
        """Sent and expected patterns, and the poison, for a loop that fills and compares by itself."""
        return (self.sends[0], self.sends[1]), (self.wanted[0], self.wanted[1]), POISON

    def count_right(self, samples: int) -> None:
        """Count samples that a compiled loop has found right."""
        if self.prepared.receives:
            self.checks += samples * self.prepared.slots

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
    value = decode(raw, _dtype(case))[index]
    return f"{value:.9g}" if _is_float(case) else str(value)


def barrier_fault(communicator: Communicator, barrier: Callable[[], object], when: str) -> Mismatch | None:
    """Delay each rank in turn before it enters: no other rank may leave a barrier before the delayed one enters.

    Needs no common clock: each rank checks its own waiting time. A rank that is itself preempted seems to have waited
    too little, so only a barrier that fails at every delay counts as broken. Collective.
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
            return None     # another rank saw the fault; all return together
    return None


def left_early(begin_ns: Sequence[Sequence[int]], elapsed_ns: Sequence[Sequence[int]], error_ns: float,
               when: str) -> Mismatch | None:
    """The first sample in which a rank left a timed barrier before the last rank entered it.

    This is no proof that every barrier waited: ranks that enter together within the time of an empty call look alike
    with and without one.

    Args:
        begin_ns: of each rank and sample on one clock; a rank enters after it.
        elapsed_ns: of the same; a rank has left when it is over.
        error_ns: by how much a rank's clock may differ from that of rank 0.
        when: what the samples are.
    """
    for sample, begins in enumerate(zip(*begin_ns, strict=True)):
        last = max(range(len(begins)), key=begins.__getitem__)
        for rank, begin in enumerate(begins):
            early = begins[last] - begin - elapsed_ns[rank][sample]
            if early > 2 * error_ns:
                return Mismatch(rank=rank, index=last, when=f"in sample {sample} of the {when} calls",
                                expected=f"to wait for rank {last}, {(begins[last] - begin) / 1e3:.3f} us late",
                                found=f"left after {elapsed_ns[rank][sample] / 1e3:.3f} us")
    return None


def _wait_for(late: int, delay_s: float, communicator: Communicator, barrier: Callable[[], object]) -> float:
    """Seconds from this rank's entry to its exit while rank `late` enters later than the others."""
    communicator.barrier()
    begin_ns = communicator.now_ns()
    if communicator.rank == late:
        time.sleep(delay_s)
    barrier()
    communicator.drain()
    return (communicator.now_ns() - begin_ns) / 1e9
