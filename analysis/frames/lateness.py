"""How late each rank was: in which samples and cases it was the last one, and by how much."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.case import Case
from collbench.collectives.records.record import Digest, LastArrivals

__all__ = ["LATENESS", "Lateness"]

LATENESS = ("run", "ranks", "kind", "rank", "samples", "last", "late_s", "cases", "cases_last", "total_s")


class _Sums(NamedTuple):
    """Totals over the cases of one run, rank count and kind.

    Args:
        times: [rank] samples in which the rank was last.
        late_ns: [rank] ns by which it was later than the second last.
        cases_last: [rank] cases in which its `late_ns` was the largest.
        totals: samples, cases, ns of all samples.
    """

    times: NDArray[np.float64]
    late_ns: NDArray[np.float64]
    cases_last: NDArray[np.float64]
    totals: NDArray[np.float64]


class Lateness:
    """Totals of how often and by how much each rank was last, accumulated while a journal is read."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int, str], _Sums] = {}

    def add(self, digested: Iterable[tuple[str, Case, Digest]]) -> None:
        """Add digests: (run, case, digest)."""
        found: dict[tuple[str, int], list[Digest]] = {}
        for run, case, digest in digested:
            if digest.begin is not None:
                found.setdefault((run, case.members), []).append(digest)
        for (run, ranks), cases in found.items():
            for kind in ("begin", "end"):
                known = [(digest, last) for digest in cases if (last := getattr(digest, kind)) is not None]
                if known:
                    self._take((run, ranks, kind), _sums(*zip(*known, strict=True)))

    @classmethod
    def of_all(cls, parts: Iterable["Lateness"]) -> "Lateness":
        """The totals over all chunks of a journal."""
        whole = cls()
        for part in parts:
            for key, sums in part._sums.items():
                whole._take(key, sums)
        return whole

    def _take(self, key: tuple[str, int, str], sums: _Sums) -> None:
        known = self._sums.get(key)
        self._sums[key] = _Sums(*map(np.add, known, sums)) if known else sums

    def frame(self) -> pd.DataFrame:
        """One row per run, rank count, kind and rank: `late_s` totals its delays, `total_s` the time of all calls."""
        rows = []
        for (run, ranks, kind), sums in self._sums.items():
            samples, cases, total_ns = sums.totals.tolist()
            rows += [(run, ranks, kind, rank, int(samples), int(sums.times[rank]), sums.late_ns[rank] / 1e9,
                      int(cases), int(sums.cases_last[rank]), total_ns / 1e9) for rank in range(ranks)]
        return pd.DataFrame(rows, columns=list(LATENESS))


def _sums(digests: Sequence[Digest], moments: Sequence[LastArrivals]) -> _Sums:
    times, late_ns = _table([last.times for last in moments]), _table([last.late_ns for last in moments])
    begun, slowest_ns = _table([(digest.begun, digest.slowest_ns or 0.0) for digest in digests]).T
    cases_last = np.bincount(late_ns.argmax(axis=1), minlength=times.shape[1]).astype(float)
    return _Sums(times.sum(axis=0), late_ns.sum(axis=0), cases_last,
                 np.array([begun.sum(), len(digests), begun @ slowest_ns]))


def _table(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of equal length as an array; three times as fast as `np.array` on nested lists."""
    return np.fromiter(chain.from_iterable(rows), float).reshape(len(rows), -1)
