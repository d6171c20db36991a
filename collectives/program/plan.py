"""The plan of a run: which cases are measured in the time that there is. It is the same on every rank.

The cost of a case is forecast from a probe of this machine (see `session`): calls, filling and comparing of buffers,
and the control path, each as measured with all ranks at work.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..cases import catalog
from ..cases.case import Case, Sweep
from ..records.record import Policy
from ..statistics.stopping import calls_per_block

__all__ = ["HEADLINE", "ForecastProbe", "Plan", "make_plan"]

# Operations that keep their sizes longest when time is short: those that decide how models are spread over ranks, and
# the copies that bound them. A sweep without any of these treats all of its operations alike.
HEADLINE = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv", "copy", "copy_h2d", "copy_d2h")

_FLOOR_S = 0.02          # minimum sampling time for a mode
_EXTRA_CALLS = 4         # cold call and warm-up, in addition to the minimum number of samples
_DECISIONS = 8           # collective decisions of the trial and of each mode
_MAX_SLOTS = 64
_TRIALS = 3              # samples of a communicator's life that are certainly taken
_STEPS = sum(row.lifecycle for row in catalog.OPERATIONS.values())      # operations that share such a sample
_REACH = 16              # other operations keep sizes up to the largest over this, if they can
_FEWEST = 2              # sizes that every part of the sweep keeps while the headline operations keep all of theirs


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
        longest_s: expected duration of the longest case.
        dropped_sizes: sizes left out of every operation to fit the time.
        thinned: cases left out to fit the time, those of `dropped_sizes` included.
    """

    cases: dict[Case, int]
    refused: dict[Case, str]
    mode_s: float
    expected_s: float
    longest_s: float
    dropped_sizes: tuple[int, ...] = ()
    thinned: int = 0

    @property
    def todo(self) -> list[Case]:
        """The cases to measure."""
        return [case for case in self.cases if case not in self.refused]


class _Part(NamedTuple):
    """Cases that keep their sizes alike: headline operations or others, over all ranks or over fewer."""

    headline: bool
    whole: bool

    @property
    def weight(self) -> int:
        """How many seconds of another part's cases one of these is worth."""
        return (8 if self.headline else 2) * (2 if self.whole else 1)


def make_plan(sweep: Sweep, policy: Policy, probe: ForecastProbe, why_not: Callable[[Case], str | None],
              budget_s: float | None) -> Plan:
    """Fit a sweep into `budget_s` seconds: shorten the sampling first, then leave out sizes, but never verification.

    The headline operations over all ranks keep every size up to the largest that can be paid for. To that end, other
    operations and smaller groups are thinned out first, those sizes first that take longest, down to two each.
    """
    cases = sweep.cases()
    refused = {case: reason for case in cases if (reason := catalog.why_not(case) or why_not(case))}
    fixed_s = {case: _fixed_s(case, policy, probe) for case in cases if case not in refused}
    floor_s = min(_FLOOR_S, policy.case_s)
    modes = {case: 0 if case.operation.lifecycle else len(policy.modes) for case in fixed_s}
    dropped = set() if budget_s is None else _thin(
        {case: fixed_s[case] + modes[case] * floor_s for case in fixed_s}, cases, max(sweep.ranks), budget_s)
    kept = {case: asked for case, asked in cases.items() if case not in dropped}
    todo = [case for case in kept if case not in refused]
    total_s, units = sum(fixed_s[case] for case in todo), max(1, sum(modes[case] for case in todo))
    mode_s = policy.case_s if budget_s is None else max(floor_s, min(policy.case_s, (budget_s - total_s) / units))
    longest_s = max((fixed_s[case] + modes[case] * mode_s for case in todo), default=0.0)
    return Plan(kept, {case: reason for case, reason in refused.items() if case in kept}, mode_s,
                total_s + units * mode_s, longest_s, tuple(sorted(set(cases.values()) - set(kept.values()))),
                len(cases) - len(kept))


def _thin(cost_s: dict[Case, float], asked: dict[Case, int], world: int, budget_s: float) -> set[Case]:
    """The cases to leave out so that the others take at most `budget_s`, or as little as possible."""
    some = any(case.op in HEADLINE for case in cost_s)

    def part_of(case: Case) -> _Part:
        return _Part(case.op in HEADLINE or not some, case.ranks == world or bool(case.operation.memories))
    parts: dict[_Part, dict[int, list[Case]]] = {}
    for case in cost_s:
        if case.operation.has_payload:
            parts.setdefault(part_of(case), {}).setdefault(asked[case], []).append(case)
    left_s, dropped = sum(cost_s.values()), set()
    while left_s > budget_s:
        choice = _next(parts, cost_s, max(asked.values()) // _REACH)
        if choice is None:
            break
        part, size = choice
        for case in parts[part].pop(size):
            dropped.add(case)
            left_s -= cost_s[case]
    for case in asked:      # what the library refuses goes with its size: the table would show nothing else of it
        part = part_of(case)
        if case not in cost_s and part in parts and asked[case] not in parts[part] and case.operation.has_payload:
            dropped.add(case)
    return dropped


def _next(parts: Mapping[_Part, Mapping[int, Sequence[Case]]], cost_s: Mapping[Case, float],
          reach: int) -> tuple[_Part, int] | None:
    """The part and the size of it to leave out next; None if there is only one size left."""
    first = _Part(headline=True, whole=True)
    others = {part: sizes for part, sizes in parts.items() if part != first}
    for fewest in (_FEWEST, 1):
        open_parts = [part for part, sizes in others.items() if len(sizes) > fewest]
        if open_parts:
            return max(((part, _size(parts[part], cost_s, reach)) for part in open_parts),
                       key=lambda choice: sum(cost_s[case] for case in parts[choice[0]][choice[1]]) / choice[0].weight)
        if len(parts.get(first, ())) > fewest:
            return first, max(parts[first])
    return None


def _size(sizes: Mapping[int, Sequence[Case]], cost_s: Mapping[Case, float], reach: int) -> int:
    """The size to leave out: the largest if it takes much longer than the others, else the closest to its neighbours.

    Sizes up to `reach` bytes are not given up for small ones, unless the largest takes longer than all of those.
    """
    ordered = sorted(sizes)
    total_s = {size: sum(cost_s[case] for case in sizes[size]) for size in ordered}
    inner, largest = ordered[1:-1], ordered[-1]
    if not inner:
        return largest
    inner_s = [total_s[size] for size in inner]
    if total_s[largest] >= 2 * max(inner_s) and (largest > reach or total_s[largest] > sum(inner_s)):
        return largest
    return min(inner, key=lambda size: ordered[ordered.index(size) + 1] / ordered[ordered.index(size) - 1])


def _fixed_s(case: Case, policy: Policy, probe: ForecastProbe) -> float:
    """Seconds that a case takes in addition to its sampling time: set-up, checks, and the minimum number of samples."""
    call_s, decision_s = probe.call_s(case), probe.decision_s(case)
    if case.operation.lifecycle:
        return _TRIALS * probe.set_up_s.get(case.ranks, call_s) / _STEPS + _DECISIONS * decision_s
    window = catalog.window_depth(case) if case.operation.windowed else 1
    slot_bytes = case.bytes * window * (1 if case.in_place else 2)
    touch_s = probe.touched_s_per_byte * slot_bytes
    least = policy.min_samples + _EXTRA_CALLS
    total_s = probe.fixed_s + touch_s + _DECISIONS * decision_s
    for mode in policy.modes:
        most = max(2, min(_MAX_SLOTS, probe.slots_bytes // max(slot_bytes, 1)))
        slots = 1 if mode == "isolated" else calls_per_block(call_s, policy.block_s, most)
        sample_s = slots * (call_s * (probe.passes if slots > 1 else 1) + touch_s) + decision_s
        total_s += probe.fixed_s + slots * touch_s + _DECISIONS * decision_s + max(0.0, least * sample_s - _FLOOR_S)
    return total_s
