"""Curves over message size that are not smooth: sizes slower than their neighbours, and bandwidth lost for good."""

from collections.abc import Iterator

import pandas as pd

from ..frames.columns import BY_SOURCE, SERIES
from ..text.units import payload, rate, seconds
from .effect_size import least_ratio
from .finding import Finding, evidence_of

__all__ = ["find_size_anomalies"]

_CURVE = ["run", *SERIES, "ranks", "time_kind", *BY_SOURCE]
_TIMES = ["time_s", "time_lo_s", "time_hi_s"]


def find_size_anomalies(points: pd.DataFrame) -> Iterator[Finding]:
    """At most one finding for each kind of anomaly, with its worst size; none where ranks share cores."""
    usable = points[(points["message_bytes"] > 0) & (points["time_s"] > 0) & points["busbw_Bps"].notna()
                    & ~points["oversubscribed"].fillna(False).astype(bool)]
    if usable.empty:
        return
    rows = usable.assign(curve=usable.groupby(_CURVE, dropna=False, sort=False).ngroup())
    rows = rows.drop_duplicates(["curve", "message_bytes"]).sort_values(["curve", "message_bytes"], kind="stable")
    before, after = _neighbours(rows, 1), _neighbours(rows, -1)
    slower = least_ratio(rows, after)       # takes longer than the next larger size
    dips = pd.concat([_loss(rows, before), _loss(rows, after)], axis=1).min(axis=1, skipna=False)
    found = pd.concat([slower, dips], axis=1).max(axis=1).dropna().sort_values(ascending=False, kind="stable")
    if len(found):
        yield _dip(rows, found, before, after, len(points))
    lost = _lost(rows, before).drop(found.index, errors="ignore").dropna().sort_values(ascending=False, kind="stable")
    if len(lost):
        yield _step(rows, lost, before, len(points))


def _neighbours(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """Beside each row, the one of the size before (`step` 1) or after it on the same curve; NaN at the end."""
    return rows.groupby("curve", sort=False)[["message_bytes", "busbw_Bps", *_TIMES]].shift(step)


def _loss(rows: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """By how many times the bus bandwidth is below that of another size; NaN where that is too little."""
    scale = rows["message_bytes"] / other["message_bytes"]
    return least_ratio(rows, other[_TIMES].mul(scale, axis=0))


def _lost(rows: pd.DataFrame, before: pd.DataFrame) -> pd.Series:
    """Where bus bandwidth falls from the size before, and no larger size reaches that again."""
    later = rows.iloc[::-1].groupby("curve", sort=False)["busbw_Bps"].cummax().reindex(rows.index)
    return _loss(rows, before).where(later < before["busbw_Bps"])


def _dip(rows: pd.DataFrame, found: pd.Series, before: pd.DataFrame, after: pd.DataFrame, points: int) -> Finding:
    at = found.index[0]
    top = rows.loc[at]
    around = [f"{rate(other.loc[at, 'busbw_Bps'])} at {payload(other.loc[at, 'message_bytes'])}"
              for other in (before, after) if pd.notna(other.loc[at, "busbw_Bps"])]
    words = (f"dip over message size: {_many(found)} slower than the sizes next to {_it(found)}; worst: "
             f"{top['label']}, {top['mode']}, {seconds(top['time_s'])} ({rate(top['busbw_Bps'])}, against "
             f"{' and '.join(around)})")
    return Finding("warning", words, effect=len(found) / points, kind="dip over message size",
                   advice="measure this size again, alone; if the dip stays, compare the library's algorithms and "
                   "protocols there (NCCL_ALGO, NCCL_PROTO; coll_tuned of Open MPI)",
                   **evidence_of(rows, found.index))


def _step(rows: pd.DataFrame, lost: pd.Series, before: pd.DataFrame, points: int) -> Finding:
    at = lost.index[0]
    top, old = rows.loc[at], before.loc[at]
    words = (f"bandwidth lost over message size: {_many(lost)} from which on the bus bandwidth stays below that of a "
             f"smaller size; worst: {top['label']}, {top['mode']}, {rate(top['busbw_Bps'])} after "
             f"{rate(old['busbw_Bps'])} at {payload(old['message_bytes'])}")
    return Finding("note", words, effect=len(lost) / points, kind="bandwidth lost over message size",
                   advice="on CPUs the data may no longer fit in cache; else compare algorithms and protocols",
                   **evidence_of(rows, lost.index))


def _many(found: pd.Series) -> str:
    return "1 size" if len(found) == 1 else f"{len(found)} sizes"


def _it(found: pd.Series) -> str:
    return "it" if len(found) == 1 else "them"
