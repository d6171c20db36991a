"""In-place against out-of-place: the same case, which should take about as long."""

from collections.abc import Iterator

import pandas as pd

from ..frames.columns import BY_SOURCE, CASE, FABRIC
from ..text.units import seconds
from .effect_size import UNMEASURED, least_ratio
from .finding import Finding, evidence_of

__all__ = ["find_place_differences"]

_SAME = ["run", *FABRIC, *(name for name in CASE if name not in ("place", "message_bytes")), "mode", "time_kind",
         *BY_SOURCE]
_TIMES = ["time_s", "time_lo_s", "time_hi_s"]


def find_place_differences(points: pd.DataFrame) -> Iterator[Finding]:
    """One finding with the largest difference; none where ranks share cores.

    Where one place is slower at most sizes of a curve, the library copies there: that is a note.
    """
    usable = points[points["place"].notna() & (points["time_s"] > 0) & (points["message_bytes"] > 0)
                    & ~points["oversubscribed"].fillna(False).astype(bool)]
    if usable["place"].nunique() < 2:
        return
    rows = usable.assign(curve=usable.groupby(_SAME, dropna=False, sort=False).ngroup())
    rows = rows.drop_duplicates(["curve", "message_bytes", "place"])
    out, into = (rows[rows["place"].eq(place)].reset_index(names="row").set_index(["curve", "message_bytes"])
                 for place in ("out-of-place", "in-place"))
    both = out.index.intersection(into.index)
    out, into = out.loc[both], into.loc[both]
    ratio = pd.concat([least_ratio(out, into), least_ratio(into, out)], axis=1).max(axis=1)
    ratio = ratio[ratio >= UNMEASURED].sort_values(ascending=False, kind="stable")
    if ratio.empty:
        return
    at = ratio.index[0]
    times = ", ".join(f"{seconds(side.loc[at, 'time_s'])} {side.loc[at, 'place']}" for side in (out, into))
    slow = [max((side.loc[case] for side in (out, into)), key=lambda row: row["time_s"])["row"] for case in ratio.index]
    share = len(ratio) / len(both)
    few = share < 0.5
    words = (f"in-place and out-of-place differ {UNMEASURED:g} times or more in {len(ratio)} of {len(both)} cases; "
             f"most: {points.loc[slow[0], 'label']}, {points.loc[slow[0], 'mode']}: {times}")
    yield Finding("warning" if few else "note", words, effect=share, kind="in-place against out-of-place",
                  advice="measure the slow one again; if it stays, the library uses another algorithm there" if few else
                  "the library copies in one of the two; use the other",
                  **evidence_of(points, slow))
