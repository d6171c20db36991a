"""Verification of results: fill with the values of `cases.values`, which are exact in the dtype; compare bytes.

Fillings and slots alternate between steps, two for most operations, with data of their own, so that a stale result of
an earlier call is detected too. When slots are filled and compared is decided in `caches`.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..cases import catalog, values
from ..cases.case import Case
from ..interfaces import Communicator, Kept, Layout, Pattern, Prepared
from ..records.record import Mismatch

__all__ = ["TIMED", "Inspector", "barrier_fault", "expected_pattern", "left_early", "sent_pattern"]

TIMED = "timed"     # when a result was found to be wrong: in a call that was timed
_WORD = 8       # bytes that `poke` overwrites
_BARRIER_DELAYS_S = (4e-3, 20e-3, 100e-3)


def sent_pattern(case: Case, rank: int, salt: int, step: int = 0) -> Pattern:
    """The data that `rank` sends in a step; of size 0 if it sends nothing."""
    return _pattern(case, rank, salt, step, sent=True)


def expected_pattern(case: Case, rank: int, salt: int, step: int = 0) -> Pattern:
    """The result that `rank` must have after a step; of size 0 if it receives nothing."""
    return _pattern(case, rank, salt, step, sent=False)


def _pattern(case: Case, rank: int, salt: int, step: int, sent: bool) -> Pattern:
    composition = case.composition
    if composition:
        whole = composition.image(case, rank, salt, step, sent)
        return Pattern(whole[None], whole.nbytes)
    return Pattern(*values.tiles(case, (catalog.sent if sent else catalog.received)(case, rank), salt))


def _dtype(case: Case) -> str:
    """The dtype of a case that moves data."""
    assert case.dtype is not None
    return case.dtype


def _close(found: np.ndarray, expected: np.ndarray, case: Case) -> bool:
    """Averages over a number of ranks that is no power of two are rounded: in n steps, each by at most 1 ulp."""
    if case.redop != "avg" or not values.is_float(case):
        return False
    found, expected = (values.decode(raw, _dtype(case)).astype(np.float64) for raw in (found, expected))
    return bool((np.abs(found - expected) <= case.ranks * np.abs(expected) / values.exact(case)).all())


class Inspector:
    """Fills the slots of a prepared case before each sample and checks every slot after it, on one rank.

    A slot that makes a step sends `sends[step]` and must then hold `wanted[step]`. Slot j of sample i makes step
    (i + j) % 2, or as `Composition.step` says.

    Attributes:
        spoils: the call overwrites its input, on some rank; set by who has tried.
        answers: this rank answers those that are timed, and nothing else.
        exposed: offset and bytes of the longer part of the receive buffer outside the send buffer.
    """

    spoils = False

    def __init__(self, case: Case, rank: int, prepared: Prepared, salt: int = 0) -> None:
        self.case, self.rank, self.prepared = case, rank, prepared
        self.checks = self.wrong = 0
        self.calls = self.compared = self.probed = 0    # as in `Verification`
        self._aim: tuple[int, bytes] | None = None
        self.fault: Mismatch | None = None
        memory = prepared.memory
        composition = case.composition
        self.exposed = _exposed(prepared.layout)
        self.answers = not case.composition and rank not in case.operation.timed(case)
        self._period = composition.steps(case) if composition else 2
        self._step = partial(composition.step, case) if composition else lambda sample, slot: (sample + slot) % 2
        steps = composition.all_steps(case) if composition else range(2)
        self.sends = [memory.keep(sent_pattern(case, rank, salt + 1 + step, step)) for step in steps]
        self._expected = [expected_pattern(case, rank, salt + 1 + step, step) for step in steps]
        self.wanted = [memory.keep(pattern) for pattern in self._expected]

    def reset(self, sample: int) -> None:
        """Poison all slots, then write the data to send, and choose the steps of the next sample."""
        self.prepared.select(sample)
        self.prepared.memory.poison(values.POISON)
        self.restore(sample)

    def restore(self, sample: int) -> None:
        """Write the data to send again."""
        if self.prepared.sends:
            for rows, which in self._rows(sample):
                self.prepared.memory.write(rows, self.prepared.send_at, self.sends[which])

    def aim(self, sample: int, chance: int) -> None:
        """Choose the word of the output that `poke` overwrites; `chance` says where. Not where the input is."""
        at, size = self.exposed
        if not size:
            return
        expected = self._expected[self._step(sample, 0)]
        at += chance % max(1, size // _WORD) * _WORD
        piece, inside = divmod(at - self.prepared.recv_at, expected.piece_bytes)
        tile = expected.tiles[piece]
        first = inside % len(tile)
        length = min(_WORD, len(tile) - first, expected.piece_bytes - inside, self.exposed[0] + size - at)
        self._aim = at, tile[first:first + length].tobytes()

    def poke(self) -> None:
        """Overwrite the word that was chosen, in the first slot."""
        if self._aim is not None:
            at, expected = self._aim
            self.prepared.memory.poke(at, len(expected), values.POISON)

    def probe(self, sample: int) -> None:
        """Compare the word that was overwritten with the expected one; all bytes if it is another."""
        if self._aim is None:
            return
        at, expected = self._aim
        self.probed += 1
        if self.prepared.memory.read(0, at, len(expected)).tobytes() != expected:
            self.check(sample, TIMED)

    def intact(self, sample: int) -> bool:
        """Whether the buffers still hold the data to send."""
        return not self.prepared.sends or all(
            self.prepared.memory.equal(rows, self.prepared.send_at, self.sends[which])
            for rows, which in self._rows(sample))

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
            self.compared += len(slots) * (when == TIMED)
            if slots and not self.prepared.memory.equal(rows, self.prepared.recv_at, self.wanted[which]):
                self._examine(slots, which, when)

    def patterns(self) -> tuple[tuple[Kept, Kept], tuple[Kept, Kept], int]:
        """Sent and expected patterns, and the poison, for a loop that fills and compares by itself."""
        return (self.sends[0], self.sends[1]), (self.wanted[0], self.wanted[1]), values.POISON

    def count_right(self, samples: int) -> None:
        """Count samples that a compiled loop has found right."""
        if self.prepared.receives:
            self.checks += samples * self.prepared.slots
            self.compared += samples * self.prepared.slots

    def count_timed(self, samples: int) -> None:
        """Count the calls of samples that were timed."""
        if self.prepared.receives:
            self.calls += samples * self.prepared.calls

    def _rows(self, sample: int) -> list[tuple[slice, int]]:
        """The slots of each step of a sample."""
        period = self._period
        return [(slice(slot, None, period), self._step(sample, slot))
                for slot in range(min(period, self.prepared.slots))]

    def _examine(self, slots: range, which: int, when: str) -> None:
        expected = self._expected[which].image()
        for slot in slots:
            found = self.prepared.memory.read(slot, self.prepared.recv_at, expected.size)
            if np.array_equal(found, expected) or _close(found, expected, self.case):
                continue
            self.wrong += 1
            if self.fault is None:
                itemsize = 1 if self.case.composition else self.case.itemsize
                index = int(np.flatnonzero(found != expected)[0]) // itemsize
                self.fault = Mismatch(rank=self.rank, index=index, when=when,
                                      expected=_element(expected, index, self.case),
                                      found=_element(found, index, self.case))


def _exposed(place: Layout) -> tuple[int, int]:
    """Offset and length of the longer part of the receive buffer that is no part of the send buffer."""
    end, sent_end = place.recv_at + place.recv_bytes, place.send_at + place.send_bytes
    parts = [(place.recv_at, min(end, place.send_at) - place.recv_at if place.send_bytes else place.recv_bytes),
             (max(place.recv_at, sent_end), end - max(place.recv_at, sent_end))]
    at, length = max(parts, key=lambda part: part[1])
    return at, max(length, 0)


def _element(raw: np.ndarray, index: int, case: Case) -> str:
    if case.composition:
        return f"byte {raw[index]}"
    value = values.decode(raw, _dtype(case))[index]
    return f"{value:.9g}" if values.is_float(case) else str(value)


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
