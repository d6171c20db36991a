"""Strategies for starting a sample on all ranks together: one class per strategy, fixed for the run."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Protocol

from ..interfaces import Control, StartSpec
from .clock import ClockModel

__all__ = ["ALIGNMENTS", "Alignment", "choose", "is_on_time"]

_LATE_TOLERANCE_NS = 1000
_LATE_SHARE = 1 / 200       # of the time of a sample, which becomes longer by as much
_MAX_LATE_SHARE = 1 / 4     # of a round: a rank that is preempted now and then is late whatever the lead
_MIN_LEAD_NS = 50_000
_MAX_LEAD_NS = 20_000_000
_UNREADY_NS = 1_000_000     # who is later than this was filling its buffers still, which a longer lead hardly helps


class Alignment(Protocol):
    """Called by every rank before each sample, and after each round of samples with values that all ranks share."""

    def start(self) -> int:
        """Synchronise with the others; returns when to begin on this rank's clock in ns, or 0 for at once."""

    def accept(self, late_ns: Sequence[float], sample_ns: Sequence[float]) -> list[bool]:
        """Which samples count, given the lateness of the latest rank in each of them, and how long each took."""

    def spec(self) -> StartSpec:
        """The same start, for a compiled loop (see native/loop.c)."""


class _Unaligned:
    """Every rank starts at once: what an application with load imbalance sees."""

    def __init__(self, communicator: Control, clock: ClockModel) -> None:
        self.communicator, self.clock = communicator, clock

    def start(self) -> int:
        return 0

    def accept(self, late_ns: Sequence[float], sample_ns: Sequence[float]) -> list[bool]:
        return [True] * len(late_ns)

    def spec(self) -> StartSpec:
        return StartSpec("none")


class _Barrier(_Unaligned):
    """A barrier on the control path. Ranks leave it one by one, often further apart than a small call takes."""

    def start(self) -> int:
        self.communicator.barrier()
        return 0

    def spec(self) -> StartSpec:
        return StartSpec("barrier")


class _AgreedTime(_Unaligned):
    """Rank 0 announces a start time a little ahead on the common clock, and every rank spins until then.

    The lead adapts: it doubles after a round in which starts were often missed, and shrinks a little after a good one.
    If even the longest lead is missed, ranks are being preempted, and it starts again from the shortest.

    Ranks fill their buffers before each sample, and rank 0 announces as soon as it has done so. With large buffers the
    others may be behind by more than any lead; once they were, the ranks meet before the announcement.
    """

    def __init__(self, communicator: Control, clock: ClockModel) -> None:
        super().__init__(communicator, clock)
        self.lead_ns, self.meets = _MIN_LEAD_NS, False

    def start(self) -> int:
        if self.meets:
            self.communicator.barrier()
        announced_ns = self.clock.to_reference(self.communicator.now_ns()) + self.lead_ns
        return self.clock.to_local(self.communicator.share(announced_ns))

    def accept(self, late_ns: Sequence[float], sample_ns: Sequence[float]) -> list[bool]:
        on_time = list(map(is_on_time, late_ns, sample_ns))
        if on_time.count(False) <= _MAX_LATE_SHARE * len(on_time):
            self.lead_ns = max(int(0.9 * self.lead_ns), _MIN_LEAD_NS)
        elif not self.meets and sum(late > _UNREADY_NS for late in late_ns) > _MAX_LATE_SHARE * len(on_time):
            self.lead_ns, self.meets = _MIN_LEAD_NS, True
        else:
            self.lead_ns = min(2 * self.lead_ns, _MAX_LEAD_NS) if self.lead_ns < _MAX_LEAD_NS else _MIN_LEAD_NS
        return on_time

    def spec(self) -> StartSpec:
        return StartSpec("met" if self.meets else "agreed", self.lead_ns, self.clock.epoch, self.clock.offset,
                         self.clock.drift)


def is_on_time(late_ns: float, sample_ns: float) -> bool:
    """Whether a sample that began `late_ns` after the agreed start counts: a long one may begin a little later."""
    return late_ns <= max(_LATE_TOLERANCE_NS, _LATE_SHARE * sample_ns)


ALIGNMENTS: MappingProxyType[str, Callable[[Control, ClockModel], Alignment]] = MappingProxyType(
    {"none": _Unaligned, "barrier": _Barrier, "agreed": _AgreedTime})


def choose(wanted: str, crowded: bool) -> str:
    """Resolve `auto`: agreed starts, or a barrier if ranks outnumber cores, where spinning hinders other ranks."""
    return wanted if wanted != "auto" else "barrier" if crowded else "agreed"
