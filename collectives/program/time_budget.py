"""The time budget: which sizes to measure, and how long each case may take.

The plan is the same on every rank; during the sweep rank 0 keeps the time and decides for all ranks.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..cases import catalog
from ..cases.case import Case, Sweep
from ..interfaces import Communicator
from ..records.record import Policy

__all__ = ["SKIP", "Decision", "ForecastProbe", "Plan", "TimeKeeper", "make_plan", "share_decision"]

_SETUP_S = 0.006         # buffers and patterns of a small case
_FLOOR_S = 0.02          # minimum sampling time for a mode
_CHECKED_BPS = 1.5e9     # rate of filling and comparing, on one busy core
_EXTRA_CALLS = 4         # cold call and warm-up, in addition to the minimum number of samples
_DECISIONS = 8           # collective decisions of the trial and of each mode


class ForecastProbe(NamedTuple):
    """Times measured over the whole world for a rough forecast: a small and a large all_reduce, and one decision."""

    small_bytes: int
    small_s: float
    large_bytes: int
    large_s: float
    control_s: float
    world: int

    def call_s(self, case: Case) -> float:
        """Rough estimate for one call of `case`."""
        slope = max(0.0, self.large_s - self.small_s) / max(1, self.large_bytes - self.small_bytes)
        one = (self.small_s + slope * case.bytes) * case.ranks / self.world
        return one * max(1.0, case.operation.messages / 4)

    def decision_s(self, case: Case) -> float:
        """Estimate for one step of the control path over the ranks of `case`."""
        return self.control_s * case.ranks / self.world


class Plan(NamedTuple):
    """The cases of a run.

    Args:
        cases: in order, with the requested size of each.
        refused: cases that the library is known not to support, with the reason; they take no time.
        mode_s: sampling time for one mode of one case.
        expected_s: expected duration of the run.
        dropped_sizes: sizes left out to fit the time.
    """

    cases: dict[Case, int]
    refused: dict[Case, str]
    mode_s: float
    expected_s: float
    dropped_sizes: tuple[int, ...]


def make_plan(sweep: Sweep, policy: Policy, probe: ForecastProbe, why_not: Callable[[Case], str | None],
              budget_s: float | None) -> Plan:
    """Fit a sweep into `budget_s` seconds: shorten the sampling first, then drop sizes, but never verification.

    Sizes are dropped from the upper end; the smallest and the largest are kept as long as possible.
    """
    sizes = tuple(sorted(set(sweep.sizes)))
    dropped: list[int] = []
    floor_s = min(_FLOOR_S, policy.case_s)
    while True:
        cases = msgspec.structs.replace(sweep, sizes=sizes).cases()
        refused = {case: reason for case in cases if (reason := catalog.why_not(case) or why_not(case))}
        todo = [case for case in cases if case not in refused]
        fixed_s = sum(_fixed_s(case, policy, probe) for case in todo)
        modes = max(1, len(todo) * len(policy.modes))
        mode_s = policy.case_s if budget_s is None else min(policy.case_s, (budget_s - fixed_s) / modes)
        if mode_s >= floor_s or len(sizes) <= 1:
            mode_s = max(mode_s, floor_s)
            return Plan(cases, refused, mode_s, fixed_s + modes * mode_s, tuple(sorted(dropped)))
        victim = sizes[-1] if len(sizes) <= 3 else sizes[-2]
        dropped.append(victim)
        sizes = tuple(size for size in sizes if size != victim)


def _fixed_s(case: Case, policy: Policy, probe: ForecastProbe) -> float:
    """Seconds that a case takes in addition to its sampling time: set-up, checks, and the minimum number of samples."""
    call_s, decision_s = probe.call_s(case), probe.decision_s(case)
    window = catalog.window_depth(case) if case.operation.windowed else 1
    least = policy.min_samples + _EXTRA_CALLS
    total_s = _SETUP_S + case.bytes * case.ranks * window / _CHECKED_BPS + _DECISIONS * decision_s
    for mode in policy.modes:
        sample_s = call_s if mode == "isolated" else max(2 * call_s, min(policy.block_s, 64 * call_s))
        total_s += _DECISIONS * decision_s + max(0.0, least * (sample_s + decision_s) - _FLOOR_S)
    return total_s


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
