"""`Case.traffic` of a collective in the groups of one axis of a mesh, all groups at once as in an SPMD program.

    mesh:tp=4/ep=2:axis=tp                      the groups of tp
    mesh:tp=4/ep=2:axis=tp:with=ep              alone, and while the same collective runs in the groups of ep
    mesh:tp=4/ep=2:axis=ep:traffic=zipf:1.2     an uneven all-to-all, with its own traffic

`Case.ranks` is the size of a group, so that every formula over n holds; `Case.members` are the ranks of the mesh.
`mesh:tp=4/ep=2` without an axis stands for each axis, with all others.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..errors import UsageError
from .mesh import Mesh, parse_mesh

__all__ = ["AxisTraffic", "axis_of", "expand", "is_mesh", "parse_axis_traffic"]

_PREFIX = "mesh:"
_TEXT = re.compile(r"mesh:(?P<mesh>[^:]*)(:axis=(?P<axis>[^:]*)(:with=(?P<others>[^:]*))?)?(:traffic=(?P<inner>.+))?")
_EXPECTED = "expected mesh:NAME=SIZE/...[:axis=NAME[:with=NAME+...]]"


class AxisTraffic(NamedTuple):
    """The groups of one axis.

    Args:
        mesh: every size is known in the traffic of a case.
        axis: empty for each axis with all others; never so in the traffic of a case.
        others: axes whose groups make the same collective at the same time.
        inner: traffic of the collective itself, of those that have one.
    """

    mesh: Mesh
    axis: str = ""
    others: tuple[str, ...] = ()
    inner: str | None = None

    @property
    def text(self) -> str:
        """The canonical text, which `parse_axis_traffic` reads back."""
        words = [f"{_PREFIX}{self.mesh.text}"]
        words += [f"axis={self.axis}"] if self.axis else []
        words += [f"with={'+'.join(self.others)}"] if self.others else []
        return ":".join([*words, f"traffic={self.inner}"] if self.inner else words)

    @property
    def words(self) -> str:
        """The axis, and those beside it: `tp with ep`."""
        beside = f" with {'+'.join(self.others)}" if self.others else ""
        return f"{self.axis}{beside}{f' {self.inner}' if self.inner else ''}"

    @property
    def ranks(self) -> int:
        """Ranks of each group."""
        return self.mesh.size(self.axis)


def is_mesh(text: object) -> bool:
    """Whether `text` is of this grammar."""
    return isinstance(text, str) and text.startswith(_PREFIX)


@lru_cache(maxsize=1024)
def axis_of(text: str | None) -> AxisTraffic | None:
    """What the traffic of a case says; None if it is of another grammar. UsageError if it is not complete."""
    if text is None or not is_mesh(text):
        return None
    found = parse_axis_traffic(text)
    if not found.axis or -1 in found.mesh.sizes:
        raise UsageError(f"traffic {text!r:.80}: that of a case names its axis and all sizes of the mesh")
    return found


@lru_cache(maxsize=1024)
def parse_axis_traffic(text: str) -> AxisTraffic:
    """What `text` says. UsageError says what was expected."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"traffic {text!r:.80}: {_EXPECTED}")
    mesh, axis = parse_mesh(match["mesh"]), match["axis"] or ""
    others = match["others"].split("+") if match["others"] else []
    for name in [*([axis] if match["axis"] is not None else []), *others]:
        if name not in mesh.names:
            raise UsageError(f"traffic {text!r:.80}: mesh {mesh.text} has no axis {name!r:.20}")
    if axis in others or len(set(others)) < len(others):
        raise UsageError(f"traffic {text!r:.80}: an axis is named twice")
    return AxisTraffic(mesh, axis, tuple(name for name in mesh.names if name in others), match["inner"])


def expand(asked: AxisTraffic, ranks: int) -> Iterator[AxisTraffic]:
    """What to measure in a job of `ranks` ranks: the axis asked for, or each with all others.

    Axes of one rank are left out. UsageError if the mesh has another number of ranks.
    """
    asked = asked._replace(mesh=asked.mesh.over(ranks))
    if asked.axis:
        yield asked
        return
    large = [name for name in asked.mesh.names if asked.mesh.size(name) > 1]
    for name in large:
        yield asked._replace(axis=name, others=tuple(other for other in large if other != name))
