"""Which rank holds the others up: how often each is last over all calls, and how late it is in chosen ones."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from collbench.collectives.records.record import Run

from ...frames.samples import Calls
from ...stats import LEVEL
from .chart import DOT_LEGEND, INK, PALETTE, SECONDS, SHARE, Chart, Spec, calculate, rows, spec, tooltip

__all__ = ["lateness_chart_of", "lateness_charts"]

_KINDS = {"begin": ("arrives", "arrive late: busy elsewhere before the call"),
          "end": ("finishes", "finish late: their transfers are slow")}
_Z = 1.96
_MOST_LABELS = 16


def lateness_charts(lateness: pd.DataFrame, runs: dict[str, Run]) -> Iterator[Chart]:
    """How often each rank was last, at most ranks of each transport; `lateness` is that of `tidy.Loaded`."""
    chosen = _largest(lateness, runs)
    for number, (run, ranks) in enumerate(chosen):
        most = lateness[(lateness["run"] == run) & (lateness["ranks"] == ranks)]
        where = f", {runs[run].transport}" if len(chosen) > 1 else ""
        for kind, own in most.groupby("kind", sort=False):
            did, means = _KINDS[str(kind)]
            first = own.iloc[0]
            caption = (f"Which rank {did} last{where}: share of {first['samples']} isolated calls of {first['cases']} "
                       f"cases over {first['ranks']} ranks, with {100 * LEVEL:g} % intervals (measured). Dotted: equal "
                       f"ranks. Ranks well above it {means}.")
            yield Chart(f"ranks-{kind}{number or ''}", "lateness", caption, _last(own, did))


def _largest(lateness: pd.DataFrame, runs: dict[str, Run]) -> list[tuple[str, int]]:
    """Of each transport the run and rank count with most ranks, then with most calls."""
    found: dict[str, tuple[tuple[int, int], str]] = {}
    for (run, ranks), rows_of in lateness.groupby(["run", "ranks"], sort=False):
        size = int(ranks), int(rows_of["samples"].max())
        transport = runs[str(run)].transport
        if transport not in found or size > found[transport][0]:
            found[transport] = size, str(run)
    return [(run, ranks) for (ranks, _), run in found.values()]


def _last(own: pd.DataFrame, did: str) -> Spec:
    chance = 1 / int(own["ranks"].iloc[0])
    share = own["last"] / own["samples"]
    low, high = _interval(own["last"].to_numpy(float), own["samples"].to_numpy(float))
    table = pd.DataFrame({"rank": own["rank"].astype(int), "share": share, "lo": low, "hi": high,
                          "by_s": own["late_s"] / own["last"].where(own["last"] > 0), "last": own["last"].astype(int),
                          "cases": own["cases_last"].astype(int)})
    x = _rank_axis(len(table))
    y = {"field": "share", "type": "quantitative", "title": f"calls in which it {did} last",
         "scale": {"domain": [0, float(max(0.05, 1.1 * high.max()))], "nice": True},
         "axis": {"labelExpr": SHARE, "tickCount": 5}}
    tip = tooltip(rank="rank", last_in="share told", interval="share interval", calls="last",
                  last_by_most_in_cases="cases", on_average_by="by told")
    told = [calculate("share", "share", to="share told"), calculate("share", "share", "lo", "hi", to="share interval"),
            calculate("seconds", "by_s", to="by told")]
    return spec([
        {"data": {"values": [{"share": chance, "word": "equal ranks"}]},
         "mark": {"type": "rule", "color": INK, "strokeDash": [1, 3], "strokeWidth": 2, "strokeCap": "round",
                  "opacity": 0.7}, "encoding": {"y": y}},
        {"mark": {"type": "rule", "color": PALETTE[0], "strokeWidth": 1.5},
         "encoding": {"x": x, "y": {**y, "field": "lo"}, "y2": {"field": "hi"}, "tooltip": tip}},
        {"mark": {"type": "point", "filled": True, "size": 60 if len(table) <= 2 * _MOST_LABELS else 22,
                  "color": PALETTE[0], "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tip}}],
        rows(table, list(table.columns)), transform=told, height=220)


def lateness_chart_of(calls: Calls, name: str, words: str) -> Chart | None:
    """How long after the first rank each one arrived and finished in the calls of one case."""
    if calls.lateness is None:
        return None
    table = calls.lateness.assign(kind=calls.lateness["kind"].map({key: did for key, (did, _) in _KINDS.items()}))
    few = table["rank"].nunique() <= 2 * _MOST_LABELS
    x = _rank_axis(table["rank"].nunique())
    offset = {"xOffset": {"field": "kind", "type": "nominal", "sort": ["arrives", "finishes"]}} if few else {}
    y: Spec = {"field": "mid_s", "type": "quantitative", "title": "time after the first rank",
               "axis": {"labelExpr": SECONDS, "tickCount": 5}}
    colour = {"field": "kind", "type": "nominal", "title": None, "sort": ["arrives", "finishes"],
              "scale": {"domain": ["arrives", "finishes"], "range": [PALETTE[1], PALETTE[0]]},
              "legend": DOT_LEGEND}
    tip = tooltip(rank="rank", what="kind", median="mid told", from_5_to_95_percent="range told")
    told = [calculate("seconds", "mid_s", to="mid told"),
            calculate("seconds", "mid_s", "lo_s", "hi_s", to="range told")]
    base: Spec = {"x": x, **offset, "color": colour, "tooltip": tip}
    caption = (f"How long after the first rank each one arrives and finishes: {words}; median and 90 % of calls "
               "(measured).")
    return Chart(name, "calls", caption, spec([
        {"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.8 if few else 0.2},
         "encoding": {**base, "y": {**y, "field": "lo_s"}, "y2": {"field": "hi_s"}}},
        {"mark": {"type": "point", "filled": True, "size": 46 if few else 14, "opacity": 1},
         "encoding": {**base, "y": y}}],
        rows(table, ("rank", "kind", "lo_s", "mid_s", "hi_s")), transform=told, height=240))


def _rank_axis(count: int) -> Spec:
    step = max(1, math.ceil(count / _MOST_LABELS))
    return {"field": "rank", "type": "ordinal", "title": "rank",
            "axis": {"labelAngle": 0, "values": list(range(0, count, step)), "grid": False}}


def _interval(hits: np.ndarray, of: np.ndarray) -> Sequence[np.ndarray]:
    """Wilson's interval of a share."""
    share, spread = hits / of, _Z**2 / of
    middle, half = share + spread / 2, _Z * np.sqrt(share * (1 - share) / of + spread / of / 4)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)
