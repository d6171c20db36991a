"""A collective beside compute (see `cases.families.overlap`)."""

from collections.abc import Callable, Iterator

from ...cases.case import Case
from ...cases.families.overlap import collective, parse_beside, side_call, state_of
from ...cases.side_by_side import arrange
from ...interfaces import Layout, empty_call
from ...parts import Bound, Parts, Work

__all__ = ["BINDERS", "calls"]

_TRIES = 30             # of each, to find its time
_TRIED_NS = 2_000_000   # at least, of compute, to find how long a unit of it takes
_MOST_UNITS = 1_000_000


def calls(case: Case) -> Iterator[Case]:
    """The collective."""
    yield collective(case)


def _bind(parts: Parts, case: Case, place: Layout) -> Bound:
    beside = parse_beside(case.traffic or "")
    placed, = arrange([side_call(case, parts.rank)]).placed
    start = parts.start_timed(placed.call.case, parts.slot(*placed.send), parts.slot(*placed.recv))
    if case not in parts.kept:
        parts.kept[case] = _units(parts, start, float(beside.compute))
    units = parts.kept[case]
    polls, state = beside.progress == "poll", [state_of(0)]

    def select(step: int) -> None:
        state[0] = state_of(step)

    def call() -> tuple[int, int, int]:
        work = start() if state[0] != "compute" else None
        started_ns = parts.now_ns()
        done_ns = started_ns
        if state[0] != "collective":
            done_ns = parts.compute(units, work.poll if work and polls else empty_call)()
        return started_ns, done_ns, work() if work else started_ns
    return Bound(call, select)


def _units(parts: Parts, start: Callable[[], Work], times: float) -> int:
    """Units of compute that take `times` as long as the collective, on rank 0; the same on every rank.

    Each is timed alone, by the fastest of a few tries: on a busy machine, others are about who is preempted.
    """
    call_ns = min(_elapsed_ns(parts, lambda: start()()) for _ in range(_TRIES))
    tried = 1
    while tried < _MOST_UNITS and _compute_ns(parts, tried) < _TRIED_NS:
        tried *= 2
    tried_ns = min(_compute_ns(parts, tried) for _ in range(_TRIES))
    return parts.share(min(_MOST_UNITS, max(1, round(times * call_ns * tried / max(1, tried_ns)))))


def _compute_ns(parts: Parts, units: int) -> int:
    return _elapsed_ns(parts, lambda: parts.compute(units, empty_call)())


def _elapsed_ns(parts: Parts, work: Callable[[], object]) -> int:
    begin_ns = parts.now_ns()
    work()
    return parts.now_ns() - begin_ns


BINDERS = {"overlap": _bind}
