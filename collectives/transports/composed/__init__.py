"""Operations made of several calls: one module for each family that has such (see `Composition`).

A module has `BINDERS`, by operation: (parts, case, layout) -> `Bound`; and `calls(case)`, the cases that the library
must support for it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import ModuleType

from ...cases.case import Case
from ...interfaces import Bound, Layout, Parts

__all__ = ["bind", "selector", "why_not"]


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


def selector(case: Case, slots: Sequence[Bound]) -> Callable[[int], None]:
    """For `Prepared.select`: slot j of sample i makes step (i + j) % steps."""
    steps = case.operation.composition.steps if case.operation.composition else 1

    def select(sample: int) -> None:
        for slot, bound in enumerate(slots):
            bound.select((sample + slot) % steps)
    return select


def why_not(case: Case, refuses: Callable[[Case], str | None]) -> str | None:
    """Why the library cannot make the calls of this case, if `refuses` tells why it cannot make one."""
    calls: Iterable[Case] = _modules()[case.op].calls(case)
    return next((reason for call in calls if (reason := refuses(call))), None)
