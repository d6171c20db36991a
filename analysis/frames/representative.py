"""Select what tables and figures show: one series per operation, its table, and the headline rows.

No column is computed here: each is one of `frames.load` or `forecast.extrapolate`.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import MODES

from .columns import BY_SOURCE, FABRIC, SHOWN, SIZED, VARIANT

__all__ = ["HEADLINE_OPS", "MODE_OF", "Predicted", "fabrics", "headline", "operation_table", "representative",
           "with_fabric"]

HEADLINE_OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")
# A single call shows latency, back-to-back calls show throughput.
MODE_OF = {"time": "isolated", "busbw": "streamed"}

Row = Mapping[Hashable, Any]

_MOST_SIZES = 48
_SHOWN = ["time_s", "time_lo_s", "time_hi_s", "p99_s", "algbw_Bps", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps",
          "samples", "flags"]
_OF_RANKS = ["last_rank", "last_share", "overhead_s"]
_VALUES = ("time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps")


def fabrics(points: pd.DataFrame) -> pd.DataFrame:
    """The measured systems, one row each, with `fabric`: the shortest unambiguous name.

    It is the transport and the library, shortened at its first comma if that is unambiguous; plus device and host where
    they differ.
    """
    known = points[[*FABRIC]].drop_duplicates()
    text = known.fillna("unknown")
    short = text["library"].str.split(",").str[0]
    enough = len({*zip(text["transport"], short, strict=True)}) == len(text[["transport", "library"]].drop_duplicates())
    names = text["transport"] + " (" + (short if enough else text["library"]) + ")"
    for column in ("device", "system"):
        if text[column].nunique() > 1:
            names = names + ", " + text[column]
    return known.assign(fabric=names)


def with_fabric(frame: pd.DataFrame, names: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the column `fabric` from `fabrics`, sorted by fabric and then in catalog order."""
    named = frame.merge(names, on=[*FABRIC], how="left")
    places = {op: place for place, op in enumerate(OPERATIONS)}      # operations of other tools come last
    order = pd.DataFrame({"fabric": named["fabric"], "op": named["op"].map(places).fillna(len(places))})
    return named.loc[order.sort_values(["fabric", "op"], kind="stable").index].reset_index(drop=True)


def representative(frame: pd.DataFrame) -> pd.DataFrame:
    """Per operation and fabric, the rows of one element type, reduction, place, traffic, algorithm and setting.

    Out-of-place is preferred to in-place and float32 to other types, then the variant with the most rows. Many message
    sizes are thinned to an even spacing in the logarithm.
    """
    keys, variant = ["fabric", "op"], [*VARIANT, *(name for name in BY_SOURCE if name in frame)]
    each = frame.groupby([*keys, *variant], dropna=False)
    counts = each.size().reset_index(name="rows")
    counts["usual"] = 2 * (counts["place"] == "out-of-place") + (counts["dtype"] == "float32")
    usual = counts.sort_values(["usual", "rows"], ascending=False, kind="stable").drop_duplicates(keys)
    chosen = frame[each.ngroup().isin(usual.index)]
    sizes = chosen.groupby(keys, dropna=False, sort=False)["asked_bytes"]
    return chosen[sizes.transform(lambda asked: asked.isin(_some(asked))).astype(bool)]


def _some(sizes: pd.Series) -> NDArray[np.int64]:
    """All sizes if few; else those nearest to an even logarithmic spacing, including the smallest and largest."""
    known = np.unique(sizes.to_numpy(np.int64))
    if len(known) <= _MOST_SIZES:
        return known
    wanted = np.linspace(np.log1p(known[0]), np.log1p(known[-1]), _MOST_SIZES)
    nearest = np.abs(np.log1p(known) - wanted[:, None]).argmin(axis=1)
    return np.asarray(known[np.unique(nearest)], np.int64)


def operation_table(points: pd.DataFrame) -> pd.DataFrame:
    """Points of one operation and fabric with both modes side by side, as `time_s isolated` and `time_s streamed`.

    One row per message size and rank count; both columns exist even if one mode was not measured.
    """
    index = [*SIZED]
    known = points[[*index, *_SHOWN, *_OF_RANKS]].reset_index(drop=True)
    row = known.groupby(index, dropna=False, sort=False).ngroup().to_numpy()
    places = np.full((len(MODES), row.max(initial=-1) + 1), -1)
    for place, mode in zip(places, MODES, strict=True):
        mine = np.nonzero(points["mode"].eq(mode).to_numpy())[0]
        place[row[mine]] = mine                                   # the later of two measurements of one mode
    first = np.where(places >= 0, places, len(row)).min(axis=0)
    wide = [known[_SHOWN].reindex(place).add_suffix(f" {mode}").reset_index(drop=True)
            for place, mode in zip(places, MODES, strict=True)]
    fixed = known.take(first).reset_index(drop=True)
    return pd.concat([fixed[index], *wide, fixed[_OF_RANKS]], axis=1) \
        .sort_values(["message_bytes", "ranks"], ignore_index=True)


def headline(points: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int]) -> pd.DataFrame:
    """The answer in a few rows: latency of the smallest and bandwidth of the largest size, measured and predicted.

    Long form, one row per fabric, op, quantity (`time` or `busbw`) and rank count: the largest one measured, then
    each target. Further columns: message_bytes, kind, reason, distance, holdout_error, level, track_record, and
    the values.
    """
    read = [*SHOWN, "ranks", "message_bytes", "asked_bytes", *_VALUES]
    known = Predicted(predictions)
    rows = [row for quantity, mode in MODE_OF.items()
            for _, group in points.loc[points["mode"] == mode, read].groupby(["fabric", "op"], sort=False)
            for row in _answer(group, known, targets, quantity)]
    columns = ["fabric", "op", "quantity", "ranks", "message_bytes", "kind", "reason", "distance", "holdout_error",
               "level", "track_record", *_VALUES]
    return pd.DataFrame(rows, columns=columns)


class Predicted:
    """Predictions by case and rank count; the frame is one of `forecast.extrapolate` with the column `fabric`."""

    def __init__(self, predictions: pd.DataFrame) -> None:
        self._rows: dict[tuple[object, ...], list[Row]] = {}
        read = [*SHOWN, "ranks", "message_bytes", "asked_bytes", *_VALUES, "kind", "reason", "distance",
                "holdout_error", "level", "track_record"]
        for row in predictions[read].sort_values("message_bytes", kind="stable").to_dict("records"):
            self._rows.setdefault((*self._case(row), row["ranks"]), []).append(row)

    def at(self, measured: Row, ranks: int) -> Row | None:
        """The prediction for a measured row at `ranks` ranks, of the nearest message size; None if there is none."""
        there = self._rows.get((*self._case(measured), ranks), [])
        return min(there, key=lambda row: _apart(row, measured), default=None)

    @staticmethod
    def _case(row: Row) -> tuple[object, ...]:
        """The key that a measurement shares with its predictions; unknown equals unknown."""
        return tuple(row[name] if isinstance(row[name], str) else None for name in SHOWN)


def _answer(group: pd.DataFrame, known: Predicted, targets: Sequence[int], quantity: str) -> list[Row]:
    """Rows of one fabric, operation and quantity; none if the quantity is meaningless for the operation."""
    op = group["op"].iloc[0]
    if op == "noop" or (quantity == "busbw" and (op not in OPERATIONS or not OPERATIONS[op].has_payload)):
        return []
    largest = group[group["ranks"] == group["ranks"].max()].sort_values("asked_bytes", kind="stable")
    measured = largest.iloc[0 if quantity == "time" else -1].to_dict()
    rows: list[Row] = [{**measured, "quantity": quantity, "kind": "measured", "distance": 1.0, "level": 0.95}]
    for target in targets:
        there = known.at(measured, target)
        if there and target != measured["ranks"]:
            rows.append({**there, "quantity": quantity})
    return rows


def _apart(one: Row, other: Row) -> float:
    """Difference of the message sizes; 0 if one is unknown, as in a refused prediction."""
    apart = abs(float(one["message_bytes"]) - float(other["message_bytes"]))
    return 0.0 if math.isnan(apart) else apart
