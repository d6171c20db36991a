"""The chart of the first screen: bus bandwidth of one operation over message size, the normal range, and bounds.

Its title is the verdict. The axis is linear, because the chart answers how near the plateau is to what it should be;
the same curve on logarithmic axes is with its operation.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pandas as pd

from collbench.collectives.errors import UsageError

from ...assess.ceilings import BETWEEN, DEVICE_MEMORY, LINK, MEMORY
from ...text import units
from ..answer import Result
from ..answer_words import headline_words
from ..story import Story
from .links import link_charts
from .shared.chart import (
    GREY,
    INK,
    PALETTE,
    RATE,
    Chart,
    Spec,
    axis_x_size,
    calculate,
    only,
    rows,
    spec,
    tooltip,
)
from .shared.section import Section

__all__ = ["SECTION", "build", "headline_chart"]

SECTION = Section("headline", "Answer", "answer", 0)
_BOUNDS = {LINK: "link rate", BETWEEN: "network cards", MEMORY: "memory bound", DEVICE_MEMORY: "device memory"}
_BASES = {"published": "published runs", "baseline": "baseline"}
_IN_SIGHT = 2.5         # a bound further above what was measured than this factor would flatten the curve
_LABEL = 0.3            # share of the width that the name of the band takes
_SLOW = 0.8             # a run below this share of the median of the runs is named
_ROOM = 1.12            # above the highest line, for its label
_HEIGHT = 300
_COLUMNS = ("kind", "run", "ranks", "message_bytes", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "time_s",
            "expected_lo_Bps", "expected_hi_Bps", "percentile", "reference_runs", "label")


def build(story: Story) -> Iterator[Chart]:
    """The chart of the first headline result that has a bandwidth, or else the first map of links."""
    result = next((one for one in story.answer.results if one.busbw_Bps), None)
    if result is not None:
        yield _chart(story.shown, result)
    else:
        yield from (replace(chart, name="headline-links", section=SECTION.key)
                    for chart in islice(link_charts(story.links), 1))


def headline_chart(story: Story, op: str) -> Chart:
    """The same chart of another operation.

    Raises:
        UsageError: no bandwidth of `op` was measured.
    """
    known = [result for result in story.answer.results if result.busbw_Bps]
    result = next((one for one in known if one.op == op), None)
    if result is None:
        there = ", ".join(dict.fromkeys(one.op for one in known)) or "none"
        raise UsageError(f"no bandwidth of {op} was measured; operations with one: {there}")
    return _chart(story.shown, result)


def _chart(shown: pd.DataFrame, result: Result) -> Chart:
    own = shown[shown["op"].eq(result.op) & shown["fabric"].eq(result.fabric) & shown["mode"].eq(result.mode)
                & shown["ranks"].eq(result.ranks) & (shown["message_bytes"] > 0) & (shown["busbw_Bps"] > 0)]
    own = own.sort_values("message_bytes", kind="stable").assign(kind="measured")
    band = own[own["expected_lo_Bps"].notna()].drop_duplicates("message_bytes").assign(kind="expected")
    top = float(own["busbw_hi_Bps"].fillna(own["busbw_Bps"]).max())
    if len(band):
        top = max(top, float(band["expected_hi_Bps"].max()))
    bounds = _bounds(own)
    near = bounds[bounds["busbw_Bps"] <= top * _IN_SIGHT]
    top = max([top, *near["busbw_Bps"]]) * _ROOM
    x = axis_x_size(own["message_bytes"])
    y: Spec = {"field": "busbw_Bps", "type": "quantitative", "title": "bus bandwidth",
               "scale": {"domain": [0, top], "nice": False}, "axis": {"labelExpr": RATE, "tickCount": 6}}
    layers = [*_band_layers(band, x, y), *_bound_layers(near, own, x, y), *_measured_layers(own, result, x, y)]
    data = pd.concat([frame.reindex(columns=list(_COLUMNS)).astype(object)
                      for frame in (own, band, bounds) if len(frame)], ignore_index=True)
    return Chart(f"headline-{result.op}", SECTION.key, headline_words(result),
                 spec(layers, rows(own.reindex(columns=list(_COLUMNS)), _COLUMNS), _HEIGHT, transform=[
                     calculate("size", "message_bytes", to="size text"), calculate("rate", "busbw_Bps", to="rate text"),
                     calculate("rate", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", to="rate interval"),
                     calculate("seconds", "time_s", to="time text")]), data)


def _bounds(own: pd.DataFrame) -> pd.DataFrame:
    """Each distinct bound: one for a link, and another one where switches reduce; of memory the largest over size."""
    known = own[own["ceiling_Bps"].notna()]
    found = []
    for (kind, switched), some in known.groupby(["ceiling_kind", known["wire_Bps"].notna()], sort=False):
        bound = float(some["ceiling_Bps"].max())
        assumed = some["ceiling_assumes"].iloc[-1]
        name = assumed if isinstance(assumed, str) and assumed else _BOUNDS[str(kind)]
        name += " where switches reduce" if switched else ""
        found.append({"kind": "ceiling", "busbw_Bps": bound, "label": f"{name}: {units.rate(bound)}"})
    return pd.DataFrame(found, columns=["kind", "busbw_Bps", "label"])


def _band_layers(band: pd.DataFrame, x: Spec, y: Spec) -> list[Spec]:
    """The range that counts as normal, named left of where it has risen halfway, or inside where it starts high."""
    if band.empty:
        return []
    table = rows(band, ("message_bytes", "expected_lo_Bps", "expected_hi_Bps"))
    area: Spec = {"data": {"values": table}, "mark": {"type": "area", "color": PALETTE[2], "opacity": 0.22},
                  "encoding": {"x": x, "y": {**y, "field": "expected_lo_Bps"}, "y2": {"field": "expected_hi_Bps"}}}
    basis = str(band["basis"].iloc[-1])
    halfway = next(row for row in table if row["expected_hi_Bps"] >= max(one["expected_hi_Bps"] for one in table) / 2)
    left, right = (math.log(end) for end in x["scale"]["domain"])
    if math.log(halfway["message_bytes"]) - left > _LABEL * (right - left):
        field, place = "expected_hi_Bps", {"align": "right", "dx": -8}
    else:
        field, place = "expected_lo_Bps", {"align": "left", "dx": 6, "dy": -6}
    name: Spec = {"data": {"values": [halfway | {"label": f"normal: {_BASES.get(basis, basis)}"}]},
                  "mark": {"type": "text", "color": INK, "baseline": "bottom", **place},
                  "encoding": {"x": x, "y": {**y, "field": field}, "text": {"field": "label"}}}
    return [area, name]


def _bound_layers(bounds: pd.DataFrame, own: pd.DataFrame, x: Spec, y: Spec) -> list[Spec]:
    """A dotted line across the chart for each bound, named at its left end."""
    if bounds.empty:
        return []
    table = rows(bounds.assign(message_bytes=int(own["message_bytes"].min())), ("message_bytes", "busbw_Bps", "label"))
    return [{"data": {"values": table}, "mark": {"type": "rule", "color": INK, "opacity": 0.75, "strokeDash": [2, 4],
                                                 "strokeWidth": 2}, "encoding": {"y": y}},
            {"data": {"values": table}, "mark": {"type": "text", "color": INK, "align": "left", "baseline": "bottom",
                                                 "dy": -4},
             "encoding": {"x": x, "y": y, "text": {"field": "label"}}}]


def _measured_layers(own: pd.DataFrame, result: Result, x: Spec, y: Spec) -> list[Spec]:
    """A line for each run with the 95 % confidence intervals of its points; the result itself is named."""
    tip = tooltip(message_size="size text", busbw="rate text", interval="rate interval", time="time text",
                  percentile="percentile", of_runs="reference_runs", run="run")
    several = own["message_bytes"].duplicated().any()
    colour = PALETTE[0]
    base: Spec = {"x": x, "y": y, "detail": {"field": "run"}}
    last = own[own["message_bytes"] == result.message_bytes]
    here = last[last["busbw_Bps"] == result.busbw_Bps].tail(1)
    name: Spec = {"data": {"values": rows(here.assign(label=units.rate(result.busbw_Bps)),
                                          ("message_bytes", "busbw_Bps", "label"))}}
    slow = last[last["busbw_Bps"] < _SLOW * last["busbw_Bps"].median()]
    outliers: Spec = {"data": {"values": rows(slow.assign(label=slow["source"].fillna(slow["run"])),
                                              ("message_bytes", "busbw_Bps", "label"))},
                      "mark": {"type": "text", "color": INK, "align": "right", "baseline": "bottom", "dx": -4,
                               "dy": -6},
                      "encoding": {"x": x, "y": y, "text": {"field": "label"}}}
    return [
        {"mark": {"type": "rule", "color": colour, "strokeWidth": 2, "opacity": 0.7},
         "transform": only("isValid(datum.busbw_lo_Bps) && isValid(datum.busbw_hi_Bps)"),
         "encoding": {"x": x, "y": {**y, "field": "busbw_lo_Bps"}, "y2": {"field": "busbw_hi_Bps"}, "tooltip": tip}},
        {"mark": {"type": "line", "color": colour, "strokeWidth": 1 if several else 2.2}, "encoding": base},
        {"mark": {"type": "point", "filled": True, "color": colour, "size": 45, "opacity": 1},
         "encoding": {**base, "tooltip": tip}},
        {**name, "mark": {"type": "point", "filled": False, "color": GREY, "size": 190, "strokeWidth": 2, "opacity": 1},
         "encoding": {"x": x, "y": y}},
        {**name, "mark": {"type": "text", "color": INK, "fontWeight": "bold", "align": "right", "baseline": "bottom",
                          "dx": -4, "dy": -9}, "encoding": {"x": x, "y": y, "text": {"field": "label"}}},
        *([outliers] if len(slow) else [])]
