"""Selections that people look at: one series an operation, its table, and the answer in a few rows.

Nothing here is new: every column is one of `tidy.load` or `models.extrapolate`, chosen and laid side by side.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collectives.catalog import OPERATIONS
from collectives.records import MODES

__all__ = ["HEADLINE_OPS", "MODE_OF", "fabrics", "headline", "operation_table", "representative", "with_fabric"]

HEADLINE_OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")
# Which mode answers which question: a call on its own has a latency, a stream of calls has a throughput.
MODE_OF = {"time": "isolated", "busbw": "streamed"}

_MOST_SIZES = 48
_SYSTEM = ["system", "transport", "library", "device"]
_VARIANT = ["dtype", "redop", "place", "traffic"]
_NAMED = ["algorithm", "protocol", "variant"]       # by other tools' logs; different curves, never one
_SHOWN = ["time_s", "time_lo_s", "time_hi_s", "p99_s", "algbw_Bps", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps",
          "samples", "flags"]
_VALUES = ("time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps")


def fabrics(points: pd.DataFrame) -> pd.DataFrame:
    """The measured systems, one row each, with `fabric`: the shortest name that tells them apart.

    It is transport and library; of the library only what stands before the first comma if that is enough, and device
    and host where they differ.
    """
    known = points[_SYSTEM].drop_duplicates()
    text = known.fillna("unknown")
    short = text["library"].str.split(",").str[0]
    enough = len({*zip(text["transport"], short, strict=True)}) == len(text[["transport", "library"]].drop_duplicates())
    names = text["transport"] + " (" + (short if enough else text["library"]) + ")"
    for column in ("device", "system"):
        if text[column].nunique() > 1:
            names = names + ", " + text[column]
    return known.assign(fabric=names)


def with_fabric(frame: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the `fabric` of each row from `names` of `fabrics`, sorted by it and in the order of the catalog."""
    named = frame.merge(names, on=_SYSTEM, how="left")
    order = pd.DataFrame({"fabric": named["fabric"], "op": named["op"].map(_place_of)})
    return named.loc[order.sort_values(["fabric", "op"], kind="stable").index].reset_index(drop=True)


def representative(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each operation and fabric, the rows of one element type, reduction, place, traffic, algorithm and setting.

    Out-of-place goes before in-place and float32 before the others; then the one most measured. Of very many payloads
    only some are kept, evenly spaced in the logarithm: more than a page can show.
    """
    chosen = []
    columns = [*_VARIANT, *(name for name in _NAMED if name in frame)]
    for _, rows in frame.groupby(["fabric", "op"], sort=False, dropna=False):
        counts = rows.groupby(columns, dropna=False).size().reset_index(name="rows")
        counts["usual"] = 2 * (counts["place"] == "out-of-place") + (counts["dtype"] == "float32")
        variant = counts.sort_values(["usual", "rows"], ascending=False, kind="stable").iloc[0]
        rows = rows[_alike(rows, variant, columns)]
        chosen.append(rows[rows["asked_bytes"].isin(_some(rows["asked_bytes"]))])
    return pd.concat(chosen) if chosen else frame


def _some(sizes: pd.Series) -> NDArray[np.int64]:
    """The sizes, or those nearest to an even spacing in the logarithm, smallest and largest among them."""
    known = np.unique(sizes)
    if len(known) <= _MOST_SIZES:
        return known
    wanted = np.linspace(np.log1p(known[0]), np.log1p(known[-1]), _MOST_SIZES)
    return known[np.unique(np.abs(np.log1p(known) - wanted[:, None]).argmin(axis=1))]


def _alike(frame: pd.DataFrame, wanted: pd.Series, columns: Sequence[str]) -> pd.Series:
    """Which rows have the values of `wanted` in `columns`; missing is alike to missing."""
    alike = [frame[name].isna() if pd.isna(wanted[name]) else frame[name].eq(wanted[name]) for name in columns]
    return pd.concat(alike, axis=1).all(axis=1)


def operation_table(points: pd.DataFrame) -> pd.DataFrame:
    """Points of one operation and fabric with both modes side by side, as `time_s isolated` and `time_s streamed`.

    One row per payload and rank count; both columns are there even where a mode was not measured.
    """
    index = ["message_bytes", "ranks", *_VARIANT]
    keyed = points.drop_duplicates([*index, "mode"], keep="last")
    wide = [keyed[keyed["mode"] == mode][[*index, *_SHOWN]].rename(columns={name: f"{name} {mode}" for name in _SHOWN})
            for mode in MODES]
    both = wide[0].merge(wide[1], on=index, how="outer")
    shared = keyed.drop_duplicates(index)[[*index, "last_rank", "last_share", "overhead_s"]]
    return both.merge(shared, on=index).sort_values(["message_bytes", "ranks"]).reset_index(drop=True)


def headline(points: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int]) -> pd.DataFrame:
    """The answer in a few rows: latency of the smallest and bandwidth of the largest payload, measured and predicted.

    Long form, one row per fabric, op, quantity (`time` or `busbw`) and rank count: the largest one measured, then
    each target. Columns besides: message_bytes, kind, reason, distance, holdout_error, level, and the values.
    """
    rows = [row for quantity, mode in MODE_OF.items()
            for _, group in points[points["mode"] == mode].groupby(["fabric", "op"], sort=False)
            for row in _answer(group, predictions, targets, quantity)]
    columns = ["fabric", "op", "quantity", "ranks", "message_bytes", "kind", "reason", "distance", "holdout_error",
               "level", *_VALUES]
    return pd.DataFrame(rows, columns=columns)


def _place_of(op: str) -> int:
    """Where `op` stands in the catalog; what other tools have beside it comes after."""
    return list(OPERATIONS).index(op) if op in OPERATIONS else len(OPERATIONS)


def _answer(group: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int],
            quantity: str) -> list[dict[str, object]]:
    """Rows of one fabric, operation and quantity; none where the quantity means nothing."""
    op = group["op"].iloc[0]
    if op == "noop" or (quantity == "busbw" and (op not in OPERATIONS or not OPERATIONS[op].has_payload)):
        return []
    largest = group[group["ranks"] == group["ranks"].max()].sort_values("asked_bytes")
    measured = largest.iloc[0 if quantity == "time" else -1]
    same = _alike(predictions, measured, ["fabric", "op", "mode", *_VARIANT])
    rows = [{**measured.to_dict(), "quantity": quantity, "kind": "measured", "distance": 1.0, "level": 0.95}]
    for target in targets:
        there = predictions[same & predictions["ranks"].eq(target)].sort_values("message_bytes")
        if len(there) and target != measured["ranks"]:
            nearest = there["message_bytes"].sub(measured["message_bytes"]).abs().fillna(0).to_numpy().argmin()
            rows.append({**there.iloc[nearest].to_dict(), "quantity": quantity})
    return rows
