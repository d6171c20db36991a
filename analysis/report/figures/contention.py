"""Interference and overlap: how many times longer calls take beside other traffic, or beside compute."""

from collections.abc import Iterator

import pandas as pd

from collbench.collectives.cases.families.interference import parse_roles

from ...frames.comparisons import wide
from ..story import Story
from .shared.chart import GREY, PALETTE, Chart, Spec, axis_x_size, calculate, rows, spec, tooltip
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION = Section("contention", "Interference and overlap", "interference and overlap", 25)
_COLUMNS = ("message_bytes", "of", "factor", "factor_lo", "factor_hi", "n")
_SIDES = {"collective_slowdown": "collective", "compute_slowdown": "compute"}


def build(story: Story) -> Iterator[Chart]:
    """For each run and mode at its most ranks: congestion factors by aggressor, and what overlap costs either side."""
    cases = wide(story.loaded.comparisons, "interference")
    roles = [parse_roles(text) for text in cases["traffic"]]
    cases = cases.assign(title=[f"{role.victim} while others load the machine" for role in roles],
                         of=[role.aggressor for role in roles])
    yield from _charts(_factors(cases, "congestion_factor"), "interference", "aggressors",
                       "time under load over time alone, means over rounds")
    both = wide(story.loaded.comparisons, "overlap")
    both = both.assign(title=both["traffic"] + ", beside compute")
    sides = [_factors(both.assign(of=side), name) for name, side in _SIDES.items()]
    yield from _charts(pd.concat(sides), "overlap", "slowdown of", "time beside the other over time alone, means over "
                       "rounds")


def _factors(cases: pd.DataFrame, name: str) -> pd.DataFrame:
    """With the figure as `factor`, at the most ranks."""
    named = cases.rename(columns={name: "factor", f"{name} lo": "factor_lo", f"{name} hi": "factor_hi"})
    largest: pd.DataFrame = named[named["ranks"] == named["ranks"].max()]
    return largest


def _charts(cases: pd.DataFrame, name: str, legend: str, means: str) -> Iterator[Chart]:
    for number, ((_, title, mode), own) in enumerate(cases.groupby(["run", "title", "mode"], sort=False)):
        made = own.drop_duplicates(["message_bytes", "of"]).sort_values(["of", "message_bytes"])
        caption = (f"{title}, {own['ranks'].iloc[0]} ranks, {mode} calls: {means}, with 95 % intervals (measured). "
                   "Grey: no difference.")
        yield Chart(f"{name}-{number + 1}", SECTION.key, caption, _chart(made, legend), made[[*_COLUMNS]],
                    f"{title}, {mode}")


def _chart(own: pd.DataFrame, legend: str) -> Spec:
    kinds = list(dict.fromkeys(own["of"]))
    y: Spec = {"field": "factor", "type": "quantitative", "title": "times as long", "scale": {"zero": False}}
    at: Spec = {"x": axis_x_size(own["message_bytes"]),
                "color": {"field": "of", "type": "nominal", "title": legend,
                          "scale": {"domain": kinds, "range": list(PALETTE[:len(kinds)])}}}
    tip = tooltip(size="size text", **{legend.replace(" ", "_"): "of"}, times_as_long="factor", from_="factor_lo",
                  to="factor_hi", rounds="n")
    return spec([
        {"data": {"values": [{"factor": 1}]}, "mark": {"type": "rule", "color": GREY}, "encoding": {"y": y}},
        {"mark": {"type": "rule", "strokeWidth": 1.5},
         "encoding": {**at, "y": {**y, "field": "factor_lo"}, "y2": {"field": "factor_hi"}, "tooltip": tip}},
        {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": {**at, "y": y}},
        {"mark": {"type": "point", "filled": True, "size": 40, "opacity": 1},
         "encoding": {**at, "y": y, "tooltip": tip}}],
        rows(own, _COLUMNS), transform=[calculate("size", "message_bytes", to="size text")])
