"""Numbers that no measurement can have are found here, once, before anything is computed from them.

A garbled log or a damaged journal may hold a time of zero, a size of 2^70 bytes or a million million ranks. Such a row
is no measurement: it is left out with a warning that names it, and no model, table or figure sees it. The limits are
those of `importers.shared.limits`.
"""

from collections.abc import Iterable, Iterator
from math import inf, nan

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..importers.shared.limits import (
    LEAST_CALL_S,
    MOST_BYTES,
    MOST_RANKS,
    MOST_S,
    FASTEST_Bps,
    impossible_count,
    impossible_time,
)

__all__ = ["only_possible"]

_MOST_WARNINGS = 200
_LETTERS = 120                  # of a label in a warning
_SPREAD = ("time_lo_s", "time_hi_s", "p5_s", "p95_s", "p99_s", "rank_min_s", "rank_mean_s", "rank_max_s", "as_called_s")
_OTHERS = {"ranks_per_node": (1, MOST_RANKS), "native_size_bytes": (0, MOST_BYTES), "repeats": (1, MOST_BYTES)}
_MOST_FACTOR = 2.0              # of a bus bandwidth
_WHOLE = ("ranks", "message_bytes", "asked_bytes")
_SLACK = 1e-9                   # relative: rounding
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def only_possible(records: pd.DataFrame, points: pd.DataFrame, data: str) -> tuple[pd.DataFrame, pd.DataFrame,
                                                                                    list[str]]:
    """Records and points without those that have impossible numbers, and a warning for each.

    A record with an impossible count or size is dropped. A point with an impossible time is dropped; a record that is
    left without points becomes `unsupported`, with the reason. What else is impossible in a point (an interval that
    ends before it begins, a negative quantile) becomes unknown.

    Args:
        records, points: as `load` joins them: `record` of a point is the position of its record, `origin` of a record
            is its source, or None for records of a journal.
        data: the file, for warnings.

    Returns:
        Records with their former positions as index, points, and sentences.
    """
    words: list[str] = []

    def tell(position: int, what: str) -> None:
        if len(words) < _MOST_WARNINGS:
            words.append(f"{_place(whole.iloc[position], data)}: {what}")
        else:
            words[_MOST_WARNINGS:] = [f"{data}: more like these"]
    whole, wrong = records, _impossible_counts(records)
    for position, why in wrong.items():
        tell(position, f"{why}: the row is left out")
    gone = np.zeros(len(records), dtype=bool)
    gone[[*wrong]] = True
    points = points[~gone[points["record"].to_numpy(np.int64)]].reset_index(drop=True)
    records = records[~gone]
    records = records.assign(**{name: records[name].astype(np.int64) for name in _WHOLE})
    reasons = _impossible_times(records, points)
    at: list[int] = points["record"].to_list()
    for row, why in reasons.items():
        tell(at[row], f"{why}: it is left out")
    late = points.iloc[[*reasons]]
    points = points.drop(index=[*reasons]).reset_index(drop=True)
    emptied = dict(zip(late["record"], reasons.values(), strict=True))
    emptied = {record: why for record, why in emptied.items() if record not in set(points["record"])}
    if emptied:
        alone = records.index.isin([*emptied])
        records = records.assign(status=records["status"].mask(alone, "unsupported"),
                                 reason=records["reason"].astype(object).mask(alone, records.index.map(emptied.get)))
    points, unknown = _without_impossible_details(points)
    at = points["record"].to_list()
    for row, why in unknown:
        tell(at[row], f"{why}: taken as unknown")
    return records, points, words


def _place(row: pd.Series, data: str) -> str:
    """Where a record comes from, for a warning."""
    label, run = (str(row[name])[:_LETTERS] for name in ("label", "run"))
    return f"{row['origin']}: {label}" if row["origin"] else f"{data}: {label}, run {run}"


def _impossible_counts(records: pd.DataFrame) -> dict[int, str]:
    """By position, why a record is impossible."""
    sizes, asked, ranks = (_floats(records[name]) for name in ("message_bytes", "asked_bytes", "ranks"))
    suspects = {*_outside(ranks, 1, MOST_RANKS).tolist(), *_outside(sizes, 0, MOST_BYTES).tolist(),
                *_outside(asked, 0, MOST_BYTES).tolist()}
    found = {at: impossible_count(sizes[at], ranks[at]) or impossible_count(asked[at], ranks[at])
             for at in sorted(suspects)}
    return {at: why for at, why in found.items() if why}


def _impossible_times(records: pd.DataFrame, points: pd.DataFrame) -> dict[int, str]:
    """By position, why a point is impossible."""
    at = points["record"].to_numpy(np.int64)
    time, size = _floats(points["time_s"]), _floats(records["message_bytes"].loc[at])
    with np.errstate(all="ignore"):
        suspect = ~((time >= LEAST_CALL_S) & (time <= MOST_S)) | (_MOST_FACTOR * size / time > FASTEST_Bps)
    found: dict[int, str] = {}
    for row in np.nonzero(suspect)[0].tolist():
        op, ranks = records.loc[at[row], ["op", "ranks"]]
        if why := impossible_time(str(op), int(ranks), float(size[row]), float(time[row])):
            found[row] = why
    return found


def _without_impossible_details(points: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """Points with impossible values as NaN, and the position and the reason of each."""
    unknown: list[tuple[int, str]] = []
    columns: dict[str, Floats] = {"time_s": _floats(points["time_s"])}
    for name, (least, most) in {**dict.fromkeys(_SPREAD, (0.0, MOST_S)), **_OTHERS}.items():
        values = columns[name] = _floats(points[name])
        for row in _outside(values, least, most, missing=True).tolist():
            unknown.append((row, f"{name} of {values[row]:g} is impossible"))
            values[row] = np.nan
    low, middle, high = columns["time_lo_s"], columns["time_s"], columns["time_hi_s"]
    for row in np.nonzero((low > middle * (1 + _SLACK)) | (high < middle * (1 - _SLACK)))[0].tolist():
        unknown.append((row, f"an interval from {low[row]:g} to {high[row]:g} s around {middle[row]:g} s is "
                        "impossible"))
        low[row] = high[row] = np.nan
    blank = np.isnan(low) | np.isnan(high)
    columns["precision"] = np.where(blank, np.nan, _floats(points["precision"]))
    return points.assign(**columns), unknown


def _outside(values: Floats, low: float, high: float, missing: bool = False) -> NDArray[np.intp]:
    """Positions of the values outside; `missing`: NaN is none of them."""
    with np.errstate(invalid="ignore"):
        inside: Bools = (values >= low) & (values <= high)
    return np.nonzero(~(inside | np.isnan(values)) if missing else ~inside)[0]


def _floats(column: pd.Series) -> Floats:
    """The column as floats; whole numbers beyond any float are infinite."""
    if column.dtype != object:
        return np.array(column.to_numpy(dtype=float, na_value=np.nan))
    return np.fromiter(_each(column.tolist()), float, len(column))


def _each(values: Iterable[object]) -> Iterator[float]:
    for value in values:
        known = value if isinstance(value, int | float) else nan
        try:
            yield float(known)
        except OverflowError:
            yield inf if known > 0 else -inf
