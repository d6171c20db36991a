"""Operations made of several calls: one module for each family that has such (see `Composition`).

A module has `BINDERS`, by operation: (parts, case, layout) -> `Bound`; and `calls(case)`, the cases that the library
must support for it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from ...cases.case import Case
from ...interfaces import Layout
from ...loop.timing import MarkedBlock, python_block
from ...parts import Bound, Parts

__all__ = ["bind", "host_block", "selector", "settler", "why_not"]


@cache
def _modules() -> dict[str, ModuleType]:
    """The module of each operation."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {op: module for module in modules for op in module.BINDERS}


def bind(parts: Parts, case: Case, place: Layout) -> Bound:
    """The operation on one slot."""
    binder: Callable[[Parts, Case, Layout], Bound] = _modules()[case.op].BINDERS[case.op]
    return binder(parts, case, place)


def host_block(case: Case, calls: Sequence[Callable[[], Any]], now_ns: Callable[[], int],
               drain: Callable[[], object]) -> tuple[Callable[[int], tuple[int, int]], Mapping[str, Sequence[int]]]:
    """The timed region on the host's clock, and the marks that it takes."""
    composition = case.composition
    names = composition.marks(case) if composition else ()
    if not names:
        return python_block(calls, now_ns, drain), {}
    block = MarkedBlock(calls, names, now_ns, drain)
    return block, block.marks


def selector(case: Case, slots: Sequence[Bound]) -> Callable[[int], None]:
    """For `Prepared.select`: the step of each slot in a sample."""
    composition = case.composition
    assert composition is not None

    def select(sample: int) -> None:
        for slot, bound in enumerate(slots):
            bound.select(composition.step(case, sample, slot))
    return select


def settler(slots: Sequence[Bound]) -> Callable[[], None]:
    """For `Prepared.settle`: completes what was started on every slot, in the order of the calls."""
    def settle() -> None:
        for bound in slots:
            bound.settle()
    return settle


def why_not(case: Case, refuses: Callable[[Case], str | None]) -> str | None:
    """Why the library cannot make the calls of this case, if `refuses` tells why it cannot make one."""
    calls: Iterable[Case] = _modules()[case.op].calls(case)
    return next((reason for call in calls if (reason := refuses(call))), None)
