"""How ranks start a sample together. One row a way, chosen once for a run."""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from .clock import ClockModel

if TYPE_CHECKING:
    from ..interfaces import Communicator

__all__ = ["ALIGNMENTS", "Alignment", "choose"]

_ON_TIME_NS = 1000          # later than this after the agreed start, and the sample does not count
_MOST_LATE = 1 / 4          # of a round: a rank that loses its core now and then is late however far ahead it is told
_FIRST_LEAD_NS = 50_000
_MOST_LEAD_NS = 20_000_000


class Alignment(Protocol):
    """Called before each sample by every rank; `judge` after a round of them, with figures that all ranks share.

    `code`, `lead_ns` and `clock` are what a compiled loop needs to do the same (see native/loop.c).
    """

    code: int
    lead_ns: int
    clock: ClockModel

    def start(self) -> int:
        """Meet the others; returns when to begin on this rank's clock in ns, or 0 for at once."""

    def judge(self, late_ns: Sequence[float]) -> list[bool]:
        """Which samples count, from how late the latest rank began each of them."""


class _Alone:
    """Every rank starts when it comes: what an application with imbalance sees."""

    code, lead_ns = 0, 0

    def __init__(self, communicator: "Communicator", clock: ClockModel) -> None:
        self.communicator, self.clock = communicator, clock

    def start(self) -> int:
        return 0

    def judge(self, late_ns: Sequence[float]) -> list[bool]:
        return [True] * len(late_ns)


class _Barrier(_Alone):
    """A barrier on the control path. Ranks leave it one by one, often further apart than a small call takes."""

    code = 1

    def start(self) -> int:
        self.communicator.barrier()
        return 0


class _Agreed(_Alone):
    """Rank 0 names a moment a little ahead on the common clock; everybody waits for it on the spot.

    How far ahead adapts: twice as far after a round in which somebody often came too late, a little less after a good
    one. Where even the furthest is too late, ranks lose their cores meanwhile, and it begins anew with the nearest.
    """

    code, lead_ns = 2, _FIRST_LEAD_NS

    def start(self) -> int:
        ahead_ns = self.clock.to_reference(self.communicator.now_ns()) + self.lead_ns
        return self.clock.to_local(self.communicator.share(ahead_ns))

    def judge(self, late_ns: Sequence[float]) -> list[bool]:
        on_time = [late <= _ON_TIME_NS for late in late_ns]
        if on_time.count(False) <= _MOST_LATE * len(on_time):
            self.lead_ns = max(int(0.9 * self.lead_ns), _FIRST_LEAD_NS)
        else:
            self.lead_ns = min(2 * self.lead_ns, _MOST_LEAD_NS) if self.lead_ns < _MOST_LEAD_NS else _FIRST_LEAD_NS
        return on_time


ALIGNMENTS: MappingProxyType[str, Callable[["Communicator", ClockModel], Alignment]] = MappingProxyType(
    {"none": _Alone, "barrier": _Barrier, "agreed": _Agreed})


def choose(wanted: str, crowded: bool) -> str:
    """`auto` agrees on starts, except where more has to run than there are cores: waiting hinders others."""
    return wanted if wanted != "auto" else "barrier" if crowded else "agreed"
