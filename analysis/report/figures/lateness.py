"""Stragglers: how often each rank is last over all isolated calls."""

from collections.abc import Iterator

import pandas as pd

from collbench.collectives.statistics.stability import LEVEL

from ..story import Story
from .shared.chart import INK, PALETTE, SHARE, Chart, Spec, calculate, rows, spec, tooltip
from .shared.ranks import MOST_LABELS, rank_axis
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION = Section("lateness", "Stragglers", "stragglers", 20)
_KINDS = {"begin": ("arrives", "arrive late: busy elsewhere before the call"),
          "end": ("finishes", "finish late: their transfers are slow")}


def build(story: Story) -> Iterator[Chart]:
    """For each transport and for arriving and finishing, the share of calls in which each rank was last."""
    shares = story.page.last_ranks if story.page is not None else pd.DataFrame({"run": []})
    runs = list(dict.fromkeys(shares["run"]))
    for number, run in enumerate(runs):
        mine = shares[shares["run"] == run]
        where = f", {mine['transport'].iloc[0]}" if len(runs) > 1 else ""
        for kind, own in mine.groupby("kind", sort=False):
            did, means = _KINDS[str(kind)]
            first = own.iloc[0]
            caption = (f"Which rank {did} last{where}: share of {first['samples']} isolated calls of {first['cases']} "
                       f"cases over {first['ranks']} ranks, with {100 * LEVEL:g} % confidence intervals (measured). "
                       f"Dotted: equal ranks. Ranks well above it {means}.")
            yield Chart(f"ranks-{kind}{number or ''}", SECTION.key, caption, _last(own, did),
                        own.assign(expected_share=1 / own["ranks"]))


def _last(own: pd.DataFrame, did: str) -> Spec:
    x = rank_axis(len(own))
    y: Spec = {"field": "share", "type": "quantitative", "title": f"calls in which it {did} last",
               "scale": {"domain": [0, float(max(0.05, 1.1 * own["share_hi"].max()))], "nice": True},
               "axis": {"labelExpr": SHARE, "tickCount": 5}}
    tip = tooltip(rank="rank", last_in="share text", interval="share interval", calls="last",
                  last_by_most_in_cases="cases_last", on_average_by="by text")
    texts = [calculate("share", "share", to="share text"),
             calculate("share", "share", "share_lo", "share_hi", to="share interval"),
             calculate("seconds", "by_s", to="by text")]
    return spec([
        {"data": {"values": [{"expected_share": 1 / int(own["ranks"].iloc[0])}]},
         "mark": {"type": "rule", "color": INK, "strokeDash": [1, 3], "strokeWidth": 2, "strokeCap": "round",
                  "opacity": 0.7}, "encoding": {"y": {**y, "field": "expected_share"}}},
        {"mark": {"type": "rule", "color": PALETTE[0], "strokeWidth": 1.5},
         "encoding": {"x": x, "y": {**y, "field": "share_lo"}, "y2": {"field": "share_hi"}, "tooltip": tip}},
        {"mark": {"type": "point", "filled": True, "size": 60 if len(own) <= 2 * MOST_LABELS else 22,
                  "color": PALETTE[0], "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tip}}],
        rows(own, ("rank", "share", "share_lo", "share_hi", "by_s", "last", "cases_last")), transform=texts, height=220)
