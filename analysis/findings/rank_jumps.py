"""Time that jumps from one rank count to the next, within a host and with a core for every rank."""

from collections.abc import Iterator

import pandas as pd

from ..frames.columns import BY_SOURCE, SERIES
from ..text.units import seconds
from .effect_size import least_ratio
from .finding import Finding, evidence_of

__all__ = ["find_rank_jumps"]

_CURVE = [*SERIES, "asked_bytes", "time_kind", *BY_SOURCE]
_TIMES = ["time_s", "time_lo_s", "time_hi_s"]
_FASTEST_GROWTH = 2.0       # times as fast as the rank count: every algorithm in use takes at most linearly many steps


def find_rank_jumps(points: pd.DataFrame) -> Iterator[Finding]:
    """One finding with the largest jump.

    Not compared: counts between which ranks leave their host, or begin to share cores, where a jump is to be expected.
    """
    usable = points[(points["ranks"] > 1) & (points["time_s"] > 0) & (points["message_bytes"] > 0)
                    & ~points["oversubscribed"].fillna(False).astype(bool)]
    if usable["ranks"].nunique() < 2:
        return
    rows = usable.assign(curve=usable.groupby(_CURVE, dropna=False, sort=False).ngroup(),
                         hosts=usable["ranks"] / usable["ranks_per_node"].fillna(usable["ranks"]))
    rows = rows.drop_duplicates(["curve", "ranks"]).sort_values(["curve", "ranks"], kind="stable")
    before = rows.groupby("curve", sort=False)[["ranks", "hosts", *_TIMES]].shift(1)
    growth = _FASTEST_GROWTH * rows["ranks"] / before["ranks"]
    ratio = least_ratio(rows, before[_TIMES].mul(growth, axis=0))
    found = ratio.where(before["hosts"].eq(rows["hosts"])).dropna().sort_values(ascending=False, kind="stable")
    if found.empty:
        return
    top, old = rows.loc[found.index[0]], before.loc[found.index[0]]
    yield Finding("warning", f"jump over rank counts: in {len(found)} cases time grows over {_FASTEST_GROWTH:g} times "
                  f"as fast as the rank count; worst: {top['label']}, {top['mode']}: {seconds(top['time_s'])}, "
                  f"{seconds(old['time_s'])} over {old['ranks']:.0f} ranks", effect=len(found) / len(points),
                  kind="jump over rank counts", advice="look at what the added ranks share (socket, switch, card), and "
                  "at the algorithm that the library selects there", **evidence_of(rows, found.index))
