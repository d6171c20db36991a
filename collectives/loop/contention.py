"""Cases in which some ranks load the machine for as long as the others are timed.

In the last state of such a case a sample begins once every background rank has completed its calls once, and the
background ranks repeat them until the last timed rank has ended. In the other states they sleep meanwhile. Both sides
meet in two barriers of the control path that nobody has to wait in: one before the timed part, one after it.

How often the calls are repeated must be the same on all background ranks, or some would wait for calls that others do
not make. Their first rank decides for a whole round of calls, and announces it as the round before begins, so that
nobody waits for the decision.
"""

import time
from collections.abc import Sequence

from ..interfaces import Communicator, StartSpec
from .alignment import Alignment
from .verify import Inspector

__all__ = ["Contention"]

_ROUND_NS = 5_000_000       # how long a round of calls lasts, about: long against an announcement
_MOST_REPEATS = 10_000
_IDLE_S = 500e-6
_SOON_S = 50e-6


class Contention:
    """Replaces the timed region of `inspector`. Collective over the communicator.

    Args:
        own: the control path among the timed ranks, or among the background ranks: those that this rank belongs to.
    """

    def __init__(self, inspector: Inspector, communicator: Communicator) -> None:
        case, prepared = inspector.case, inspector.prepared
        background = frozenset(case.operation.background(case))
        self._timed = communicator.rank not in background
        self._states, self._loaded = len(case.operation.states(case)) or 1, False
        self._world, self._call, self._select = communicator, prepared.block, prepared.select
        self.own = communicator.among([rank for rank in range(communicator.size)
                                       if (rank not in background) == self._timed])
        inspector.prepared = prepared._replace(block=self._timed_block if self._timed else self._background_block,
                                               select=self._choose)

    def alignment(self, inner: Alignment) -> Alignment:
        """How a sample starts: the timed ranks as `inner` says, once the background ranks are ready."""
        return _AfterBackground(inner, self._world) if self._timed else _AtOnce(inner)

    def _choose(self, sample: int) -> None:
        self._loaded = sample % self._states == self._states - 1
        self._select(sample)

    def _timed_block(self, start_ns: int) -> tuple[int, int]:
        begin, end = self._call(start_ns)
        _wait(self._world, _SOON_S)
        return begin, end

    def _background_block(self, start_ns: int) -> tuple[int, int]:
        if not self._loaded:
            now_ns = self._world.now_ns()
            for _ in range(2):      # before the timed part, and after it
                _wait(self._world, _IDLE_S)
            return now_ns, now_ns
        begin, end = self._call(0)
        running, over = self._world.arrive(), self._world.arrive()
        repeats, call_ns = 1, max(1, end - begin)
        while repeats:
            decision = self.own.announce(0 if over() else min(_MOST_REPEATS, max(1, _ROUND_NS // call_ns)))
            round_ns = self._world.now_ns()
            for _ in range(repeats):
                _, end = self._call(0)
            call_ns = max(1, (end - round_ns) // repeats)
            repeats = decision()
        while not (running() and over()):       # the other ranks may not have seen it yet
            time.sleep(_SOON_S)
        return begin, end


class _AfterBackground:
    """The alignment of the timed ranks."""

    def __init__(self, inner: Alignment, world: Communicator) -> None:
        self._inner, self._world = inner, world

    def start(self) -> int:
        _wait(self._world, _SOON_S)
        return self._inner.start()

    def accept(self, late_ns: Sequence[float], sample_ns: Sequence[float]) -> list[bool]:
        return self._inner.accept(late_ns, sample_ns)

    def spec(self) -> StartSpec:
        return self._inner.spec()


class _AtOnce:
    """The alignment of the background ranks, which start as soon as they are ready."""

    def __init__(self, inner: Alignment) -> None:
        self._inner = inner

    def start(self) -> int:
        return 0

    def accept(self, late_ns: Sequence[float], sample_ns: Sequence[float]) -> list[bool]:
        return self._inner.accept(late_ns, sample_ns)

    def spec(self) -> StartSpec:
        return self._inner.spec()


def _wait(world: Communicator, every_s: float) -> None:
    """A barrier that leaves the cores to others."""
    arrived = world.arrive()
    while not arrived():
        time.sleep(every_s)
