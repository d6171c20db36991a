"""The time budget during a sweep: rank 0 keeps the time and decides for all ranks how long each case may take."""

import time
from typing import NamedTuple

from ..interfaces import Communicator
from .plan import Plan

__all__ = ["SKIP", "Decision", "TimeKeeper", "share_decision"]


class Decision(NamedTuple):
    """Rank 0's decision on a case: the seconds for each of its modes, or None to skip it."""

    mode_s: float | None

    def encode(self) -> int:
        """As one integer: whole microseconds, at least 1; 0 to skip."""
        return 0 if self.mode_s is None else max(1, int(1e6 * self.mode_s))

    @classmethod
    def decode(cls, word: int) -> "Decision":
        """The inverse of `encode`."""
        return cls(word / 1e6 if word else None)


SKIP = Decision(None)


def share_decision(communicator: Communicator, own: Decision = SKIP) -> Decision:
    """Rank 0's decision on all ranks; `own` is ignored on the others. Collective."""
    return Decision.decode(communicator.agree(own.encode()))


class TimeKeeper:
    """Rank 0's clock of a run: divides the remaining budget among the remaining cases."""

    def __init__(self, plan: Plan, modes: int, case_s: float, budget_s: float | None, cases: int) -> None:
        """`case_s` is the limit for one mode; `cases` are in the plan."""
        self._plan, self._modes, self._case_s, self._budget_s = plan, modes, case_s, budget_s
        self._cases = self._left = cases
        self._done, self._allotted_s = 0, 0.0
        self._started = time.monotonic()

    def begin(self, left: int) -> None:
        """Only `left` of the cases remain to be measured."""
        self._left = left

    def elapsed_s(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._started

    def decide(self, stopping: bool) -> Decision:
        """The decision on the next case."""
        decision = SKIP if stopping else self._allot()
        self._done += 1
        self._allotted_s += self._modes * (decision.mode_s or 0.0)
        return decision

    def _allot(self) -> Decision:
        if self._budget_s is None:
            return Decision(self._plan.mode_s)
        remaining_s = self._budget_s - self.elapsed_s()
        if remaining_s <= 0:
            return SKIP
        # What a case costs in addition to its sampling time: as observed so far, or else as planned.
        overhead_s = ((self.elapsed_s() - self._allotted_s) / self._done if self._done
                      else self._plan.expected_s / self._cases - self._modes * self._plan.mode_s)
        mode_s = (remaining_s / (self._left - self._done) - overhead_s) / self._modes
        return Decision(min(self._case_s, max(mode_s, self._plan.mode_s / 4)))
