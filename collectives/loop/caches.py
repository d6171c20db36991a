"""What is in the caches when a sample begins, and how its results are verified: one class per state, see `--cache`.

A state decides what happens before and after the timed region of a sample, which the compiled loop does likewise.
"""

import time
from collections.abc import Callable
from types import MappingProxyType
from typing import Protocol

from ..cases.case import Case
from ..interfaces import Communicator, WarmSpec
from ..records.record import Cache, Mode
from .verify import TIMED, Inspector

__all__ = ["CACHES", "CacheState", "mixed", "state_of"]

_REST_S = 0.0002
_IN_FULL = 8    # a loop in the interpreter compares the whole result of one sample in so many


class CacheState(Protocol):
    """Called by every rank around each sample, with its number; collective where it makes calls."""

    compiled: bool      # whether a compiled loop can do the same

    def open(self, first: int, count: int) -> None:
        """Before `count` samples, of which `first` is the number of the first one."""

    def before(self, sample: int) -> None:
        """Bring buffers and caches into this state."""

    def after(self, sample: int) -> None:
        """Compare the results, or some of them."""

    def examine(self, sample: int) -> None:
        """Compare all results, of which a compiled loop found one to be wrong."""

    def spec(self) -> WarmSpec | None:
        """The same for a compiled loop, for the samples after `open`; None fills the buffers before each."""


class _Rotated:
    """Each call of a sample has buffers of its own, filled by their rank before the sample; all are compared after it.

    So a rank's caches hold the end of what it is about to send, as after the computation that produced it.
    """

    compiled = True

    def __init__(self, inspector: Inspector, communicator: Communicator) -> None:
        self.inspector, self.communicator = inspector, communicator

    def open(self, first: int, count: int) -> None:
        pass

    def before(self, sample: int) -> None:
        self.inspector.reset(sample)

    def after(self, sample: int) -> None:
        self.inspector.check(sample, TIMED)

    examine = after

    def spec(self) -> WarmSpec | None:
        return None


class _Cold(_Rotated):
    """As rotated, and then the caches are filled with other data."""

    compiled = False

    def before(self, sample: int) -> None:
        super().before(sample)
        self.communicator.evict()


class _Warm(_Rotated):
    """The call before a sample was the same call on the same buffers, as in the loops of OSU and nccl-tests.

    That call is made after the last result was compared, once or, now and then, twice; it is not timed. (Before the
    first sample of a round, `open` has made it, and its result is compared in between.) Nothing else touches
    the buffers after it but a word of the output, which is overwritten so that a call that writes nothing is noticed;
    and, if the call overwrites its own input, that input is written again by its rank, which had written to it last.

    After each sample all bytes of the last call are compared. In the interpreter, that keeps the core busy for so long
    that the next call of a library that sleeps while it waits, such as gloo, takes 50 us longer, whatever is called in
    between: the scheduler prefers threads that have run less. After a sleep of 0.2 ms it does not, so the rank rests.
    And where a sample is one call, only the word is compared after each, and all bytes after one in eight, at random,
    and after the last one of a round.

    `open` changes the data. The first calls with them, of which the last is compared in full too, are so many that each
    place in a sample has its turn.
    """

    def __init__(self, inspector: Inspector, communicator: Communicator) -> None:
        super().__init__(inspector, communicator)
        self._turn = self._first = self._last = 0
        self._compares = inspector.prepared.memory.by_core and not inspector.prepared.sampler
        self._rare = inspector.prepared.memory.by_core and inspector.prepared.calls == 1

    def open(self, first: int, count: int) -> None:
        inspector, prepared = self.inspector, self.inspector.prepared
        self._turn, self._first, self._last = self._turn + 1, first, first + count - 1
        inspector.reset(self._turn)
        self.communicator.drain()
        self._make(1 + mixed(self._turn) % prepared.calls)
        inspector.check(self._turn, "before timing")
        self._rest()

    def before(self, sample: int) -> None:
        inspector, chance = self.inspector, mixed(sample)
        inspector.aim(self._turn, chance >> 8)      # before the call, to do as little as possible after it
        if sample != self._first:       # `open` has just made the call
            self._make(1)
            if chance % 4 == 0:
                self._make(1)
        if inspector.spoils:
            inspector.restore(self._turn)
        inspector.poke()

    def after(self, sample: int) -> None:
        if self._rare and sample < self._last and mixed(sample) // 16 % _IN_FULL:
            self.inspector.probe(self._turn)
        else:
            self.inspector.check(self._turn, TIMED)
            if sample < self._last:
                self._rest()

    def _rest(self) -> None:
        """Let the scheduler treat this rank as before it compared a result."""
        if self._compares:
            time.sleep(_REST_S)

    def examine(self, sample: int) -> None:
        self.inspector.check(self._turn, TIMED)

    def spec(self) -> WarmSpec | None:
        return WarmSpec(self._turn, self._first, self.inspector.spoils, self.inspector.exposed)

    def _make(self, count: int) -> None:
        make = self.inspector.prepared.make
        assert make is not None
        make(count)


CACHES: MappingProxyType[str, Callable[[Inspector, Communicator], CacheState]] = MappingProxyType(
    {"warm": _Warm, "rotated": _Rotated, "cold": _Cold})


def state_of(wanted: Cache, case: Case, mode: Mode, spoils: bool) -> Cache:
    """The state in which a case can be measured and verified.

    Several calls in a row that overwrite their own input would each have other data and another result, so each needs
    buffers of its own; so do operations of several calls, whose steps differ.
    """
    if wanted == "warm" and (case.composition or (spoils and mode == "streamed")):
        return "rotated"
    return wanted


def mixed(sample: int) -> int:
    """A number that looks random, the same on all ranks: no period in the calls of a run then goes unchecked.

    The multiplier is that of Knuth's multiplicative hashing for 64 bits (The Art of Computer Programming, 6.4).
    """
    word = sample * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return word ^ word >> 29
