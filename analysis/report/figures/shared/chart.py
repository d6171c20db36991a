"""Building blocks of charts: Vega-Lite specifications, axes, colours and tooltips.

Data stay in SI units; axes and tooltips convert in the chart. Colours are Okabe and Ito's, chosen for colour-blind
readers.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...vega import VEGALITE

__all__ = ["DOT_LEGEND", "GREY", "INK", "PALETTE", "RATE", "SECONDS", "SHARE", "SIZE", "Chart", "Spec",
           "axis_x_size", "calculate", "log_y", "only", "rows", "spec", "tooltip"]

Spec = dict[str, Any]

# Without Okabe and Ito's yellow and black: each vanishes on a white or on a dark page.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
GREY, INK = "#888888", "currentColor"
DOT_LEGEND = {"symbolType": "circle", "symbolOpacity": 1, "symbolStrokeWidth": 0}
_SCHEMA = f"https://vega.github.io/schema/vega-lite/v{VEGALITE.partition('.')[0]}.json"
_HEIGHT = 280
_DIGITS = 4
_FEW_ROWS = 20                 # fewer are embedded as objects
_UNITS = {
    "seconds": ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (math.inf, 1.0, "s")),
    "rate": ((1e6, 1e-3, "kB/s"), (1e9, 1e-6, "MB/s"), (1e12, 1e-9, "GB/s"), (math.inf, 1e-12, "TB/s")),
    "size": ((1024, 1.0, "B"), (1 << 20, 1 / 1024, "KiB"), (1 << 30, 1 / (1 << 20), "MiB"),
             (math.inf, 1 / (1 << 30), "GiB")),
    "share": ((math.inf, 100.0, "%"),),
}


@dataclass(frozen=True)
class Chart:
    """One chart.

    Args:
        name: that of its files.
        section: the part of the page it stands in: an operation, or the key of a `Section`.
        caption: what it shows, and whether that was measured, extrapolated or projected.
        data: every number in it, at full precision; written beside it as CSV.
        choice: its name where a reader chooses one set of charts of several.
        variant: (name of the chart that stands for all variants, its own label) where a reader chooses one of several
            charts in one place, the first of which is shown.
    """

    name: str
    section: str
    caption: str
    spec: Spec
    data: pd.DataFrame
    choice: str | None = None
    variant: tuple[str, str] | None = None


def _expression(kind: str, value: str) -> str:
    """A Vega expression that formats `value` with three digits and a unit."""
    words = "'unknown'"
    for below, factor, unit in reversed(_UNITS[kind]):
        text = f"format({value} * {factor!r}, '.3~r') + ' {unit}'"
        words = text if below == math.inf else f"{value} < {below!r} ? {text} : {words}"
    return f"{value} == 0 ? '0' : {words}" if kind != "share" else words


SECONDS, RATE, SIZE, SHARE = (_expression(kind, "datum.value") for kind in ("seconds", "rate", "size", "share"))


def calculate(kind: str, name: str, low: str | None = None, high: str | None = None, to: str = "") -> Spec:
    """A transform that formats a number, or an interval where `low` and `high` are given, as the field `to`."""
    def formatted(field: str) -> str:
        return f"isValid(datum.{field}) ? ({_expression(kind, f'datum.{field}')}) : 'unknown'"
    if low is None or high is None:
        return {"calculate": formatted(name), "as": to or f"{name} text"}
    both = f"isValid(datum.{low}) ? ({formatted(low)}) + ' to ' + ({formatted(high)}) : 'unknown'"
    return {"calculate": both, "as": to or f"{name} interval"}


def tooltip(**fields: str) -> list[Spec]:
    """Tooltip entries, title=field; _ in a title becomes a space."""
    return [{"field": field, "title": title.replace("_", " "), "type": "nominal"} for title, field in fields.items()]


def rows(frame: pd.DataFrame, columns: Sequence[str]) -> list[Spec]:
    """The columns of a frame as objects, rounded to four significant digits; None where unknown."""
    names = [name for name in columns if name in frame.columns]
    lists = [[_plain(value) for value in frame[name].tolist()] for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or value is pd.NA:
        return None
    return _plain(value.item()) if hasattr(value, "item") else value


def only(test: str, *more: str) -> list[Spec]:
    """Transforms that keep the rows for which every Vega expression is true."""
    return [{"filter": expression} for expression in (test, *more)]


def axis_x_size(sizes: Iterable[float]) -> Spec:
    """The x channel of charts over message size."""
    known = sorted(sizes)
    return {"field": "message_bytes", "type": "quantitative", "title": "message size",
            "scale": {"type": "log", "base": 2, "nice": False, "domain": _around(known[0], known[-1], 1.08)},
            "axis": {"labelExpr": SIZE, "values": _powers(known[0], known[-1]), "labelOverlap": True,
                     "labelSeparation": 8, "grid": False}}


def log_y(field: str, kind: str, title: str, values: Iterable[float], *, aside: str = "y") -> Spec:
    """A logarithmic channel for `field`, in seconds or as a rate, wide enough for all `values`."""
    known = [float(value) for value in values if value and value > 0 and math.isfinite(value)]
    low, high = _around(min(known), max(known), 1.08)
    axis: Spec = {"labelExpr": SECONDS if kind == "seconds" else RATE, "values": _ticks(low, high)}
    if aside == "x":
        axis |= {"labelOverlap": True, "labelSeparation": 8}
    return {"field": field, "type": "quantitative", "title": title, "axis": axis,
            "scale": {"type": "log", "nice": False, "domain": [low, high], "clamp": True}}


def _around(low: float, high: float, margin: float) -> list[float]:
    """A domain that is never empty."""
    if high <= low * 1.001:
        low, high = low / 2, high * 2
    return [low / margin, high * margin]


def _powers(low: float, high: float) -> list[int]:
    """Powers of 2, 4, 8 or so between the smallest and the largest size, with the last one, at most ten."""
    first, last = max(0, math.ceil(math.log2(max(low, 1)) - 1e-9)), math.floor(math.log2(max(high, 1)) + 1e-9)
    step = max(1, -(-(last - first) // 9))
    return [1 << power for power in range(last, first - 1, -step)][::-1] or [int(low)]


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the ends, with multiples such as 2 and 5 where there are few: three to eight."""
    decades = math.log10(high / low)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil(decades / 7))
    digits: tuple[float, ...] = (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.2 else (1,)
    if decades < 0.5:
        digits = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    found = [digit * 10.0**power for power in range(first, last + 1, step) for digit in digits]
    inside = [float(f"{value:.3g}") for value in found if low <= value <= high]
    return inside if len(inside) > 1 else [float(f"{low * (high / low)**share:.3g}") for share in (0.1, 0.5, 0.9)]


def spec(layers: Sequence[Spec], data: Sequence[Spec] | None = None, height: int = _HEIGHT, **more: object) -> Spec:
    """A layered chart over shared data, as wide as its container."""
    whole: Spec = {"$schema": _SCHEMA, "width": "container", "height": height, **more, "layer": list(layers)}
    return whole | {"data": _table(data)} if data is not None else whole


def _table(data: Sequence[Spec]) -> Spec:
    """Rows as inline data; many as CSV, which does not repeat the column names."""
    if len(data) < _FEW_ROWS:
        return {"values": list(data)}
    names = list(data[0])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["" if row[name] is None else row[name] for name in names] for row in data])
    numbers = [name for name in names if not any(isinstance(row[name], str) for row in data)]
    return {"values": text.getvalue(), "format": {"type": "csv", "parse": dict.fromkeys(numbers, "number")}}
