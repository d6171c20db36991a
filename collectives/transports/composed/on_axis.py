"""A collective in the groups of one axis of a mesh, alone or together with other axes (see `cases.on_axis`)."""

from collections.abc import Callable, Iterator

from ...cases.case import Case
from ...cases.catalog import OPERATIONS
from ...cases.on_axis import is_together, side_calls
from ...cases.side_by_side import arrange
from ...interfaces import Layout
from ...parts import Bound, Parts

__all__ = ["BINDERS", "calls"]


def calls(case: Case) -> Iterator[Case]:
    """The collective as each axis makes it."""
    return (call.case for call in side_calls(case, 0))


def _bind(parts: Parts, case: Case, place: Layout) -> Bound:
    own, *others = arrange(side_calls(case, parts.rank)).placed
    starts = [parts.start(one.call.case, parts.slot(*one.send), parts.slot(*one.recv), one.call.members)
              for one in others]
    call = parts.call(own.call.case, parts.slot(*own.send), parts.slot(*own.recv), own.call.members)
    if not starts:
        return Bound(call)
    now: list[Callable[[], Callable[[], object]]] = []      # of the others, what the next call starts
    waits: list[Callable[[], object]] = []

    def select(step: int) -> None:
        now[:] = starts if is_together(step) else []

    def beside() -> None:
        waits.extend([start() for start in now])
        call()

    def settle() -> None:
        while waits:
            waits.pop(0)()
    return Bound(beside, select, settle)


BINDERS = {name: _bind for name, row in OPERATIONS.items() if row.on_axes}
