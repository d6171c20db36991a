"""What charts of measured and predicted curves share: the quantity on the y axis, lines, dots, intervals, tooltips.

Their data have the columns of the quantities, `kind` (measured, extrapolated, ...), `fabric`, `ranks`, `message_bytes`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from .chart import DOT_LEGEND, PALETTE, Spec, calculate, only, tooltip

__all__ = ["COLUMNS", "QUANTITIES", "PlottedQuantity", "curve", "dots", "extent", "fitted_curve", "intervals",
           "named", "texts"]

_DASH = [5, 4]
_MOST_BAND = 5.0        # the y axis goes this factor beyond the values for the sake of intervals


class PlottedQuantity(NamedTuple):
    """What the y axis shows."""

    name: str
    kind: str
    columns: tuple[str, str, str]
    words: str
    axis: str


QUANTITIES = (
    PlottedQuantity("time", "seconds", ("time_s", "time_lo_s", "time_hi_s"), "Time", "time of one call"),
    PlottedQuantity("busbw", "rate", ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"), "Bus bandwidth",
              "bus bandwidth"),
)
COLUMNS = ("fabric", "ranks", "message_bytes", "kind", *(name for one in QUANTITIES for name in one.columns))


def extent(shown: pd.DataFrame, quantity: PlottedQuantity) -> list[float]:
    """What the y axis covers: every value, and of the intervals as much as leaves the values readable."""
    value, low, high = (shown[name].astype(float) for name in quantity.columns)
    return [*value, *low.clip(lower=value.min() / _MOST_BAND), *high.clip(upper=value.max() * _MOST_BAND)]


def intervals(encoding: Spec, quantity: PlottedQuantity) -> Spec:
    """95 % confidence intervals of what was measured; `encoding` has x, y and color."""
    _, low, high = quantity.columns
    return {"mark": {"type": "rule", "opacity": 0.7, "strokeWidth": 1.5},
            "transform": only("datum.kind == 'measured'", f"isValid(datum.{low}) && isValid(datum.{high})"),
            "encoding": {**encoding, "y": {**encoding["y"], "field": low}, "y2": {"field": high},
                         "tooltip": _tip(quantity)}}


def curve(encoding: Spec, *kinds: str) -> Spec:
    """A line through the rows of `kinds`, dashed unless they are measured."""
    dash = {} if "measured" in kinds else {"strokeDash": _DASH}
    return {"mark": {"type": "line", "strokeWidth": 1.6, **dash},
            "transform": only(" || ".join(f"datum.kind == '{kind}'" for kind in kinds)), "encoding": encoding}


def fitted_curve(encoding: Spec) -> Spec:
    """The fitted model; without dots, since its sampling points mean nothing."""
    return {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6, "strokeDash": [2, 2]},
            "transform": only("datum.kind == 'line'"), "encoding": encoding}


def dots(encoding: Spec, quantity: PlottedQuantity) -> Spec:
    """Filled where measured, hollow where extrapolated."""
    fill = {"condition": {"test": "datum.kind == 'measured'", "value": 1}, "value": 0}
    return {"mark": {"type": "point", "size": 42, "filled": False, "strokeWidth": 1.4, "opacity": 1},
            "transform": only("datum.kind != 'joint'", "datum.kind != 'line'"),
            "encoding": {**encoding, "fill": encoding["color"], "fillOpacity": fill, "tooltip": _tip(quantity)}}


def texts() -> list[Spec]:
    """Transforms that format what the tooltips show."""
    formatted = [calculate("size", "message_bytes", to="size text")]
    for quantity in QUANTITIES:
        value, low, high = quantity.columns
        formatted += [calculate(quantity.kind, value, to=f"{quantity.name} text"),
                  calculate(quantity.kind, value, low, high, to=f"{quantity.name} interval")]
    level = {"calculate": "datum.kind == 'measured' ? '95 %, of the median' : '90 %'", "as": "level"}
    return [*formatted, level]


def _tip(quantity: PlottedQuantity) -> list[Spec]:
    fields = {"figure": "kind", "fabric": "fabric", "ranks": "ranks", "message_size": "size text"}
    for other in (quantity, *(one for one in QUANTITIES if one is not quantity)):
        fields |= {other.name: f"{other.name} text", f"interval_of_{other.name}": f"{other.name} interval"}
    return tooltip(**fields, intervals="level")


def named(field: str, title: str, order: Sequence[str]) -> Spec:
    """Colour by name, in this order."""
    return {"field": field, "type": "nominal", "title": title, "sort": list(order), "legend": DOT_LEGEND,
            "scale": {"domain": list(order), "range": list(PALETTE)}}
