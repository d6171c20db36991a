"""A comparison as an expectation for every point of B: what `report --baseline` judges by."""

import pandas as pd

from .sides import KEY
from .verdict import Comparison

__all__ = ["expected_of"]

_TOLD = 2.0     # a case in which not even this ratio would be noticed has no expectation, as a gate cannot tell then


def expected_of(comparison: Comparison) -> pd.DataFrame:
    """What A lets expect of the points of B, which is one launch or several of one frame; indexed as that frame.

    Returns:
        `baseline_s`, the time in A; `within`, the ratio up to which no difference is detected; `verdict` (slower,
        faster, same, cannot tell). Points whose case allows no verdict are left out.
    """
    points = comparison.match.points
    points = points[points["side"].eq("b")]
    rows = comparison.rows.assign(within=comparison.rows["noticed"].clip(lower=1 + comparison.band))
    told = rows["verdict"].ne("cannot tell") | (rows["within"] <= _TOLD)
    keys = ["fabric", *KEY]
    found = _texts(points, keys)[[*keys, "row"]].merge(
        _texts(rows[told], keys)[[*keys, "a_s", "within", "verdict"]], on=keys)
    return found.set_index("row")[["a_s", "within", "verdict"]].rename(columns={"a_s": "baseline_s"})


def _texts(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """With keys that merge where they are missing on both sides."""
    return frame.assign(**{name: frame[name].astype(object).fillna("") for name in keys})
