"""Sequences of calls, and the hierarchical all-reduce (see `cases.families.sequence`)."""

from collections.abc import Callable, Iterator

from ...cases.case import Case
from ...cases.families.sequence import parts, side_calls
from ...cases.side_by_side import arrange
from ...interfaces import Layout
from ...parts import Bound, Parts

__all__ = ["BINDERS", "calls"]

_Call = Callable[[], object]


def calls(case: Case) -> Iterator[Case]:
    """The calls, each as its groups see it."""
    return (part.case.in_group for part in parts(case))


def _sequence(own: Parts, case: Case, place: Layout) -> Bound:
    """In order; what may overlap is started, and waited for before the next call in the same group that may not."""
    both = side_calls(case, own.rank)
    actions: list[_Call] = []
    waits: dict[tuple[int, ...], list[_Call]] = {}      # of what has been started, by group

    def begin(start: Callable[[], _Call], pending: list[_Call]) -> _Call:
        return lambda: pending.append(start())

    def finish(pending: list[_Call]) -> _Call:
        def wait() -> None:
            while pending:
                pending.pop(0)()
        return wait

    open_groups: set[tuple[int, ...]] = set()
    for (_, overlaps), one in zip(both, arrange(call for call, _ in both).placed, strict=True):
        group = tuple(one.call.members)
        pending = waits.setdefault(group, [])
        buffers = own.slot(*one.send), own.slot(*one.recv)
        if overlaps:
            actions.append(begin(own.start(one.call.case, *buffers, one.call.members), pending))
            open_groups.add(group)
            continue
        if group in open_groups:
            actions.append(finish(pending))
            open_groups.discard(group)
        actions.append(own.call(one.call.case, *buffers, one.call.members))
    actions += [finish(waits[group]) for group in waits if group in open_groups]

    def run() -> None:
        for action in actions:
            action()
    return Bound(run)


def _hierarchical(own: Parts, case: Case, place: Layout) -> Bound:
    """Each call takes what the one before left."""
    source = own.slot(place.send_at, place.send_bytes)
    actions: list[_Call] = []
    stages = parts(case)
    for number, stage in enumerate(stages):
        axis, last = stage.case.axis, number == len(stages) - 1
        assert axis is not None
        if stage.case.op == "all_reduce":
            target = source
        elif last:
            target = own.slot(place.recv_at, place.recv_bytes)
        else:
            grows = stage.case.op == "all_gather"
            target = own.scratch(stage.case.bytes if grows else stage.case.bytes // stage.case.ranks)
        actions.append(own.call(stage.case.in_group, source, target, axis.mesh.group(axis.axis, own.rank)))
        source = target

    def run() -> None:
        for action in actions:
            action()
    return Bound(run)


BINDERS = {"sequence": _sequence, "all_reduce_hierarchical": _hierarchical}
