"""How accurate forecasts of the same category were on public measurements: stated with every forecast."""

from collections.abc import Iterable

import numpy as np

from .regime import BUCKETS, Category

__all__ = ["RecordRow", "TrackRecord"]

_FEWEST = 3         # series that a record needs; a narrow group with fewer gives way to the wider one
_COUNTS = ("one rank count, of 2 ranks", "one rank count", "two rank counts", "three or more rank counts")
_REGIMES = {"switched": "inside one switched domain", "inside": "inside one node", "hosts": "over nodes",
            "crossing": "beyond a level that was not crossed", "tables": "from published step times"}
_KINDS = {"nccl": "NCCL and RCCL", "hccl": "HCCL", "mpi": "MPI", "exchange": "expert-parallel kernels",
          "custom": "custom kernels"}


# Machine, category, median absolute log error, share inside the interval.
RecordRow = tuple[str, Category, float, float]


class TrackRecord:
    """Outcomes of the series that were tested, each forecast without what was learned from its own machine."""

    def __init__(self, rows: Iterable[RecordRow]) -> None:
        self._rows = list(rows)
        self._said: dict[Category, str | None] = {}

    def of(self, category: Category) -> str | None:
        """Median error and coverage of the forecasts most like `category`, in words; None if there were none.

        Each series counts once, with its median error over message sizes.
        """
        if category not in self._said:
            self._said[category] = self._say(category)
        return self._said[category]

    def _say(self, category: Category) -> str | None:
        for length in range(len(category), 1, -1):
            alike = [row for row in self._rows if row[1][:length] == category[:length]]
            if len(alike) >= _FEWEST:
                error = np.expm1(np.median([row[2] for row in alike]))
                inside = np.mean([row[3] for row in alike])
                return (f"on {len(alike)} public series of {len({row[0] for row in alike})} systems "
                        f"({_words(category, length)}): median error {error:.0%}, {inside:.0%} inside the interval"
                        ).replace("%", " %")
        return None


def _words(category: Category, length: int) -> str:
    """The group given by the first `length` fields of a category, in words."""
    edges = [f"{edge:.0f}x" for edge in BUCKETS]
    away = f"up to {edges[0]}" if category.bucket == 0 else f"more than {edges[-1]}" if category.bucket == len(edges) \
        else f"{edges[category.bucket - 1]} to {edges[category.bucket]}"
    parts = [f"from {_COUNTS[category.counts]}", away]
    if length > 2:
        parts.append(_REGIMES[category.regime])
    if length > 3:
        parts.insert(0, _KINDS[category.kind])
    if length > 4:
        parts.insert(1, category.op)
    return ", ".join(parts)
