"""A collective in the groups of one axis of a mesh, all at once, alone or together with those of other axes.

Other axes run the same collective with messages of the same size. Each of their calls is started just before one of
this axis, and waited for outside the timed part. Samples alone and together alternate, so that they compare.
"""

from typing import TYPE_CHECKING

import msgspec

from ..errors import UsageError
from . import catalog, side_by_side
from .axis_traffic import AxisTraffic, axis_of
from .operation import Composition
from .side_by_side import SideCall

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from .case import Case

__all__ = ["COMPOSITION", "STATES", "check", "is_together", "side_calls"]

STATES = ("alone", "together")      # of a case with other axes

_SALT_STEP = 1009       # between groups, so that no group's data pass for those of another


def check(case: "Case", axis: AxisTraffic) -> None:
    """Raise UsageError unless `case` is valid."""
    if not catalog.OPERATIONS.get(case.op, catalog.OPERATIONS["noop"]).on_axes:
        raise UsageError(f"{case.op} is not measured in the groups of a mesh")
    if case.ranks != axis.ranks or case.traffic != axis.text:
        raise UsageError(f"traffic {case.traffic!r:.80} for groups of {case.ranks} ranks: expected {axis.ranks} and "
                         f"{axis.text!r}")
    catalog.check(case.in_group)
    if catalog.round_up(case.op, case.bytes, case.ranks, str(case.dtype), case.traffic) != case.bytes:
        raise UsageError(f"{case.bytes} B cannot be divided for {case.op} of {case.dtype} over each axis of "
                         f"{axis.mesh.text}")


def side_calls(case: "Case", rank: int) -> list[SideCall]:
    """The call of the axis, then those of the other axes, as `rank` makes them."""
    axis = case.axis
    assert axis is not None
    found: list[SideCall] = []
    for name in (axis.axis, *axis.others):
        groups = axis.mesh.groups(name)
        members = axis.mesh.group(name, rank)
        own = msgspec.structs.replace(case.in_group, ranks=len(members))
        salt = _SALT_STEP * (1 + groups.index(members) + axis.mesh.ranks * axis.mesh.names.index(name))
        found.append(SideCall(own, members, members.index(rank), salt))
    return found


def is_together(step: int) -> bool:
    """Whether the other axes communicate in this step of a case that has some."""
    return STATES[step % len(STATES)] == "together"


def _image(case: "Case", rank: int, salt: int, step: int, sent: bool) -> "np.ndarray":
    found = side_calls(case, rank)
    return side_by_side.image(found, salt, sent, len(found) if is_together(step) else 1)


COMPOSITION = Composition(
    extent=lambda case, rank: side_by_side.extent(side_calls(case, rank)),
    image=_image,
    states=lambda case: STATES if (axis := axis_of(case.traffic)) and axis.others else (),
    volume=lambda case: case.bytes * len(side_calls(case, 0)),
    shared=lambda case, rank: side_by_side.shared(side_calls(case, rank)))
