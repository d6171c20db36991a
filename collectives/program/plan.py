"""The plan of a run: which cases are measured in the time that there is. It is the same on every rank.

The cost of a case is forecast from a probe of this machine (see `session`): calls, filling and comparing of buffers,
and the control path, each as measured with all ranks at work.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from ..cases import catalog
from ..cases.case import Case, Sweep
from ..interfaces import layout
from ..loop.caches import state_of
from ..records.record import Policy
from ..statistics.stopping import calls_per_block
from .left_out import HEADLINE, is_twin, leave_out

__all__ = ["ForecastProbe", "Plan", "make_plan"]

_FLOOR_S = 0.02          # minimum sampling time for a mode
_EXTRA_CALLS = 4         # cold call and warm-up, in addition to the minimum number of samples
_DECISIONS = 8           # collective decisions of the trial and of each mode
_MAX_SLOTS = 64
_CALLS_BEFORE = 1.25    # a sample on warm buffers (`caches.Warm`)
_CONTENTION_S = 0.01     # of a sample for which some ranks load the machine: they go on for a few rounds (`contention`)
_TRIALS = 3              # samples of a communicator's life that are certainly taken
_STEPS = sum(row.lifecycle for row in catalog.OPERATIONS.values())      # operations that share such a sample


class ForecastProbe(NamedTuple):
    """Times measured over the whole world for a rough forecast.

    Args:
        small_bytes, small_s, large_bytes, large_s: an all_reduce of a small and of a large message.
        control_s: one decision on the control path.
        world: number of ranks.
        fixed_s: preparing, filling and comparing the buffers of a small case, once.
        touched_s_per_byte: filling and comparing one byte, with all ranks at work.
        slots_bytes: limit for the buffers of a block.
        passes: how often the calls of a streamed sample are timed: twice where the device's clock is recorded too.
        set_up_s: seconds to make a communicator, by rank count.
        further_s_per_byte: of each further message of a window, from the fastest calls; None: as of the first one.
    """

    small_bytes: int
    small_s: float
    large_bytes: int
    large_s: float
    control_s: float
    world: int
    fixed_s: float = 0.006
    touched_s_per_byte: float = 0.7e-9
    slots_bytes: int = 32 << 20
    passes: int = 1
    set_up_s: Mapping[int, float] = {}
    further_s_per_byte: float | None = None

    def call_s(self, case: Case) -> float:
        """Rough estimate for one call of `case`.

        The messages of a window overlap: ranks wait for each other twice, for the last message and for the reply, and
        what delays a rank on a busy machine delays all messages of a window at once.
        """
        slope = max(0.0, self.large_s - self.small_s) / max(1, self.large_bytes - self.small_bytes)
        composition = case.composition
        moved = composition.volume(case) if composition else case.bytes
        times = max(1.0, case.operation.messages / 4)
        waits = composition.calls(case) if composition else 2 if case.operation.windowed else times
        further = slope if self.further_s_per_byte is None else self.further_s_per_byte
        return (waits * self.small_s + (slope + (times - 1) * further) * moved) * case.members / self.world

    def decision_s(self, case: Case) -> float:
        """Estimate for one step of the control path over the ranks of `case`."""
        return self.control_s * case.members / self.world


class Plan(NamedTuple):
    """The cases of a run.

    Args:
        cases: in order, with the requested size of each.
        refused: cases asked for by name that the library is known not to support, with the reason; they take no time.
        mode_s: sampling time for one mode of one case.
        expected_s: expected duration of the run.
        longest_s: expected duration of the longest case.
        left_out: how many cases were left out to fit the time, by what they are, in words.
    """

    cases: dict[Case, int]
    refused: dict[Case, str]
    mode_s: float
    expected_s: float
    longest_s: float
    left_out: Mapping[str, int] = {}

    @property
    def todo(self) -> list[Case]:
        """The cases to measure."""
        return [case for case in self.cases if case not in self.refused]


def make_plan(sweep: Sweep, policy: Policy, probe: ForecastProbe, why_not: Callable[[Case], str | None],
              budget_s: float | None) -> Plan:
    """Fit a sweep into `budget_s` seconds: shorten the sampling first, then leave out cases, but never verification.

    `left_out` has the order. Shuffled cases stay so, but those of headline operations come first, over all ranks before
    fewer: if the time is up earlier than planned, the others are missing.
    """
    cases = sweep.cases()
    refused = {case: reason for case in cases if (reason := catalog.why_not(case) or why_not(case))}
    fixed_s = {case: _fixed_s(case, policy, probe) for case in cases if case not in refused}
    refused = _asked_by_name(refused, sweep, fixed_s)
    floor_s = min(_FLOOR_S, policy.case_s)
    modes = {case: 0 if case.operation.lifecycle else len(policy.modes) for case in fixed_s}
    dropped = {} if budget_s is None else leave_out(
        {case: fixed_s[case] + modes[case] * floor_s for case in fixed_s}, cases, budget_s)
    kept = [case for case in cases if (case in fixed_s or case in refused) and case not in dropped]
    if sweep.seed is not None:
        world = max(sweep.ranks)
        kept.sort(key=lambda case: (case.op != "noop", case.op not in HEADLINE, case.members < world,
                                    is_twin(case, fixed_s)))
    todo = [case for case in kept if case not in refused]
    total_s, units = sum(fixed_s[case] for case in todo), max(1, sum(modes[case] for case in todo))
    mode_s = policy.case_s if budget_s is None else max(floor_s, min(policy.case_s, (budget_s - total_s) / units))
    longest_s = max((fixed_s[case] + modes[case] * mode_s for case in todo), default=0.0)
    return Plan({case: cases[case] for case in kept}, refused, mode_s, total_s + units * mode_s, longest_s,
                Counter(dropped.values()))


def _asked_by_name(refused: Mapping[Case, str], sweep: Sweep, able: Collection[Case]) -> dict[Case, str]:
    """Of the cases that the library does not support, those whose refusal is a result, because they were asked for.

    They were not where the sweep has all values, or the default, of what they differ in from a supported case of the
    same operation; nor if it has all operations and the defaults of all else.
    """
    place, dtype = len(sweep.places) == 1, _is_choice(sweep.dtypes, catalog.DTYPES, ("float32",))
    redop = _is_choice(sweep.redops, catalog.REDOPS, ("sum",))
    every = set(catalog.GROUPS["all"])
    if every <= set(sweep.ops) and not (place or dtype or redop):
        refused = {case: reason for case, reason in refused.items() if case.op not in every}

    def named(case: Case) -> tuple[object, ...]:
        return (case.op, case.traffic, case.in_place if place else None, case.dtype if dtype else None,
                case.redop if redop else None)
    known = set(map(named, able))
    return {case: reason for case, reason in refused.items() if named(case) not in known}


def _is_choice(values: tuple[str, ...], known: Collection[str], default: tuple[str, ...]) -> bool:
    """Whether a user has chosen these values, rather than all or the default."""
    return values != default and not set(known) <= set(values)


def _fixed_s(case: Case, policy: Policy, probe: ForecastProbe) -> float:
    """Seconds that a case takes in addition to its sampling time: set-up, checks, and the minimum number of samples."""
    call_s, decision_s = probe.call_s(case), probe.decision_s(case)
    if case.operation.lifecycle:
        return _TRIALS * probe.set_up_s.get(case.ranks, call_s) / _STEPS + _DECISIONS * decision_s
    if case.composition:
        slot_bytes = layout(case, 0).slot_bytes
    else:
        window = catalog.window_depth(case) if case.operation.windowed else 1
        slot_bytes = case.bytes * window * (1 if case.in_place else 2)
    touch_s = probe.touched_s_per_byte * slot_bytes
    contended_s = _CONTENTION_S if case.operation.background(case) else 0.0
    least = (policy.min_samples + _EXTRA_CALLS) * (len(case.operation.states(case)) or 1)
    total_s = probe.fixed_s + touch_s + _DECISIONS * decision_s
    for mode in policy.modes:
        warm = state_of(policy.cache, case, mode, case.in_place) == "warm"
        most = _MAX_SLOTS if warm else max(2, min(_MAX_SLOTS, probe.slots_bytes // max(slot_bytes, 1)))
        calls = 1 if mode == "isolated" else calls_per_block(call_s, policy.block_s, most)
        slots = 1 if warm else calls
        sample_s = (calls * (probe.passes if calls > 1 else 1) + _CALLS_BEFORE * warm) * call_s + slots * touch_s
        sample_s += decision_s + contended_s
        total_s += probe.fixed_s + slots * touch_s + _DECISIONS * decision_s + max(0.0, least * sample_s - _FLOOR_S)
    return total_s
