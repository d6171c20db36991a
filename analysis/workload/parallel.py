"""Degrees of parallelism, and which ranks form a group along each axis."""

import math
from typing import NamedTuple

from collbench.collectives.errors import UsageError

from .model import ALL_RANKS, AXES

__all__ = ["Group", "Parallel"]

_MOST_RANKS = 1_000_000


class Group(NamedTuple):
    """A group along an axis: every `stride`-th rank, `ranks` of them."""

    ranks: int
    stride: int

    @property
    def block(self) -> int:
        """Ranks from the first of an aligned group to the last of those interleaved with it."""
        return self.ranks * self.stride


class Parallel(NamedTuple):
    """Degree of each axis; 1 is none.

    Neighbouring ranks form a tensor-parallel group. Experts are spread over all ranks of a stage, so the groups of
    `ep` contain those of `tp`. Then follow `fsdp`, `dp` and `pp`, each in strides of all before it.
    """

    tp: int = 1
    ep: int = 1
    fsdp: int = 1
    dp: int = 1
    pp: int = 1

    @classmethod
    def parse(cls, text: str) -> "Parallel":
        """From `ep=64,tp=1`.

        Raises:
            UsageError: an axis is unknown or named twice, a degree is no positive number, or degrees do not fit.
        """
        degrees: dict[str, int] = {}
        for part in text.split(","):
            name, equals, degree = (word.strip() for word in part.partition("="))
            name = name.lower()
            if not equals or name not in AXES or name in degrees or not degree.isascii() or not degree.isdigit() \
                    or len(degree) > 7:
                raise UsageError(f"--parallel {text!r}: {part.strip()!r}: expected each of {', '.join(AXES)} at most "
                                 "once, as in ep=64,tp=1")
            degrees[name] = int(degree)
        return cls(**degrees).checked()

    def checked(self) -> "Parallel":
        """Itself. UsageError if degrees do not fit."""
        if min(self) < 1:
            raise UsageError(f"a degree of {min(self)} in --parallel or the workload: it must be at least 1")
        if self.ep > 1 and self.ep % self.tp:
            raise UsageError(f"{self}: experts are spread over all ranks of a stage, so ep must be a multiple of tp")
        if self.ep > 1 and self.fsdp * self.dp > 1:
            raise UsageError(f"{self}: with ep, the data-parallel ranks are the ranks of ep: leave out dp and fsdp")
        if self.ranks > _MOST_RANKS:
            raise UsageError(f"{self}: {self.ranks} ranks; at most {_MOST_RANKS}")
        return self

    @property
    def stage_ranks(self) -> int:
        """Ranks of one pipeline stage."""
        return max(self.ep, self.tp * self.fsdp * self.dp)

    @property
    def ranks(self) -> int:
        """All ranks of the model."""
        return self.stage_ranks * self.pp

    def group(self, axis: str) -> Group:
        """The group along an axis, or of all ranks."""
        if axis == ALL_RANKS:
            return Group(self.ranks, 1)
        strides = {"tp": 1, "ep": 1, "fsdp": self.tp, "dp": self.tp * self.fsdp, "pp": self.stage_ranks}
        return Group(getattr(self, axis), strides[axis])

    def __str__(self) -> str:
        used = [f"{axis.upper()} {degree}" for axis, degree in zip(self._fields, self, strict=True) if degree > 1]
        return ", ".join(used) or "one rank"

    def with_degree(self, axis: str, degree: int) -> "Parallel":
        """A copy with another degree along one axis."""
        return self._replace(**{axis: degree})

    def share_of_layers(self, layers: float) -> int:
        """Layers of the largest stage."""
        return math.ceil(layers / self.pp)
