"""Selections that people look at: one series an operation, its table, and the answer in a few rows.

Nothing here is new: every column is one of `tidy.load` or `models.extrapolate`, chosen and laid side by side.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import MODES

from .columns import BY_SOURCE, FABRIC, SHOWN, SIZED, VARIANT

__all__ = ["HEADLINE_OPS", "MODE_OF", "fabrics", "headline", "operation_table", "representative", "with_fabric"]

HEADLINE_OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")
# Which mode answers which question: a call on its own has a latency, a stream of calls has a throughput.
MODE_OF = {"time": "isolated", "busbw": "streamed"}

_MOST_SIZES = 48
_SHOWN = ["time_s", "time_lo_s", "time_hi_s", "p99_s", "algbw_Bps", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps",
          "samples", "flags"]
_OF_RANKS = ["last_rank", "last_share", "overhead_s"]
_VALUES = ("time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps")


def fabrics(points: pd.DataFrame) -> pd.DataFrame:
    """The measured systems, one row each, with `fabric`: the shortest name that tells them apart.

    It is transport and library; of the library only what stands before the first comma if that is enough, and device
    and host where they differ.
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
    """`frame` with the `fabric` of each row from `names` of `fabrics`, sorted by it and in the order of the catalog."""
    named = frame.merge(names, on=[*FABRIC], how="left")
    places = {op: place for place, op in enumerate(OPERATIONS)}      # what other tools have beside it comes after
    order = pd.DataFrame({"fabric": named["fabric"], "op": named["op"].map(places).fillna(len(places))})
    return named.take(order.sort_values(["fabric", "op"], kind="stable").index).reset_index(drop=True)


def representative(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each operation and fabric, the rows of one element type, reduction, place, traffic, algorithm and setting.

    Out-of-place goes before in-place and float32 before the others; then the one most measured. Of very many payloads
    only some are kept, evenly spaced in the logarithm: more than a page can show.
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
    """The sizes, or those nearest to an even spacing in the logarithm, smallest and largest among them."""
    known = np.unique(sizes)
    if len(known) <= _MOST_SIZES:
        return known
    wanted = np.linspace(np.log1p(known[0]), np.log1p(known[-1]), _MOST_SIZES)
    return known[np.unique(np.abs(np.log1p(known) - wanted[:, None]).argmin(axis=1))]


def operation_table(points: pd.DataFrame) -> pd.DataFrame:
    """Points of one operation and fabric with both modes side by side, as `time_s isolated` and `time_s streamed`.

    One row per payload and rank count; both columns are there even where a mode was not measured.
    """
    index = [*SIZED]
    known = points[[*index, *_SHOWN, *_OF_RANKS]].reset_index(drop=True)
    row = known.groupby(index, dropna=False, sort=False).ngroup().to_numpy()
    places = np.full((len(MODES), row.max(initial=-1) + 1), -1)
    for place, mode in zip(places, MODES, strict=True):
        mine = np.nonzero(points["mode"].eq(mode).to_numpy())[0]
        place[row[mine]] = mine                                   # the later one where a mode was measured twice
    first = np.where(places >= 0, places, len(row)).min(axis=0)
    wide = [known[_SHOWN].reindex(place).add_suffix(f" {mode}").reset_index(drop=True)
            for place, mode in zip(places, MODES, strict=True)]
    fixed = known.take(first).reset_index(drop=True)
    return pd.concat([fixed[index], *wide, fixed[_OF_RANKS]], axis=1) \
        .sort_values(["message_bytes", "ranks"], ignore_index=True)


def headline(points: pd.DataFrame, predictions: pd.DataFrame, targets: Sequence[int]) -> pd.DataFrame:
    """The answer in a few rows: latency of the smallest and bandwidth of the largest payload, measured and predicted.

    Long form, one row per fabric, op, quantity (`time` or `busbw`) and rank count: the largest one measured, then
    each target. Columns besides: message_bytes, kind, reason, distance, holdout_error, level, and the values.
    """
    read = [*SHOWN, "ranks", "message_bytes", "asked_bytes", *_VALUES]
    known = _by_case(predictions[[*read, "kind", "reason", "distance", "holdout_error", "level"]])
    rows = [row for quantity, mode in MODE_OF.items()
            for _, group in points.loc[points["mode"] == mode, read].groupby(["fabric", "op"], sort=False)
            for row in _answer(group, known, targets, quantity)]
    columns = ["fabric", "op", "quantity", "ranks", "message_bytes", "kind", "reason", "distance", "holdout_error",
               "level", *_VALUES]
    return pd.DataFrame(rows, columns=columns)


def _by_case(predictions: pd.DataFrame) -> dict[tuple[object, ...], list[dict[str, object]]]:
    """Rows of each case at each rank count, the smallest payload first."""
    found: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for row in predictions.sort_values("message_bytes", kind="stable").to_dict("records"):
        found.setdefault((*_case(row), row["ranks"]), []).append(row)
    return found


def _case(row: dict[str, object]) -> tuple[object, ...]:
    """What a measurement and its prediction have in common; missing is alike to missing."""
    return tuple(row[name] if isinstance(row[name], str) else None for name in SHOWN)


def _answer(group: pd.DataFrame, known: dict[tuple[object, ...], list[dict[str, object]]], targets: Sequence[int],
            quantity: str) -> list[dict[str, object]]:
    """Rows of one fabric, operation and quantity; none where the quantity means nothing."""
    op = group["op"].iloc[0]
    if op == "noop" or (quantity == "busbw" and (op not in OPERATIONS or not OPERATIONS[op].has_payload)):
        return []
    largest = group[group["ranks"] == group["ranks"].max()].sort_values("asked_bytes", kind="stable")
    measured = largest.iloc[0 if quantity == "time" else -1].to_dict()
    rows = [{**measured, "quantity": quantity, "kind": "measured", "distance": 1.0, "level": 0.95}]
    for target in targets:
        there = known.get((*_case(measured), target))
        if there and target != measured["ranks"]:
            rows.append({**min(there, key=lambda row: _apart(row, measured)), "quantity": quantity})
    return rows


def _apart(one: dict[str, object], other: dict[str, object]) -> float:
    """How far payloads are apart; 0 where one is unknown, as that of a refused prediction is."""
    apart = abs(one["message_bytes"] - other["message_bytes"])
    return apart if apart == apart else 0.0
