"""The progress of the main thread of a rank, as its watchdog thread reads it."""

import time

from ..cases.case import Case
from ..interfaces import Phase
from .position import Position, find_position

__all__ = ["Progress"]


class Progress:
    """The case and the phase that the main thread is in.

    Attributes:
        since: when the case, or the time between two cases, began (`time.monotonic`).
        leaving: the job is over for this rank.
        run: id of the run in the journal, once there is one.
    """

    def __init__(self) -> None:
        self.case: Case | None = None
        self.number = 0
        self.phase: Phase = "start-up"
        self.since = time.monotonic()
        self.leaving = False
        self.run = ""

    def enter_case(self, case: Case | None, number: int) -> None:
        """A case begins, or with None the time between two cases; `number` 0 keeps the last one."""
        self.case, self.number, self.since = case, number or self.number, time.monotonic()

    def leave(self) -> None:
        """The job ends in order."""
        self.since = time.monotonic()
        self.leaving = True

    def position(self) -> Position:
        """Where the main thread is now."""
        return find_position(self.number, self.phase)
