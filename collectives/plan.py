"""What fits into the time: which sizes to measure, and how long each case may take. The same on every rank."""

from typing import NamedTuple

import msgspec

from . import catalog
from .cases import Case, Sweep
from .records import Policy

__all__ = ["Plan", "Probe", "make_plan"]

_SETUP_S = 0.012         # buffers, patterns and the trial call of a small case
_CONTROL_S = 0.006       # decisions and gathering
_FLOOR_S = 0.02          # less time than this for a mode is not worth starting it
_CHECKED_BPS = 1.5e9     # filling and comparing, on one busy core
_EXTRA_CALLS = 4         # cold call and warm-up, beside the smallest number of samples


class Probe(NamedTuple):
    """Seconds of one all_reduce over the whole world at a small and a large size: enough for a rough forecast."""

    small_bytes: int
    small_s: float
    large_bytes: int
    large_s: float

    def call_s(self, case: Case, world: int) -> float:
        """A rough guess at one call of `case`."""
        slope = max(0.0, self.large_s - self.small_s) / max(1, self.large_bytes - self.small_bytes)
        one = (self.small_s + slope * case.bytes) * case.ranks / max(world, 1)
        return one * max(1.0, case.operation.messages / 4)


class Plan(NamedTuple):
    """Cases in order with the size asked for, seconds for one mode, and what was left out to keep to the time."""

    cases: dict[Case, int]
    mode_s: float
    expected_s: float
    dropped_sizes: tuple[int, ...]


def make_plan(sweep: Sweep, policy: Policy, probe: Probe, world: int, budget_s: float | None) -> Plan:
    """Fit a sweep into `budget_s` seconds: first shorten the sampling, then drop sizes; never verification.

    Sizes are thinned evenly with both ends kept; the largest goes last.
    """
    sizes, dropped = tuple(sorted(set(sweep.sizes))), []
    while True:
        cases = msgspec.structs.replace(sweep, sizes=sizes).cases()
        fixed_s = sum(_fixed_s(case, policy, probe, world) for case in cases)
        modes = max(1, len(cases) * len(policy.modes))
        mode_s = policy.case_s if budget_s is None else min(policy.case_s, (budget_s - fixed_s) / modes)
        if mode_s >= _FLOOR_S or len(sizes) <= 1:
            mode_s = max(mode_s, _FLOOR_S)
            return Plan(cases, mode_s, fixed_s + modes * mode_s, tuple(sorted(dropped)))
        victim = sizes[-1] if len(sizes) <= 3 else sizes[-2]
        dropped.append(victim)
        sizes = tuple(size for size in sizes if size != victim)


def _fixed_s(case: Case, policy: Policy, probe: Probe, world: int) -> float:
    """Seconds that a case takes whatever the time for sampling: set-up, checks, and the smallest number of samples."""
    call_s = probe.call_s(case, world)
    touched = case.bytes * case.ranks * (1 if case.operation.messages < catalog.WINDOW else catalog.window_depth(case))
    least_s = 0.0
    for mode in policy.modes:
        sample_s = call_s if mode == "isolated" else max(2 * call_s, min(policy.block_s, 64 * call_s))
        least_s += max(0.0, (policy.min_samples + _EXTRA_CALLS) * sample_s - _FLOOR_S)
    return _SETUP_S + len(policy.modes) * _CONTROL_S + touched / _CHECKED_BPS + least_s
