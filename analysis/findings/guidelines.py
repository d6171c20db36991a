"""Violated performance guidelines: a collective slower than others that together do the same, and the like.

These are performance guidelines (Träff, Gropp and Thakur, IEEE TPDS 21(5), 2010, "Self-consistent MPI performance
guidelines"; tested for MPI by Hunold and Carpen-Amarie's ReproMPI). A violation beyond the noise means that the
library chose a poor algorithm there, or that something disturbed the measurement.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS

from ..frames.columns import FABRIC
from ..text.units import payload, percent
from .finding import Finding, evidence_of

__all__ = ["find_violations"]

_MARGIN = 0.05      # beyond the confidence intervals, so that a small systematic difference is no violation
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
    groups = _bounds(points)
    for check, cause in _GUIDELINES:
        found = sorted((violation for bounds in groups for violation in check(bounds)), reverse=True)
        if found:
            worst, rows = found[0], [violation.row for violation in found]
            yield Finding("warning", f"{worst.words}, by at least {percent(worst.by)}"
                          f"{f' (and {len(found) - 1} more)' if len(found) > 1 else ''}: {cause}",
                          effect=len(found) / len(points), **evidence_of(points, rows))


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
            if low > most * (1 + _MARGIN):
                yield _Violation(low / most - 1, f"{whole} of {payload(size)} over {ranks} ranks takes longer than "
                                 f"{parts[0]} and {parts[1]} in sequence", row)
    return check


def _rising(axis: int, words: str) -> Callable[[Bounds], Iterator[_Violation]]:
    """Time must not decrease from one measured size (`axis` 1) or rank count (0) to the next."""
    def check(bounds: Bounds) -> Iterator[_Violation]:
        for op, cases in bounds.items():
            if op in _EXEMPT:
                continue
            for less, more in itertools.pairwise(sorted(cases, key=lambda case: (case[1 - axis], case[axis]))):
                low, high = cases[less][0], cases[more][1]
                if less[1 - axis] == more[1 - axis] and low > high * (1 + _MARGIN):
                    yield _Violation(low / high - 1, words.format(
                        op=op, ranks=less[0], size=payload(less[1]), more_ranks=more[0], more_size=payload(more[1])),
                        cases[less][2])
    return check


def _two_ways(bounds: Bounds) -> Iterator[_Violation]:
    """Both directions together must not carry more than twice what one does."""
    one_way = bounds.get("bandwidth", {})
    for case, (_, high, row) in bounds.get("bi_bandwidth", {}).items():
        if case in one_way and one_way[case][0] > high * (1 + _MARGIN):
            yield _Violation(one_way[case][0] / high - 1, "both directions together carry more than twice what one "
                             f"does, for {payload(case[1])} over {case[0]} ranks", row)


# Messages of a window overlap, links are measured pair by pair, and a copy involves no other rank.
_EXEMPT = {"noop", *(name for name, row in OPERATIONS.items() if row.windowed or row.linked or row.memories)}
_POOR_CHOICE = "the library chose a poor algorithm there"
_GUIDELINES = (
    (_composed("all_reduce", ("reduce_scatter", "all_gather")), _POOR_CHOICE),
    (_composed("broadcast", ("scatter", "all_gather")), _POOR_CHOICE),
    (_rising(1, "{op} over {ranks} ranks takes longer for {size} than for {more_size}"),
     "the algorithm or protocol changes between these sizes, later than it should"),
    (_rising(0, "{op} of {size} takes longer over {ranks} ranks than over {more_ranks}"),
     "another algorithm is used at the larger count, or the smaller group was disturbed or badly placed"),
    (_two_ways, "the one-way value is limited by something other than the link, such as the reply or one busy core"),
)
