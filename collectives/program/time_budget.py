"""What fits into the time: which sizes to measure, and how long each case may take. The same on every rank."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..cases import catalog
from ..cases.case import Case, Sweep
from ..records.record import Policy

__all__ = ["Plan", "Probe", "make_plan"]

_SETUP_S = 0.006         # buffers and patterns of a small case
_FLOOR_S = 0.02          # less time than this for a mode is not worth starting it
_CHECKED_BPS = 1.5e9     # filling and comparing, on one busy core
_EXTRA_CALLS = 4         # cold call and warm-up, beside the smallest number of samples
_DECISIONS = 8           # collective decisions of the trial and of each mode


class Probe(NamedTuple):
    """What was timed over the whole world for a rough forecast: one all_reduce, small and large, and one decision."""

    small_bytes: int
    small_s: float
    large_bytes: int
    large_s: float
    control_s: float
    world: int

    def call_s(self, case: Case) -> float:
        """A rough guess at one call of `case`."""
        slope = max(0.0, self.large_s - self.small_s) / max(1, self.large_bytes - self.small_bytes)
        one = (self.small_s + slope * case.bytes) * case.ranks / self.world
        return one * max(1.0, case.operation.messages / 4)

    def decision_s(self, case: Case) -> float:
        """One step of the control path over the ranks of `case`."""
        return self.control_s * case.ranks / self.world


class Plan(NamedTuple):
    """Cases in order with the size asked for, seconds for one mode, and what was left out to keep to the time.

    `refused` are the cases that the library is known not to have, with the reason; they take no time.
    """

    cases: dict[Case, int]
    refused: dict[Case, str]
    mode_s: float
    expected_s: float
    dropped_sizes: tuple[int, ...]


def make_plan(sweep: Sweep, policy: Policy, probe: Probe, why_not: Callable[[Case], str | None],
              budget_s: float | None) -> Plan:
    """Fit a sweep into `budget_s` seconds: first shorten the sampling, then drop sizes; never verification.

    Sizes are thinned from the upper end with both ends kept; the largest goes last.
    """
    sizes, dropped = tuple(sorted(set(sweep.sizes))), []
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


def _fixed_s(case: Case, policy: Policy, probe: Probe) -> float:
    """Seconds that a case takes whatever the time for sampling: set-up, checks, and the smallest number of samples."""
    call_s, decision_s = probe.call_s(case), probe.decision_s(case)
    window = catalog.window_depth(case) if case.operation.windowed else 1
    least = policy.min_samples + _EXTRA_CALLS
    total_s = _SETUP_S + case.bytes * case.ranks * window / _CHECKED_BPS + _DECISIONS * decision_s
    for mode in policy.modes:
        sample_s = call_s if mode == "isolated" else max(2 * call_s, min(policy.block_s, 64 * call_s))
        total_s += _DECISIONS * decision_s + max(0.0, least * (sample_s + decision_s) - _FLOOR_S)
    return total_s
