"""Exchanges between experts: time over the bytes that the busiest rank sends or receives, by routing."""

from collections.abc import Iterator

import pandas as pd

from ...assess.expert_skew import routed, short_traffic
from ...cost.token_loads import moved_bytes, tokens_of
from ..story import Story
from .shared.chart import DOT_LEGEND, PALETTE, Chart, Spec, axis_x_size, calculate, log_y, rows, spec, tooltip
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION: Section | None = None      # with the operation
_FIELDS = ("message_bytes", "time_s", "time_lo_s", "time_hi_s", "routing")


def build(story: Story) -> Iterator[Chart]:
    """A chart for each operation and fabric that was measured with several routings, at the most ranks."""
    points = routed(story.points)
    several = points["fabric"].nunique() > 1
    for number, ((fabric, op), own) in enumerate(points.groupby(["fabric", "op"], sort=False)):
        own = own[own["ranks"].eq(own["ranks"].max()) & (own["time_s"] > 0)]
        own = own[own["mode"].eq(own["mode"].min())]        # isolated where it was measured
        if own["traffic"].nunique() < 2:
            continue
        busiest = [moved_bytes(str(op), traffic, dtype, ranks, round(tokens_of(traffic, dtype, size)))
                   for traffic, dtype, ranks, size in zip(own["traffic"], own["dtype"], own["ranks"].tolist(),
                                                          own["message_bytes"].tolist(), strict=True)]
        data = own.assign(busiest_bytes=busiest, routing=own["traffic"].map(short_traffic))
        caption = (f"{op} over {own['ranks'].iloc[0]} ranks, {own['mode'].iloc[0]} calls"
                   + (f", {fabric}" if several else "") + ": time over the bytes that the busiest rank sends or "
                   "receives, with 95 % confidence intervals (measured). Where the busiest rank decides, all routings "
                   "are on one line.")
        yield Chart(f"skew-{op}-{number}", str(op), caption, _over_bytes(data), data, str(fabric))


def _over_bytes(data: pd.DataFrame) -> Spec:
    shown = data.assign(message_bytes=data["busiest_bytes"])
    x = {**axis_x_size(shown["message_bytes"]), "title": "bytes of the busiest rank"}
    y = log_y("time_s", "seconds", "time of a call", [*data["time_s"], *data["time_lo_s"].dropna(),
                                                       *data["time_hi_s"].dropna()])
    names = list(dict.fromkeys(data["routing"]))
    colour = {"field": "routing", "type": "nominal", "title": None, "legend": DOT_LEGEND,
              "scale": {"domain": names, "range": [PALETTE[at % len(PALETTE)] for at in range(len(names))]}}
    tip = tooltip(routing="routing", busiest_rank="bytes text", time="time text", interval="time interval")
    texts = [calculate("size", "message_bytes", to="bytes text"), calculate("seconds", "time_s", to="time text"),
             calculate("seconds", "time_s", "time_lo_s", "time_hi_s", to="time interval")]
    return spec([
        {"transform": [{"filter": "isValid(datum.time_lo_s) && isValid(datum.time_hi_s)"}],
         "mark": {"type": "rule", "strokeWidth": 1.5},
         "encoding": {"x": x, "y": {**y, "field": "time_lo_s"}, "y2": {"field": "time_hi_s"}, "color": colour}},
        {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip}}], rows(shown, _FIELDS), transform=texts)
