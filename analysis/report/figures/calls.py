"""The calls of chosen cases: the distribution of their times, and how late each rank was."""

from collections.abc import Iterator

import pandas as pd

from ...text import units
from ..sampled_calls import Calls
from ..story import Story
from .shared.chart import (
    DOT_LEGEND,
    GREY,
    INK,
    PALETTE,
    SECONDS,
    SHARE,
    Chart,
    Spec,
    calculate,
    log_y,
    rows,
    spec,
    tooltip,
)
from .shared.ranks import MOST_LABELS, rank_axis
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION = Section("calls", "Calls of one case", "calls of one case", 30)
_KINDS = {"begin": "arrives", "end": "finishes"}


def build(story: Story) -> Iterator[Chart]:
    """For every chosen case the distribution of its calls and, where clocks allow, the lateness of its ranks."""
    chosen = story.page.calls if story.page is not None else ()
    several = len({calls.choice.point["transport"] for calls in chosen}) > 1
    for number, calls in enumerate(chosen, 1):
        point = calls.choice.point
        words = f"{point['label']}, {point['mode']}" + (f", {point['transport']}" if several else "")
        choice = f"{words} ({calls.choice.why})"
        what = "calls" if point["calls"] == 1 else f"samples of {point['calls']} calls each"
        caption = (f"Times of {calls.samples} {what}: {words} (measured). Line and band: the median with its 95 % "
                   "confidence interval.")
        marks = point[["time_s", "time_lo_s", "time_hi_s", "p99_s"]].to_frame().T.assign(kind="median, interval, p99")
        data = pd.concat([calls.times.assign(kind="call"), marks])
        yield Chart(f"calls-{number}", SECTION.key, caption, _distribution(calls), data, choice)
        if calls.lateness is not None:
            caption = (f"How long after the first rank each one arrives and finishes: {words}; median and 5 to 95 % of "
                       "calls (measured).")
            table = calls.lateness.assign(kind=calls.lateness["kind"].map(_KINDS))
            yield Chart(f"calls-{number}-ranks", SECTION.key, caption, _lateness(table), table, choice)


def _distribution(calls: Calls) -> Spec:
    point, times = calls.choice.point, calls.times
    median, low, high = (None if pd.isna(point[name]) else float(point[name])
                         for name in ("time_s", "time_lo_s", "time_hi_s"))
    x = log_y("time_s", "seconds", "time of one call",
              [*times["time_s"], *(value for value in (median, low, high) if value)], aside="x")
    y: Spec = {"field": "share", "type": "quantitative", "title": "calls that took no longer",
               "scale": {"domain": [0, 1]}, "axis": {"labelExpr": SHARE, "tickCount": 5}}
    tip = tooltip(time="time text", calls_no_slower="share text")
    texts = [calculate("seconds", "time_s", to="time text"), calculate("share", "share", to="share text")]
    marked: list[Spec] = []
    if low and high:
        ends = tooltip(interval_of_the_median="interval")
        interval = [{"time_lo_s": low, "time_hi_s": high,
                     "interval": units.span(units.seconds(low), units.seconds(high))}]
        marked.append({"data": {"values": interval}, "mark": {"type": "rect", "color": GREY, "opacity": 0.3},
                       "encoding": {"x": {**x, "field": "time_lo_s"}, "x2": {"field": "time_hi_s"}, "tooltip": ends}})
    for name, value in (("median", median), ("p99", None if pd.isna(point["p99_s"]) else float(point["p99_s"]))):
        if value:
            text = units.seconds(value)
            at: Spec = {"data": {"values": [{"time_s": value, "label": f"{name} {text}", "text": text}]}}
            # One above the plot and one at its foot, so that they never overlap; each extends to where there is room.
            right = value > (x["scale"]["domain"][0] * x["scale"]["domain"][1])**0.5
            place: Spec = {"align": "right" if right else "left", "dx": -4 if right else 4,
                     **({"y": -6} if name == "median" else {"y": "height", "dy": -10})}
            dash: Spec = {} if name == "median" else {"strokeDash": [1, 3], "strokeCap": "round"}
            marked += [{**at, "mark": {"type": "rule", "color": INK, "strokeWidth": 1.5, "opacity": 0.8, **dash},
                        "encoding": {"x": x, "tooltip": tooltip(what="label", time="text")}},
                       {**at, "mark": {"type": "text", "color": INK, "fontStyle": "italic", **place},
                        "encoding": {"x": x, "text": {"field": "label"}}}]
    curve = {"mark": {"type": "line", "interpolate": "step-after", "color": PALETTE[0], "strokeWidth": 2},
             "encoding": {"x": x, "y": y}}
    dots = {"mark": {"type": "point", "filled": True, "size": 22, "color": PALETTE[0], "opacity": 0.9},
            "encoding": {"x": x, "y": y, "tooltip": tip}}
    return spec([*marked, curve, dots], rows(times, ("time_s", "share")), transform=texts, height=240)


def _lateness(table: pd.DataFrame) -> Spec:
    """How long after the first rank each one arrived and finished in the calls of one case."""
    few = table["rank"].nunique() <= 2 * MOST_LABELS
    x = rank_axis(table["rank"].nunique())
    offset: Spec = {"xOffset": {"field": "kind", "type": "nominal", "sort": ["arrives", "finishes"]}} if few else {}
    y: Spec = {"field": "mid_s", "type": "quantitative", "title": "time after the first rank",
               "axis": {"labelExpr": SECONDS, "tickCount": 5}}
    colour: Spec = {"field": "kind", "type": "nominal", "title": None, "sort": ["arrives", "finishes"],
              "scale": {"domain": ["arrives", "finishes"], "range": [PALETTE[1], PALETTE[0]]},
              "legend": DOT_LEGEND}
    tip = tooltip(rank="rank", what="kind", median="mid text", from_5_to_95_percent="range text")
    texts = [calculate("seconds", "mid_s", to="mid text"),
            calculate("seconds", "mid_s", "lo_s", "hi_s", to="range text")]
    base: Spec = {"x": x, **offset, "color": colour, "tooltip": tip}
    return spec([
        {"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.8 if few else 0.2},
         "encoding": {**base, "y": {**y, "field": "lo_s"}, "y2": {"field": "hi_s"}}},
        {"mark": {"type": "point", "filled": True, "size": 46 if few else 14, "opacity": 1},
         "encoding": {**base, "y": y}}],
        rows(table, ("rank", "kind", "lo_s", "mid_s", "hi_s")), transform=texts, height=240)
