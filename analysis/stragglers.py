"""Which rank holds the others up, and how: by coming late, or by being slow once it has come.

In each sample somebody is last, some time after the next one; added up over the samples of a case, that time is
largest for one rank, with n equal ranks for each in 1 of n cases. For a straggler it is in case after case, over
different sizes, whether it is a little late always or very late now and then. Begins and ends are looked at apart: who
begins last arrives late (busy elsewhere, a slow loop before the call); who ends last but began with the others moves
its data slowly (its core, its link, its device).
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from collectives.records import Record, Run, Timing

from .finding import Finding
from .units import percent, seconds

__all__ = ["LATENESS", "Lateness", "find_stragglers", "late_ranks"]

_SIGMAS = 4.0       # cases in which a rank was last by most, beyond chance
_FEWEST_CASES = 8
_SHARE_OF_TIME = 0.05       # lateness that adds up to less than this of the time of all calls holds nobody up
LATENESS = ("run", "ranks", "kind", "rank", "samples", "last", "late_s", "cases", "cases_last", "total_s")


class _Sums(NamedTuple):
    """Over the cases of one run and rank count: how often each rank was last, by how much, how often by most."""

    last: np.ndarray
    late_ns: np.ndarray
    cases_last: np.ndarray


class Lateness:
    """Adds up who was last while a journal is read; `frame` has a row for each run, rank count, kind and rank."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int, str], _Sums] = {}
        self._counts: dict[tuple[str, int, str], np.ndarray] = {}      # samples, cases, ns of all samples

    def add(self, record: Record, timing: Timing) -> None:
        """Take in one timing; those that cannot tell (one rank, no common clock, streamed calls) are passed over.

        Late samples count here: that a rank missed the agreed start is what is looked for.
        """
        case = record.case
        if timing.mode != "isolated" or timing.begin_ns is None or case.ranks < 2 or case.op == "noop":
            return
        begin = np.array(timing.begin_ns, dtype=np.int64)[:, timing.warmup:]
        elapsed = np.array(timing.elapsed_ns, dtype=np.int64)[:, timing.warmup:]
        if begin.shape != elapsed.shape or not begin.size:
            return
        slowest = np.sort(elapsed.max(axis=0))
        typical_ns = float(slowest[len(slowest) // 2] + slowest[(len(slowest) - 1) // 2]) / 2
        first, lead_ns = _last(begin)
        self._count((record.run, case.ranks, "begin"), first, lead_ns, case.ranks, typical_ns)
        if not case.operation.rooted and not case.operation.pairs:      # there some rank ends last by design
            last, behind_ns = _last(begin + elapsed)
            behind_ns = np.maximum(behind_ns - np.where(last == first, lead_ns, 0), 0)      # beyond coming late
            self._count((record.run, case.ranks, "end"), last, behind_ns, case.ranks, typical_ns)

    @classmethod
    def of_all(cls, parts: Iterable["Lateness"]) -> "Lateness":
        """The sums of all parts of a journal."""
        whole = cls()
        for part in parts:
            for key, sums in part._sums.items():
                mine = whole._sums.setdefault(key, _Sums(*(np.zeros(len(values)) for values in sums)))
                for total, values in zip(mine, sums, strict=True):
                    total += values
                whole._counts.setdefault(key, np.zeros(3))[:] += part._counts[key]
        return whole

    def _count(self, key: tuple[str, int, str], last: np.ndarray, by_ns: np.ndarray, ranks: int,
               typical_ns: float) -> None:
        late_ns = np.bincount(last, weights=by_ns, minlength=ranks)
        sums = self._sums.setdefault(key, _Sums(*(np.zeros(ranks) for _ in _Sums._fields)))
        sums.last[:] += np.bincount(last, minlength=ranks)
        sums.late_ns[:] += late_ns
        sums.cases_last[late_ns.argmax()] += 1
        self._counts.setdefault(key, np.zeros(3))[:] += (len(last), 1, len(last) * typical_ns)

    def frame(self) -> pd.DataFrame:
        """Columns `LATENESS`: `late_s` adds up how long after the next one a rank was, `total_s` all calls."""
        rows = []
        for (run, ranks, kind), sums in self._sums.items():
            samples, cases, total_ns = self._counts[run, ranks, kind]
            rows += [(run, ranks, kind, rank, int(samples), int(sums.last[rank]),
                      sums.late_ns[rank] / 1e9, int(cases), int(sums.cases_last[rank]), total_ns / 1e9)
                     for rank in range(ranks)]
        return pd.DataFrame(rows, columns=list(LATENESS))


def _last(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In each sample (column) the rank whose moment is the last, and how long after the next one it is, in ns."""
    ranks = len(moments)
    two = np.partition(moments, ranks - 2, axis=0)[ranks - 2:]
    return moments.argmax(axis=0), two.max(axis=0) - two.min(axis=0)


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
