"""Findings from assessed points: what exceeds its ceiling, and what is slower than others measured."""

from collections.abc import Iterator

import pandas as pd

from ..findings.finding import Finding, evidence_of
from ..text.units import percent, rate
from .expectations import StragglerNames, assessed_case
from .verdicts import HIGH, LOW
from .wording import attainable, why

__all__ = ["find_unexpected"]

_FEW = 20       # points that evidence is chosen from


def find_unexpected(points: pd.DataFrame, stragglers: StragglerNames) -> Iterator[Finding]:
    """Findings of assessed points."""
    yield from _in_network(points)
    yield from _above_ceiling(points)
    for basis, words in (("baseline", "the baseline"), ("published", "published runs")):
        yield from _slower(points, basis, words, stragglers)


def _in_network(points: pd.DataFrame) -> Iterator[Finding]:
    reduced = points[points["wire_Bps"].notna()]
    if len(reduced):
        top = reduced.iloc[int(reduced["busbw_Bps"].to_numpy().argmax())]
        yield Finding("note", f"all_reduce reaches a bus bandwidth of {rate(top['busbw_Bps'])} over links of "
                      f"{rate(top['ceiling_rate_Bps'])}, more than a ring can: the switches reduce (in-network "
                      f"reduction), each rank sends its data once, and its links carry {rate(top['wire_Bps'])}, "
                      f"{percent(top['share'])} of their rate ({len(reduced)} points)", kind="in-network reduction",
                      **evidence_of(reduced.sort_values("busbw_Bps", ascending=False)))


def _above_ceiling(points: pd.DataFrame) -> Iterator[Finding]:
    beyond = points[points["verdict"].eq(HIGH) & (points["share"] > 1)].sort_values("share", ascending=False)
    if len(beyond):
        top = beyond.iloc[0]
        yield Finding("warning", f"{len(beyond)} points exceed what "
                      f"{attainable(str(top['ceiling_kind']), top['ceiling_assumes'])}, most of "
                      f"all {top['label']}, {top['mode']}: {rate(top['busbw_Bps'])}, ceiling "
                      f"{rate(top['ceiling_Bps'])}; the ceiling is not that of this machine, or not all bytes pass "
                      "through it", effect=len(beyond) / len(points), kind="above the ceiling",
                      advice="name the domain and its cards (--measured-on, --nic)", **evidence_of(beyond))


def _slower(points: pd.DataFrame, basis: str, words: str, stragglers: StragglerNames) -> Iterator[Finding]:
    compared = points["basis"].isin([name for name in points["basis"].dropna().unique() if name.startswith(basis)])
    slow, many = points.loc[compared & points["verdict"].eq(LOW), "of_expected"], int(compared.sum())
    if len(slow):
        worst = points.loc[slow.nsmallest(_FEW).index]
        top = worst.iloc[0]
        yield Finding("warning", f"{len(slow)} of {many} points {'is' if len(slow) == 1 else 'are'} slower than "
                      f"{words}, most of all {top['label']}, {top['mode']}: {percent(top['of_expected'])} of the "
                      f"expected speed ({why(assessed_case(points, worst.index[0], stragglers))})",
                      effect=len(slow) / many, kind=f"slower than {words}",
                      advice="points.csv has a reason for each, in the column why", **evidence_of(worst))
