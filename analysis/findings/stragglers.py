"""Stragglers: ranks that delay the others, by arriving late or by transferring slowly.

In each sample one rank is last, by some time. Summed over the samples of a case, that time is largest for one rank;
among n equal ranks each is that one in 1 of n cases. A straggler is, in case after case and over different sizes,
whether it is always a little late or occasionally very late. Begins and ends are examined separately: a rank that
begins last arrives late (busy elsewhere, a slow loop before the call); one that ends last but began with the others
transfers slowly (its core, its link, its device).

A difference may be statistically certain and still not matter: with thousands of cases it is certain that one rank of
two is last in 51 % of them. A rank is therefore named only if its lateness is a share of the time of all calls, is
longer than what the start of a sample and the reading of a clock leave uncertain, and happens to this rank clearly more
often than to others. Time counts as well as cases: a rank whose lateness adds up to more than all calls take needs
fewer cases to be named.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from collbench.collectives.records.record import Run

from ..text.units import percent, seconds
from .effect_size import LEAST_S
from .finding import Finding

__all__ = ["find_stragglers", "late_ranks"]

_SIGMAS = 4.0       # number of cases in which a rank was last by most: standard deviations above chance
_SIGMAS_LONG = 2.5  # the same for a rank that is late for longer than all calls take
_FEWEST_CASES = 8
_SHARE_OF_TIME = 0.05       # total lateness below this share of the time of all calls delays nobody
_BEYOND = 0.1               # share of the cases beyond that of equal ranks, or as much again as theirs if that is less


class _LateRank(NamedTuple):
    """A row of `Loaded.lateness`."""

    run: str
    ranks: int
    kind: str
    rank: int
    samples: int
    last: int
    late_s: float
    cases: int
    cases_last: int
    total_s: float


def find_stragglers(lateness: pd.DataFrame, runs: dict[str, Run]) -> Iterator[Finding]:
    """Ranks that were last too often and by too much to be chance; the largest total lateness first.

    One finding for each rank of a run, with the rank count at which it is worst.
    """
    found: dict[tuple[str, int], list[_LateRank]] = {}
    for row in _beyond_chance(lateness):
        found.setdefault((row.run, row.rank), []).append(row)
    for rows in found.values():
        worst, others = rows[0], sorted({row.ranks for row in rows} - {rows[0].ranks})
        also = f"; so it is over {', '.join(map(str, others))} ranks" if others else ""
        yield Finding("warning", f"straggler: {_words(worst, runs[worst.run])}{also}",
                      effect=min(1.0, worst.late_s / worst.total_s), kind="straggler",
                      advice="look at what else runs on its core, and at its device, link and clocks; exchange it with "
                      "another one",
                      evidence=(f"all isolated calls over {worst.ranks} ranks in run {worst.run}",))


def late_ranks(lateness: pd.DataFrame, runs: dict[str, Run]) -> dict[tuple[str, int], str]:
    """By run and rank count, the worst straggler in words; without entries where there is none."""
    found: dict[tuple[str, int], str] = {}
    for row in _beyond_chance(lateness):
        did = "arrives late" if row.kind == "begin" else "finishes late"
        found.setdefault((row.run, row.ranks), f"{_name(runs[row.run], row.rank)} {did} and")
    return found


def _beyond_chance(lateness: pd.DataFrame) -> Iterator[_LateRank]:
    for values in lateness.sort_values("late_s", ascending=False)[list(_LateRank._fields)].itertuples(index=False):
        row = _LateRank(*values)
        if row.cases >= _FEWEST_CASES and _matters(row) and row.cases_last > _by_chance(row):
            yield row


def _matters(row: _LateRank) -> bool:
    """Whether a rank is late by enough, and often enough, to name it; journals may hold sums of nothing."""
    if row.last < 1 or row.samples < 1 or not row.total_s > 0:
        return False
    equal = 1 / row.ranks
    return (row.late_s > _SHARE_OF_TIME * row.total_s and row.late_s > LEAST_S * row.last
            and row.cases_last >= (equal + min(equal, _BEYOND)) * row.cases)


def _words(row: _LateRank, run: Run) -> str:
    did, means = ("begins", "it arrives late") if row.kind == "begin" else ("ends", "its transfers are slow")
    return (f"{_name(run, row.rank)} {did} last by most in {row.cases_last} of {row.cases} cases over {row.ranks} "
            f"ranks of {run.transport} ({percent(1 / row.ranks)} by chance): in {percent(row.last / row.samples)} of "
            f"{row.samples} samples it is last, by {seconds(row.late_s / row.last)} on average, in total "
            f"{_share(row.late_s / row.total_s)} the time of all calls: {means}")


def _share(of_time: float) -> str:
    return f"{percent(of_time)} of" if of_time < 1 else f"{of_time:.3g} times"


def _by_chance(row: _LateRank) -> float:
    """The number of cases in which one of equal ranks is last by most, at most."""
    share = 1 / row.ranks
    sigmas = _SIGMAS_LONG if row.late_s > row.total_s else _SIGMAS
    return min(row.cases * share + sigmas * math.sqrt(row.cases * share * (1 - share)), 0.95 * row.cases)


def _name(run: Run, rank: int) -> str:
    hosts = run.provenance.get("hosts")
    host = f" on host {hosts[rank]}" if isinstance(hosts, list) and rank < len(hosts) else ""
    return f"rank {rank}{host} ({', '.join([run.device, *_place(run, rank)])})"


def _place(run: Run, rank: int) -> list[str]:
    """Number and PCI address of the device of a rank, by which it is found in its host."""
    devices = run.provenance.get("devices")
    own = devices[rank] if isinstance(devices, list) and rank < len(devices) else None
    if not isinstance(own, dict):
        return []
    number, bus = own.get("index"), own.get("bus")
    return [*([f"device {number} of the host"] if number is not None else []), *([str(bus)] if bus else [])]
