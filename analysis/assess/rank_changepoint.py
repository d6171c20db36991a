"""A point that is slow because time jumps below its rank count, as where a library takes another algorithm there.

The models look for such jumps before they extrapolate (`models.switches`); here the same search explains one point. It
fits a series a dozen times, so it is asked for the few points that are told, and not for all that are judged.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..frames.record_id import record_ids
from ..models.changepoints import leaps
from ..models.curve import curve_of
from ..models.holdout import hold_trials
from ..models.predict import SERIES

__all__ = ["RankSwitch", "rank_switch"]

_ALIKE = (*SERIES, "algorithm", "protocol", "variant", "time_kind")
_OTHERS = ("run", "ranks", "ranks_per_node", "oversubscribed", "message_bytes", "asked_bytes", "native_size_bytes",
           "time_s")
_NEAR = 2       # ranks of the point over those of the jump, up to which one explains the other


class RankSwitch(NamedTuple):
    """A jump of time over rank counts.

    Args:
        before, at: the rank counts between which it is.
        factor: time at `at` over what that model of fewer ranks says that comes nearest.
        records: ids of what was measured of this payload at the two.
    """

    before: int
    at: int
    factor: float
    records: tuple[str, ...]


def rank_switch(points: pd.DataFrame, row: Mapping[str, object]) -> RankSwitch | None:
    """The jump at or just below the rank count of `row`, a point of `points`; None where its time does not jump.

    Nor where something else changes between the same two rank counts: ranks leave their host, or share cores.
    """
    series = _series(points, row)
    if series["ranks"].nunique() < 3:
        return None
    curve = curve_of(series.rename(columns={"message_bytes": "payload_bytes"}), str(row["op"]))
    mine = series[series["size"].eq(_size(pd.DataFrame([row])).iloc[0])]
    size = int(np.searchsorted(curve.sizes, mine["size"].iloc[0]))
    found = [leap for leap in leaps(hold_trials(curve)) if leap.at * _NEAR >= row["ranks"] and leap.log[size] > 0]
    if not found:
        return None
    leap = found[-1]
    below, there = (mine[mine["ranks"].eq(ranks)] for ranks in (leap.before, leap.at))
    if (_crowded(there) and not _crowded(below)) or (_spread(there) and not _spread(below)):
        return None
    records = dict.fromkeys(record_ids(pd.concat([below, there])))
    return RankSwitch(leap.before, leap.at, float(np.exp(leap.log[size])), tuple(records))


def _series(points: pd.DataFrame, row: Mapping[str, object]) -> pd.DataFrame:
    """What was measured as `row` was, at up to as many ranks, and on as many of them a host as there were."""
    wanted = points["op"].eq(row["op"]) & points["ranks"].between(2, row["ranks"]) & (points["time_s"] > 0)
    found = points.loc[wanted, [name for name in (*_ALIKE, *_OTHERS) if name in points]]
    alike = [found[name].isna() if pd.isna(row[name]) else found[name].eq(row[name]) for name in _ALIKE]
    node = found["ranks_per_node"]
    alike.append(node.isna() | node.eq(np.minimum(found["ranks"], row["ranks_per_node"])))
    return found[np.logical_and.reduce(alike)].assign(size=_size)


def _size(points: pd.DataFrame) -> pd.Series:
    """What a size is followed by over rank counts, as the models do it."""
    return points["native_size_bytes"].fillna(points["asked_bytes"]) if "native_size_bytes" in points \
        else points["asked_bytes"]


def _crowded(rows: pd.DataFrame) -> bool:
    return bool(rows["oversubscribed"].fillna(False).any())


def _spread(rows: pd.DataFrame) -> bool:
    return bool((rows["ranks_per_node"] < rows["ranks"]).any())
