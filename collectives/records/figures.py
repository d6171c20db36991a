"""Figures that compare the states of one case: congestion factors, slowdowns, exposed time.

Times are those of the slowest timed rank, or the makespan, as of the case itself. Only rounds count in which the sample
of every state counts.
"""

from collections.abc import Callable

import numpy as np

from ..cases.case import Case
from ..statistics.resampling import FEW_FOR_TAIL, Columns, Floats, Interval, means, resampled, tails
from .record import Figure, Timing

__all__ = ["AXES", "FIGURES", "figures"]

AXES = "mesh"       # for collectives in the groups of an axis, whatever the operation
# The figures of each operation that has such.
FIGURES = {AXES: ("alone_s", "together_s", "axis_factor"),
           "interference": ("alone_s", "loaded_s", "congestion_factor", "congestion_factor_p99"),
           "overlap": ("collective_s", "compute_s", "together_s", "collective_slowdown", "compute_slowdown",
                       "exposed_s", "imb_overlap_percent")}

_PERCENT = 100


def figures(case: Case, timing: Timing) -> dict[str, Figure]:
    """The figures of a timing by name; none if its samples do not take turns between states.

    Of interference: `alone_s` and `loaded_s`, the mean time of a call; `congestion_factor`, loaded over alone, and of
    isolated calls `congestion_factor_p99`, the same of their 99 % quantiles. Of overlap see `_overlap`. Of an axis of a
    mesh: `alone_s` and `together_s`, the mean time of a call, and `axis_factor`, together over alone.
    """
    compare = _axis if case.axis else _COMPARED.get(case.op)
    rounds = _rounds(timing) if compare else ()
    if compare is None or not rounds:
        return {}
    return {name: Figure(value=found.value, lo=found.lo, hi=found.hi, n=len(rounds))
            for name, found in compare(case, timing, rounds).items()}


def _rounds(timing: Timing) -> list[int]:
    """The first sample of each round that counts."""
    counted, states = {sample for state in timing.states for sample in timing.counted(state)}, len(timing.states)
    return [first for first in timing.begun(timing.states[0])
            if counted.issuperset(range(first, first + states))] if states else []


def _times(case: Case, timing: Timing, rounds: list[int]) -> dict[str, Floats]:
    """Seconds of a call in each state: [round]."""
    found = {}
    for number, state in enumerate(timing.states):
        times = dict(zip(timing.counted(state), timing.message_s(case, state), strict=True))
        found[state] = np.array([times[first + number] for first in rounds])
    return found


def _congestion(case: Case, timing: Timing, rounds: list[int]) -> dict[str, Interval]:
    columns = _times(case, timing, rounds)
    found = resampled(columns, means, {
        "alone_s": lambda of: of["alone"], "loaded_s": lambda of: of["loaded"],
        "congestion_factor": lambda of: of["loaded"] / of["alone"]})
    if timing.calls == 1 and len(rounds) >= FEW_FOR_TAIL:
        found |= resampled(columns, tails, {"congestion_factor_p99": lambda of: of["loaded"] / of["alone"]})
    return found


def _axis(case: Case, timing: Timing, rounds: list[int]) -> dict[str, Interval]:
    return resampled(_times(case, timing, rounds), means, {
        "alone_s": _column("alone"), "together_s": _column("together"),
        "axis_factor": lambda of: of["together"] / of["alone"]})


def _overlap(case: Case, timing: Timing, rounds: list[int]) -> dict[str, Interval]:
    """`collective_s` and `compute_s`: each alone. `together_s`: from the start until both are complete.

    `collective_slowdown`, `compute_slowdown`: its time beside the other over its time alone. `exposed_s`: what the
    collective adds to the time of the compute. `imb_overlap_percent`: the time saved over that of the longer one,
    as the Intel MPI Benchmarks define it: 100 (t_pure + t_CPU - t_ovrl) / max(t_pure, t_CPU), limited to 0 to 100.
    """
    columns = _times(case, timing, rounds) | _beside(case, timing, rounds)
    return resampled(columns, means, {
        **{f"{name}_s": _column(name) for name in timing.states},
        "collective_slowdown": lambda of: of["collective beside"] / of["collective"],
        "compute_slowdown": lambda of: of["compute beside"] / of["compute"],
        "exposed_s": lambda of: of["together"] - of["compute"],
        "imb_overlap_percent": lambda of: _PERCENT * np.clip(
            (of["collective"] + of["compute"] - of["together"]) / np.maximum(of["collective"], of["compute"]), 0, 1)})


def _beside(case: Case, timing: Timing, rounds: list[int]) -> dict[str, Floats]:
    """What each took beside the other: the compute begins when the collective has been started."""
    together = [first + len(timing.states) - 1 for first in rounds]
    marks = {name: np.array([timing.marks_ns[name][rank] for rank in case.operation.timed(case)])[:, together]
             for name in ("started", "compute", "collective")}
    scale = 1e9 * timing.calls
    return {"collective beside": marks["collective"].max(axis=0) / scale,
            "compute beside": (marks["compute"] - marks["started"]).max(axis=0) / scale}


def _column(name: str) -> Callable[[Columns], Floats]:
    return lambda of: of[name]


_COMPARED = {"interference": _congestion, "overlap": _overlap}
