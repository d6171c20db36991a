"""Meshes of named axes over the ranks of a job, in the row-major order of torch's DeviceMesh.

`tp=4,ep=2` places rank 2 * i + j at position i of axis tp and j of axis ep: the last axis varies fastest. The groups of
an axis are the ranks that differ in that axis alone: {0, 2, 4, 6} and {1, 3, 5, 7} for tp. One axis may be given as
`-1` or `*` for whatever the others leave.

Canonical text has slashes, `tp=4/ep=2`, so that it may stand in a list separated by commas.
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from ..errors import UsageError

__all__ = ["Mesh", "is_axis", "parse_mesh"]

_NAME = r"[A-Za-z][A-Za-z0-9_]{0,15}"
_AXIS = re.compile(rf"({_NAME})=([0-9]{{1,7}}|-1|\*)")
_MOST_AXES = 6
_EXPECTED = "expected NAME=SIZE for each axis, such as tp=4,ep=2; one size may be -1"


class Mesh(NamedTuple):
    """Names and sizes of the axes, slowest first; a size of -1 is not yet known."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def text(self) -> str:
        """The canonical text, which `parse_mesh` reads back."""
        return "/".join(f"{name}={size}" for name, size in zip(self.names, self.sizes, strict=True))

    @property
    def ranks(self) -> int:
        """Ranks of the whole mesh; every size must be known."""
        return math.prod(self.sizes)

    def size(self, axis: str) -> int:
        """Ranks of each group of `axis`."""
        return self.sizes[self.names.index(axis)]

    def group(self, axis: str, rank: int) -> range:
        """The members of the group of `axis` that `rank` is in, in increasing order."""
        number = self.names.index(axis)
        stride, size = math.prod(self.sizes[number + 1:]), self.sizes[number]
        first = rank - rank // stride % size * stride
        return range(first, first + size * stride, stride)

    def groups(self, axis: str) -> list[range]:
        """All groups of `axis`, by their first member."""
        return [group for rank in range(self.ranks) if (group := self.group(axis, rank))[0] == rank]

    def over(self, ranks: int) -> "Mesh":
        """The mesh with every size known, over `ranks` ranks. UsageError if it has not so many."""
        known = math.prod(size for size in self.sizes if size != -1)
        found = Mesh(self.names, tuple(ranks // known if size == -1 else size for size in self.sizes))
        if found.ranks != ranks or 0 in found.sizes:
            has = f"{found.ranks} ranks" if -1 not in self.sizes else f"a multiple of {known} ranks"
            raise UsageError(f"mesh {self.text.replace('/', ',')} has {has}, but the largest group that is measured "
                             f"has {ranks}: see --ranks and --group-ranks")
        return found

    def fits(self, ranks: int) -> bool:
        """Whether it can have so many ranks."""
        known = math.prod(size for size in self.sizes if size != -1)
        return ranks == known if -1 not in self.sizes else ranks % known == 0


def is_axis(name: str) -> bool:
    """Whether an axis may have this name."""
    return re.fullmatch(_NAME, name) is not None


@lru_cache(maxsize=256)
def parse_mesh(text: str) -> Mesh:
    """The mesh that `text` describes. UsageError says what was expected."""
    words = text.replace("/", ",").split(",")
    found = [match for word in words if (match := _AXIS.fullmatch(word.strip()))]
    names = tuple(match[1] for match in found)
    sizes = tuple(-1 if match[2] in ("-1", "*") else int(match[2]) for match in found)
    if len(found) < len(words):
        raise UsageError(f"mesh {text!r:.80}: {_EXPECTED}")
    if len(set(names)) < len(names) or len(names) > _MOST_AXES:
        raise UsageError(f"mesh {text!r:.80}: at most {_MOST_AXES} axes, each of another name")
    if 0 in sizes or sizes.count(-1) > 1:
        raise UsageError(f"mesh {text!r:.80}: sizes are at least 1, and only one may be -1")
    return Mesh(names, sizes)
