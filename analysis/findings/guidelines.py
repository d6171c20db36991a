"""Guideline violations: a collective slower than others that together do the same, and the like.

These are self-consistent performance guidelines (Träff, Gropp and Thakur, IEEE TPDS 21(5), 2010, "Self-consistent MPI
performance guidelines"; tested for MPI by Hunold and Carpen-Amarie's ReproMPI). A violation beyond the noise means
that the library chose a poor algorithm there, or that something disturbed the measurement. Where ranks share cores,
the scheduler decides, so nothing is said of algorithms. That time must rise with message size is in `sizes`.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS

from ..frames.columns import FABRIC
from ..text.units import payload, percent
from .effect_size import LEAST_S, MEASURED
from .finding import Finding, evidence_of

__all__ = ["find_violations"]

_CASE, _INTERVAL = ["op", "ranks", "message_bytes"], ["time_lo_s", "time_hi_s"]
_SERIES = [*FABRIC, "dtype", "traffic", "mode"]
Bounds = dict[str, dict[tuple[int, int], tuple[float, float, int]]]   # op -> (ranks, bytes) -> low s, high s, row


class _Violation(NamedTuple):
    """`by` is the least relative slowdown; `row` is the index of the point."""

    by: float
    words: str
    row: int


def find_violations(points: pd.DataFrame) -> Iterator[Finding]:
    """One finding for each violated guideline, with its worst violation."""
    groups = _bounds(points[~points["oversubscribed"].fillna(False).astype(bool)])
    for check, advice in _GUIDELINES:
        found = sorted((violation for bounds in groups for violation in check(bounds)), reverse=True)
        if found:
            worst, rows = found[0], [violation.row for violation in found]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            yield Finding("warning", f"guideline violation: {worst.words}, by at least {percent(worst.by)}{more}",
                          effect=len(found) / len(points), kind="guideline violation", advice=advice,
                          **evidence_of(points, rows))


def _bounds(points: pd.DataFrame) -> list[Bounds]:
    """For each series the fastest place and reduction, any of which a user may choose."""
    known = points.loc[points["time_lo_s"].notna() & points["time_hi_s"].notna(), [*_SERIES, *_CASE, *_INTERVAL]]
    series = known.groupby(_SERIES, dropna=False, sort=False).ngroup()
    best = known.assign(series=series).loc[known.groupby([series, *_CASE], sort=False)["time_hi_s"].idxmin()]
    groups: dict[int, Bounds] = {}
    columns = (best[name].tolist() for name in ("series", *_CASE, *_INTERVAL))
    for row, number, op, ranks, size, low, high in zip(best.index.tolist(), *columns, strict=True):
        groups.setdefault(number, {}).setdefault(op, {})[ranks, size] = (low, high, row)
    return list(groups.values())


def _composed(whole: str, parts: tuple[str, str]) -> Callable[[Bounds], Iterator[_Violation]]:
    """`whole` must not take longer than its `parts` in sequence, at the same total size."""
    def check(bounds: Bounds) -> Iterator[_Violation]:
        of_parts = [bounds.get(part, {}) for part in parts]
        for case, (low, _, row) in bounds.get(whole, {}).items():
            if any(case not in part for part in of_parts):
                continue
            ranks, size = case
            most = sum(part[case][1] for part in of_parts)
            if _clear(low, most):
                yield _Violation(low / most - 1, f"{whole} of {payload(size)} over {ranks} ranks is slower than "
                                 f"{parts[0]} + {parts[1]}", row)
    return check


def _rising_over_ranks(bounds: Bounds) -> Iterator[_Violation]:
    """Time must not decrease from one measured rank count to the next."""
    for op, cases in bounds.items():
        if op in _EXEMPT:
            continue
        for less, more in itertools.pairwise(sorted(cases, key=lambda case: (case[1], case[0]))):
            low, high = cases[less][0], cases[more][1]
            if less[1] == more[1] and _clear(low, high):
                yield _Violation(low / high - 1, f"{op} of {payload(less[1])} takes longer over {less[0]} ranks than "
                                 f"over {more[0]}", cases[less][2])


def _clear(low: float, high: float) -> bool:
    """Whether what takes at least `low` seconds is clearly slower than what takes at most `high`."""
    return low > MEASURED * high and low - high > LEAST_S


def _two_ways(bounds: Bounds) -> Iterator[_Violation]:
    """Both directions together must not carry more than twice what one does."""
    one_way = bounds.get("bandwidth", {})
    for case, (_, high, row) in bounds.get("bi_bandwidth", {}).items():
        if case in one_way and _clear(one_way[case][0], high):
            yield _Violation(one_way[case][0] / high - 1, "both directions together carry more than twice what one "
                             f"does, for {payload(case[1])} over {case[0]} ranks", row)


# Messages of a window overlap, links are measured pair by pair, a copy involves no other rank, and in a pattern with
# more ranks others are neighbours.
_EXEMPT = {"noop", *(name for name, row in OPERATIONS.items()
                     if row.windowed or row.linked or row.memories or row.group == "patterns")}
_SELECT = ("select another algorithm there (NCCL_ALGO, NCCL_PROTO; coll_tuned of Open MPI), or call the parts, and "
           "report it to the library")
_GUIDELINES = (
    (_composed("all_reduce", ("reduce_scatter", "all_gather")), _SELECT),
    (_composed("broadcast", ("scatter", "all_gather")), _SELECT),
    (_rising_over_ranks, "look at how the smaller group is placed, and measure it again"),
    (_two_ways, "look for what limits the one-way value: the reply, or one busy core"),
)
