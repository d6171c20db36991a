"""How forecasts of the same class did on public measurements: the record that each forecast carries."""

from collections.abc import Iterable

import numpy as np

from .regime import BUCKETS, Case

__all__ = ["RecordRow", "TrackRecord"]

_FEWEST = 3         # series of which a record is given; a narrower group with fewer is passed over
_COUNTS = ("one rank count, of 2 ranks", "one rank count", "two rank counts", "three or more rank counts")
_REGIMES = {"switched": "inside one switched domain", "inside": "inside one node", "hosts": "over nodes",
            "crossing": "beyond a level that was not crossed", "tables": "from published step times"}
_KINDS = {"nccl": "NCCL and RCCL", "hccl": "HCCL", "mpi": "MPI", "exchange": "expert-parallel kernels",
          "custom": "custom kernels"}


RecordRow = tuple[str, Case, float, float]      # machine, case, median absolute log error, share inside the interval


class TrackRecord:
    """Outcomes of the series that were tested, each forecast without what was learned from its own machine."""

    def __init__(self, rows: Iterable[RecordRow]) -> None:
        self._rows = list(rows)
        self._said: dict[Case, str | None] = {}

    def of(self, case: Case) -> str | None:
        """Median error and coverage of the forecasts most like `case`, in words; None if there were none.

        Each series counts once, with its median error over message sizes.
        """
        if case not in self._said:
            self._said[case] = self._say(case)
        return self._said[case]

    def _say(self, case: Case) -> str | None:
        for length in range(len(case), 1, -1):
            alike = [row for row in self._rows if row[1][:length] == case[:length]]
            if len(alike) >= _FEWEST:
                error = np.expm1(np.median([row[2] for row in alike]))
                inside = np.mean([row[3] for row in alike])
                return (f"in {len(alike)} public series of {len({row[0] for row in alike})} systems like this "
                        f"({_words(case, length)}): median error {error:.0%}, {inside:.0%} inside the interval"
                        ).replace("%", " %")
        return None


def _words(case: Case, length: int) -> str:
    """The group of the first `length` parts of a case."""
    edges = [f"{edge:.0f}x" for edge in BUCKETS]
    away = f"up to {edges[0]}" if case.bucket == 0 else f"more than {edges[-1]}" if case.bucket == len(edges) \
        else f"{edges[case.bucket - 1]} to {edges[case.bucket]}"
    parts = [f"from {_COUNTS[case.counts]}", away]
    if length > 2:
        parts.append(_REGIMES[case.regime])
    if length > 3:
        parts.insert(0, _KINDS[case.kind])
    if length > 4:
        parts.insert(1, case.op)
    return ", ".join(parts)
