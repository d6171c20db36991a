"""How the times of the calls of a chosen case are distributed, with what the report says of them marked."""

from collections.abc import Iterator, Sequence

import pandas as pd

from ...frames.samples import Calls
from ...text import units
from .chart import GREY, INK, PALETTE, SHARE, Chart, Spec, calculate, log_y, rows, spec, tooltip
from .lateness import lateness_chart_of

__all__ = ["call_charts"]


def call_charts(chosen: Sequence[Calls]) -> Iterator[Chart]:
    """For every chosen case the distribution of its calls, and where clocks allow the lateness of its ranks."""
    several = len({calls.choice.point["transport"] for calls in chosen}) > 1
    for number, calls in enumerate(chosen, 1):
        point = calls.choice.point
        words = f"{point['label']}, {point['mode']}" + (f", {point['transport']}" if several else "")
        choice = f"{words} ({calls.choice.why})"
        what = "calls" if point["calls"] == 1 else f"samples of {point['calls']} calls each"
        caption = (f"Times of {calls.samples} {what}: {words} (measured). Line and band: the median with its 95 % "
                   "interval.")
        yield Chart(f"calls-{number}", "calls", caption, _distribution(calls), choice)
        late = lateness_chart_of(calls, f"calls-{number}-ranks", words)
        if late is not None:
            yield Chart(late.name, late.section, late.caption, late.spec, choice)


def _distribution(calls: Calls) -> Spec:
    point, times = calls.choice.point, calls.times
    median, low, high = (None if pd.isna(point[name]) else float(point[name])
                         for name in ("time_s", "time_lo_s", "time_hi_s"))
    x = log_y("time_s", "seconds", "time of one call",
              [*times["time_s"], *(value for value in (median, low, high) if value)], aside="x")
    y: Spec = {"field": "share", "type": "quantitative", "title": "calls that took no longer",
               "scale": {"domain": [0, 1]}, "axis": {"labelExpr": SHARE, "tickCount": 5}}
    tip = tooltip(time="time told", calls_no_slower="share told")
    told = [calculate("seconds", "time_s", to="time told"), calculate("share", "share", to="share told")]
    marked: list[Spec] = []
    if low and high:
        ends = tooltip(interval_of_the_median="interval")
        interval = [{"low": low, "high": high, "interval": units.span(units.seconds(low), units.seconds(high))}]
        marked.append({"data": {"values": interval}, "mark": {"type": "rect", "color": GREY, "opacity": 0.3},
                       "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "tooltip": ends}})
    for name, value in (("median", median), ("p99", None if pd.isna(point["p99_s"]) else float(point["p99_s"]))):
        if value:
            told_s = units.seconds(value)
            at = {"data": {"values": [{"time_s": value, "word": f"{name} {told_s}", "told": told_s}]}}
            # One above the plot and one at its foot, so that they never meet; each leans to where there is room.
            right = value > (x["scale"]["domain"][0] * x["scale"]["domain"][1])**0.5
            place = {"align": "right" if right else "left", "dx": -4 if right else 4,
                     **({"y": -6} if name == "median" else {"y": "height", "dy": -10})}
            dash = {} if name == "median" else {"strokeDash": [1, 3], "strokeCap": "round"}
            marked += [{**at, "mark": {"type": "rule", "color": INK, "strokeWidth": 1.5, "opacity": 0.8, **dash},
                        "encoding": {"x": x, "tooltip": tooltip(what="word", time="told")}},
                       {**at, "mark": {"type": "text", "color": INK, "fontStyle": "italic", **place},
                        "encoding": {"x": x, "text": {"field": "word"}}}]
    curve = {"mark": {"type": "line", "interpolate": "step-after", "color": PALETTE[0], "strokeWidth": 2},
             "encoding": {"x": x, "y": y}}
    dots = {"mark": {"type": "point", "filled": True, "size": 22, "color": PALETTE[0], "opacity": 0.9},
            "encoding": {"x": x, "y": y, "tooltip": tip}}
    return spec([*marked, curve, dots], rows(times, ("time_s", "share")), transform=told, height=240)
