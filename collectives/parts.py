"""The protocols between an operation made of several calls and a communication library."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from .cases.case import Case
from .interfaces import RawBytes, empty_call, ignore_step
from .row_math import RowMath

__all__ = ["Bound", "Parts", "Work"]


class Work(Protocol):
    """Something that was started."""

    def __call__(self) -> int:
        """Wait for it. Returns when it was complete, on this rank's clock in ns; where the library does not tell, when
        the wait was over.
        """

    def poll(self) -> object:
        """Ask the library whether it is complete, so that it makes progress."""


class Parts(Protocol):
    """What an operation made of several calls (see `Composition`) may use of a communication library, on one slot.

    Calls complete in order. On a device they are queued, so what one leaves is there for the next; on the host they are
    complete when they return.
    """

    rank: int
    size: int
    kept: dict[Case, int]       # for as long as the communicator: what was found out for a case
    rows: RowMath
    shared: dict[str, Any]      # the same for all slots of a prepared case, whose calls never overlap

    def now_ns(self) -> int:
        """This rank's monotonic clock in nanoseconds, for the marks of a call."""

    def share(self, word: int) -> int:
        """Broadcast an integer from rank 0 on the control path."""

    def slot(self, at: int, length: int) -> RawBytes:
        """`length` bytes of the slot."""

    def scratch(self, length: int) -> RawBytes:
        """New memory of the same kind as the slot, for as long as the case is prepared."""

    def call(self, case: Case, send: RawBytes, recv: RawBytes, ranks: Sequence[int] | None = None,
             ) -> Callable[[], object]:
        """A call that carries out `case` from one buffer to another, which may be the same or overlap in-place.

        Args:
            ranks: the members, in increasing order, of whom this rank is one; None for all. Rank r of `case` is
                ranks[r]. Collective over them: every member asks for the same groups in the same order.
        """

    def start(self, case: Case, send: RawBytes, recv: RawBytes, ranks: Sequence[int] | None = None,
              ) -> Callable[[], Callable[[], object]]:
        """Like `call`, but what it returns only starts the operation; what that returns waits for it.

        NotImplementedError if the library cannot start this operation without waiting.
        """

    def start_timed(self, case: Case, send: RawBytes, recv: RawBytes,
                    ranks: Sequence[int] | None = None) -> Callable[[], Work]:
        """Like `start`, but the wait tells when the operation was complete."""

    def compute(self, units: int, poll: Callable[[], object]) -> Work:
        """Start `units` equal pieces of compute, where the library would leave it to a program to run it: on the host
        in this thread, with a `poll` after each piece, and complete on return; on a device in a queue of its own.
        """

    def exchange(self, send: RawBytes, sends: Sequence[int], recv: RawBytes, receives: Sequence[int],
                 ranks: Sequence[int] | None = None) -> None:
        """An all-to-all whose counts are known only now: bytes for each member, and from each, in their order."""


class Bound(NamedTuple):
    """An operation made of several calls, bound to one slot.

    Args:
        call: makes all of its calls; returns the readings of the clock that its operation has `marks` for.
        select: chooses the step that the next call makes; outside the timed region.
        settle: completes what the call has started and not waited for; outside the timed region.
    """

    call: Callable[[], object]
    select: Callable[[int], object] = ignore_step
    settle: Callable[[], object] = empty_call
