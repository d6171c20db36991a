"""Which rank holds the others up, and how: by coming late, or by being slow once it has come.

In each sample somebody is last, some time after the next one; added up over the samples of a case, that time is
largest for one rank, with n equal ranks for each in 1 of n cases. For a straggler it is in case after case, over
different sizes, whether it is a little late always or very late now and then. Begins and ends are looked at apart: who
begins last arrives late (busy elsewhere, a slow loop before the call); who ends last but began with the others moves
its data slowly (its core, its link, its device).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.case import Case
from collbench.collectives.records.record import Digest, LastArrivals, Run

from ..text.units import percent, seconds
from .finding import Finding

__all__ = ["LATENESS", "Lateness", "find_stragglers", "late_ranks"]

_SIGMAS = 4.0       # cases in which a rank was last by most, beyond chance
_FEWEST_CASES = 8
_SHARE_OF_TIME = 0.05       # lateness that adds up to less than this of the time of all calls holds nobody up
LATENESS = ("run", "ranks", "kind", "rank", "samples", "last", "late_s", "cases", "cases_last", "total_s")


class _Sums(NamedTuple):
    """Over cases of one run, rank count and kind: [rank] samples and ns that it was last, cases it was last by most in.

    `totals`: samples, cases, ns of all samples.
    """

    times: NDArray[np.float64]
    late_ns: NDArray[np.float64]
    cases_last: NDArray[np.float64]
    totals: NDArray[np.float64]


class Lateness:
    """Adds up who was last while a journal is read; `frame` has a row for each run, rank count, kind and rank."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int, str], _Sums] = {}

    def add(self, digested: Iterable[tuple[str, Case, Digest]]) -> None:
        """Take in digests of cases of runs."""
        found: dict[tuple[str, int], list[Digest]] = {}
        for run, case, digest in digested:
            if digest.begin is not None:
                found.setdefault((run, case.ranks), []).append(digest)
        for (run, ranks), cases in found.items():
            self._take((run, ranks, "begin"), _sums(cases, [digest.begin for digest in cases]))
            ended = [digest for digest in cases if digest.end is not None]
            if ended:
                self._take((run, ranks, "end"), _sums(ended, [digest.end for digest in ended]))

    @classmethod
    def of_all(cls, parts: Iterable["Lateness"]) -> "Lateness":
        """The sums of all parts of a journal."""
        whole = cls()
        for part in parts:
            for key, sums in part._sums.items():
                whole._take(key, sums)
        return whole

    def _take(self, key: tuple[str, int, str], sums: _Sums) -> None:
        known = self._sums.get(key)
        self._sums[key] = _Sums(*map(np.add, known, sums)) if known else sums

    def frame(self) -> pd.DataFrame:
        """Columns `LATENESS`: `late_s` adds up how long after the next one a rank was, `total_s` all calls."""
        rows = []
        for (run, ranks, kind), sums in self._sums.items():
            samples, cases, total_ns = sums.totals.tolist()
            rows += [(run, ranks, kind, rank, int(samples), int(sums.times[rank]), sums.late_ns[rank] / 1e9,
                      int(cases), int(sums.cases_last[rank]), total_ns / 1e9) for rank in range(ranks)]
        return pd.DataFrame(rows, columns=list(LATENESS))


def _sums(digests: Sequence[Digest], moments: Sequence[LastArrivals]) -> _Sums:
    times, late_ns = _table([last.times for last in moments]), _table([last.late_ns for last in moments])
    begun, slowest_ns = _table([(digest.begun, digest.slowest_ns or 0.0) for digest in digests]).T
    return _Sums(times.sum(axis=0), late_ns.sum(axis=0), np.bincount(late_ns.argmax(axis=1), minlength=times.shape[1]),
                 np.array([begun.sum(), len(digests), begun @ slowest_ns]))


def _table(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of one length as numbers; three times as fast as numpy makes them of lists."""
    return np.fromiter(chain.from_iterable(rows), float).reshape(len(rows), -1)


def find_stragglers(lateness: pd.DataFrame, runs: dict[str, Run]) -> Iterator[Finding]:
    """Ranks that were last too often and by too much to be chance; the most often first."""
    for row in _beyond_chance(lateness):
        yield Finding("warning", _words(row, runs[row.run]), effect=row.late_s / row.total_s,
                      evidence=(f"all isolated calls over {row.ranks} ranks in run {row.run}",))


def late_ranks(lateness: pd.DataFrame, runs: dict[str, Run]) -> dict[tuple[str, int], str]:
    """By run and rank count, the rank that holds the others up most, in words; only where that is no chance."""
    found: dict[tuple[str, int], str] = {}
    for row in _beyond_chance(lateness):
        did = "arrives late" if row.kind == "begin" else "is slow to end"
        found.setdefault((row.run, row.ranks), f"{_name(runs[row.run], row.rank)} {did} and")
    return found


def _beyond_chance(lateness: pd.DataFrame) -> Iterator[NamedTuple]:
    for row in lateness.sort_values("late_s", ascending=False).itertuples():
        if (row.cases >= _FEWEST_CASES and row.cases_last > _by_chance(row.cases, row.ranks)
                and row.late_s > _SHARE_OF_TIME * row.total_s):
            yield row


def _words(row: NamedTuple, run: Run) -> str:
    did, means = ("begins", "it arrives late") if row.kind == "begin" else ("ends", "its transfers are slow")
    return (f"{_name(run, row.rank)} {did} last by most in {row.cases_last} of {row.cases} cases over {row.ranks} "
            f"ranks of {run.transport} ({percent(1 / row.ranks)} by chance): in {percent(row.last / row.samples)} of "
            f"{row.samples} samples it is last, on average by {seconds(row.late_s / row.last)}, which adds up to "
            f"{_share(row.late_s / row.total_s)} the time of all calls: {means}")


def _share(of_time: float) -> str:
    return f"{percent(of_time)} of" if of_time < 1 else f"{of_time:.3g} times"


def _by_chance(cases: int, ranks: int) -> float:
    """In so many cases at most a rank is last by most, when all are alike."""
    share = 1 / ranks
    return min(cases * share + _SIGMAS * math.sqrt(cases * share * (1 - share)), 0.95 * cases)


def _name(run: Run, rank: int) -> str:
    hosts = run.provenance.get("hosts")
    host = f" on host {hosts[rank]}" if isinstance(hosts, list) and rank < len(hosts) else ""
    return f"rank {rank}{host} ({run.device})"
