"""A point that is slow because time jumps at or below its rank count, as if the library changed its algorithm there.

The models look for such jumps before they extrapolate (`models.changepoints`); here the same search explains one point.
It fits a series a dozen times, so it is done only for the few points that are reported.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..frames.columns import BY_SOURCE, SERIES
from ..frames.record_id import record_ids
from ..models.changepoints import find_jumps
from ..models.curve import curve_of
from ..models.holdout import hold_trials

__all__ = ["RankChangepoint", "find_rank_changepoint"]

_ALIKE = (*SERIES, *BY_SOURCE, "time_kind")
_OTHERS = ("run", "ranks", "ranks_per_node", "oversubscribed", "message_bytes", "asked_bytes", "native_size_bytes",
           "time_s")
_NEAR = 2       # a jump explains points at up to this many times its rank count


class RankChangepoint(NamedTuple):
    """A jump of time between two rank counts.

    Args:
        before, at: those rank counts.
        factor: time at `at` over the nearest prediction of the models fitted to fewer ranks.
        records: ids of the measurements of this size at the two rank counts.
    """

    before: int
    at: int
    factor: float
    records: tuple[str, ...]


def find_rank_changepoint(points: pd.DataFrame, row: pd.Series) -> RankChangepoint | None:
    """The jump at or just below the rank count of `row`, a point of `points`; None if its time does not jump.

    Also None if something else changes between the same rank counts: ranks leave their host, or share cores.
    """
    series = _series(points, row)
    if series["ranks"].nunique() < 3:
        return None
    curve = curve_of(series.rename(columns={"message_bytes": "payload_bytes"}), str(row["op"]))
    mine = series[series["size"].eq(_size(pd.DataFrame([row])).iloc[0])]
    size = int(np.searchsorted(curve.sizes, mine["size"].iloc[0]))
    found = [jump for jump in find_jumps(hold_trials(curve)) if jump.at * _NEAR >= row["ranks"] and jump.log[size] > 0]
    if not found:
        return None
    jump = found[-1]
    below, there = (mine[mine["ranks"].eq(ranks)] for ranks in (jump.before, jump.at))
    if (_crowded(there) and not _crowded(below)) or (_spread(there) and not _spread(below)):
        return None
    records = dict.fromkeys(record_ids(pd.concat([below, there])))
    return RankChangepoint(jump.before, jump.at, float(np.exp(jump.log[size])), tuple(records))


def _series(points: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    """The measurements like `row`, at up to as many ranks, with as many ranks per host."""
    wanted = points["op"].eq(row["op"]) & points["ranks"].between(2, row["ranks"]) & (points["time_s"] > 0)
    found = points.loc[wanted, [name for name in (*_ALIKE, *_OTHERS) if name in points]]
    alike = [found[name].isna() if pd.isna(row[name]) else found[name].eq(row[name]) for name in _ALIKE]
    node = found["ranks_per_node"]
    alike.append(node.isna() | node.eq(np.minimum(found["ranks"], row["ranks_per_node"])))
    return found[np.logical_and.reduce(alike)].assign(size=_size)


def _size(points: pd.DataFrame) -> pd.Series:
    """The size that identifies a series over rank counts, as in the models."""
    return points["native_size_bytes"].fillna(points["asked_bytes"]) if "native_size_bytes" in points \
        else points["asked_bytes"]


def _crowded(rows: pd.DataFrame) -> bool:
    return bool(rows["oversubscribed"].fillna(False).any())


def _spread(rows: pd.DataFrame) -> bool:
    return bool((rows["ranks_per_node"] < rows["ranks"]).any())
