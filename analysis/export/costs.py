"""What a planner needs to know of a fabric: one time for each operation, rank count and size, measured or forecast.

A table of costs has no room for repeats, in-place variants and several algorithms; of each case one time is taken.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple

import pandas as pd

from ..forecast import extrapolate
from ..frames.columns import FABRIC
from ..models.calibration import Calibration
from ..models.predict import Home
from .tables import preferred

__all__ = ["COLUMNS", "Fabric", "Note", "by_fabric", "costs", "costs_of_each"]

COLUMNS = (*FABRIC, "op", "dtype", "ranks", "message_bytes", "kind", "time_s", "time_lo_s", "time_hi_s", "level",
           "repeats", "runs", "ranks_per_node", "mode", "place", "algorithm", "protocol", "variant", "time_kind",
           "distance", "holdout_error", "track_record", "caution", "source")
_CASE = ("op", "dtype", "ranks", "message_bytes")
_NAMED = ("algorithm", "protocol", "variant")
_DEFAULT = ("default", "auto", "")
_EXCHANGES = "moe_"
_EMPTY_CALL = "noop"
_FORECAST = {"reason": "caution"}


class Note(NamedTuple):
    """A sentence about what is not in a table, of interest to whoever wants that operation (empty: to all)."""

    op: str
    words: str


class Fabric(NamedTuple):
    """Points of one library on one system, with a name for a folder."""

    name: str
    points: pd.DataFrame


def by_fabric(points: pd.DataFrame) -> Iterator[Fabric]:
    """The points of each system and library; names are unique: `nccl-2.27.3`, `gloo`, `gloo-2`."""
    taken: set[str] = set()
    for (_, _, library, _), rows in points.groupby(list(FABRIC), dropna=False, sort=False):
        words = re.sub(r"[^a-z0-9.]+", "-", f"{library}".partition(",")[0].lower()).strip("-.") or "library"
        name = next(name for name in chain((words,), (f"{words}-{number}" for number in count(2))) if name not in taken)
        taken.add(name)
        yield Fabric(name, rows)


def costs(points: pd.DataFrame, ranks: Sequence[int] = (), home: Home | None = None,
          known: Calibration | None = None) -> tuple[pd.DataFrame, list[Note]]:
    """Costs of the operations in `points`, which are of one fabric.

    Streamed calls are preferred to isolated ones, out-of-place to in-place calls, the library's own choice to a named
    algorithm, and of several named ones the fastest. Repeats give their median, with the range of the repeats. What
    depends on more than operation, ranks and size, as exchanges of experts do, is left out.

    Args:
        points: the frame of `frames.load`.
        ranks: rank counts to forecast where they were not measured.
        home, known: as in `forecast.extrapolate`.

    Returns:
        A frame of COLUMNS, sorted by operation, element type, ranks and size, and a note on whatever is left out and
        on each series that cannot be forecast. `kind` is measured or extrapolated. Measured rows have the 95 %
        confidence interval of their time, if known, forecast rows the prediction interval of `level`.
    """
    points = points[(points["ranks"] >= 2) & (points["time_s"] > 0) & (points["op"] != _EMPTY_CALL)]
    uneven = points["traffic"].notna() | points["op"].str.startswith(_EXCHANGES)
    refused = _uneven(points[uneven])
    chosen = _chosen(points[~uneven])
    parts = [_measured(chosen)]
    if ranks and len(chosen):
        made = extrapolate(chosen, sorted(set(ranks)), home, known)
        parts.append(_forecast(made[made["kind"] == "extrapolated"], chosen))
        refused += _refusals(made[made["kind"] == "refused"])
    # Without those that are empty, which have no types to keep.
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows.astype({"ranks": "int64", "message_bytes": "int64"})
    order = rows.sort_values(["op", "dtype", "ranks", "message_bytes"], kind="stable")
    return order.reset_index(drop=True)[list(COLUMNS)], refused


def costs_of_each(parts: Sequence[pd.DataFrame], ranks: Sequence[int] = (), home: Home | None = None,
                  known: Calibration | None = None) -> tuple[pd.DataFrame, list[Note]]:
    """`costs` of several sets of points, such as one per algorithm, whose names their forecasts then have too."""
    made = [costs(points, ranks, home, known) for points in parts]
    named = [rows.assign(**{name: points[name].iloc[0] for name in _NAMED}) if len(parts) > 1 else rows
             for (rows, _), points in zip(made, parts, strict=True)]
    filled = [rows for rows in named if len(rows)] or named[:1]
    return pd.concat(filled, ignore_index=True), [*dict.fromkeys(note for _, refused in made for note in refused)]


def _chosen(points: pd.DataFrame) -> pd.DataFrame:
    """The points from which the table is made."""
    streamed = preferred(points, "streamed")
    case = [*_CASE, "redop", "traffic"]
    best = streamed.assign(
        _inside=streamed["place"] == "in-place",
        _forced=~streamed["algorithm"].fillna("").str.lower().isin(_DEFAULT) | streamed["protocol"].notna())
    for flag in ("_inside", "_forced"):
        best = best[best[flag] == best.groupby(case, dropna=False)[flag].transform("min")]
    named = [*case, *_NAMED]
    typical = best.groupby(named, dropna=False)["time_s"].transform("median")
    least = typical.groupby([best[name] for name in case], dropna=False).transform("min")
    return best[~best["_forced"] | (typical == least)].drop(columns=["_inside", "_forced"])


def _measured(points: pd.DataFrame) -> pd.DataFrame:
    rows = [_one(same) for _, same in points.groupby(list(_CASE), dropna=False, sort=False)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _one(same: pd.DataFrame) -> dict[str, object]:
    """One measured row from the repeats of a case."""
    middle = same["time_s"].median()
    row = same.iloc[(same["time_s"] - middle).abs().argmin()]
    once = len(same) == 1
    calls = row["repeats"] if pd.notna(row["repeats"]) else row["samples"] * row["calls"]
    known = {name: row[name] for name in COLUMNS if name in same.columns}
    return {**known, "kind": "measured", "time_s": middle,
            "time_lo_s": row["time_lo_s"] if once else same["time_s"].min(),
            "time_hi_s": row["time_hi_s"] if once else same["time_s"].max(),
            "level": 0.95 if once and pd.notna(row["time_lo_s"]) else None, "repeats": calls or None,
            "runs": len(same), "source": row["source"] if isinstance(row["source"], str) else row["run"]}


def _forecast(made: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """One row per case: of several series, such as with other node sizes, the one with the narrowest interval."""
    width = made["time_hi_s"] / made["time_lo_s"]
    best = made.assign(_width=width).sort_values("_width", kind="stable").drop_duplicates(list(_CASE))
    node = points["ranks_per_node"].max()
    best = best.rename(columns=_FORECAST).assign(
        ranks_per_node=best["ranks"].clip(upper=node) if pd.notna(node) else None, source="collbench extrapolate",
        algorithm=None)
    return best.reindex(columns=list(COLUMNS))


def _uneven(points: pd.DataFrame) -> list[Note]:
    if points.empty:
        return []
    ops = ", ".join(sorted(points["op"].unique()))
    return [Note("", f"{len(points)} points of {ops} left out: their times depend on more than ranks and size")]


def _refusals(made: pd.DataFrame) -> list[Note]:
    return [Note(str(op), f"{op} at {', '.join(map(str, sorted(set(rows['ranks']))))} ranks: not forecast: {reason}")
            for (op, reason), rows in made.groupby(["op", "reason"], sort=False)]
