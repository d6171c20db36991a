"""Which rank holds the others up, and how: by coming late, or by being slow once it has come.

In each sample somebody is last, some time after the next one; added up over the samples of a case, that time is
largest for one rank, with n equal ranks for each in 1 of n cases. For a straggler it is in case after case, over
different sizes, whether it is a little late always or very late now and then. Begins and ends are looked at apart: who
begins last arrives late (busy elsewhere, a slow loop before the call); who ends last but began with the others moves
its data slowly (its core, its link, its device).
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from collbench.collectives.records.record import Run

from ..text.units import percent, seconds
from .finding import Finding

__all__ = ["find_stragglers", "late_ranks"]

_SIGMAS = 4.0       # cases in which a rank was last by most, beyond chance
_FEWEST_CASES = 8
_SHARE_OF_TIME = 0.05       # lateness that adds up to less than this of the time of all calls holds nobody up


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
