"""Victims and aggressors (see `cases.families.interference`): the group of this rank makes its call.

The aggressors repeat theirs (see `loop.contention`), so each call starts from the data to send again.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from ...cases.case import Case
from ...cases.families.interference import is_loaded, side_call
from ...cases.side_by_side import arrange
from ...interfaces import Layout, RawBytes
from ...parts import Bound, Parts
from ..copies_by_host import copy_by_host

__all__ = ["BINDERS", "calls"]


def calls(case: Case) -> Iterator[Case]:
    """Those of a victim and of an aggressor."""
    for rank in (0, case.ranks - 1):
        one = side_call(case, rank).case
        if not one.operation.memories:
            yield _again(one)


def _again(case: Case) -> Case:
    """An all_reduce is made in place, since some libraries have no other."""
    return msgspec.structs.replace(case, in_place=True) if case.op == "all_reduce" else case


def _bind(parts: Parts, case: Case, place: Layout) -> Bound:
    placed, = arrange([side_call(case, parts.rank)]).placed
    own = placed.call
    send, recv = parts.slot(*placed.send), parts.slot(*placed.recv)
    if parts.rank not in case.operation.background(case):
        return Bound(parts.call(own.case, send, recv, own.members))
    repeated = _repeated(parts, own.case, send, recv, own.members)
    loaded = [False]

    def select(step: int) -> None:
        loaded[0] = is_loaded(step)

    def attack() -> None:
        if loaded[0]:
            repeated()
    return Bound(attack, select)


def _repeated(parts: Parts, case: Case, send: RawBytes, recv: RawBytes,
              members: Sequence[int]) -> Callable[[], object]:
    """A call that can be made again and again."""
    if case.operation.memories:
        return copy_by_host(send, recv)
    if case.op != "all_reduce":
        return parts.call(case, send, recv, members)
    reduce = parts.call(_again(case), recv, recv, members)

    def all_reduce() -> None:
        recv[:] = send
        reduce()
    return all_reduce


BINDERS = {"interference": _bind}
