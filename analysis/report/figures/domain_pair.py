"""Two domains side by side: projections with bands, and the message sizes at which the faster one changes."""

from collections.abc import Iterator

import pandas as pd

from ...projection.side_by_side import Pair
from ...text import units
from ..story import Story
from .shared.chart import (
    DOT_LEGEND,
    GREY,
    INK,
    PALETTE,
    Chart,
    Spec,
    axis_x_size,
    calculate,
    log_y,
    only,
    rows,
    spec,
    tooltip,
)
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION = Section(
    "domains", "On other domains, projected", "other domains", 10,
    "What the measured operations would take on these domains, per rank, which is an accelerator there: projected from "
    "cited facts about each domain and efficiencies learned from measurements elsewhere, never measured there; bands "
    "are 90 % intervals. Which one is ahead depends on what is held equal: collbench project compares per accelerator, "
    "per FLOP, per watt and per domain.")

_COLUMNS = ("domain", "ranks", "message_bytes", "time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "busbw_lo_Bps",
            "busbw_hi_Bps", "algorithm", "kind", "faster")


def build(story: Story) -> Iterator[Chart]:
    """Time and bus bandwidth of each operation over message size on both domains, with the measured points."""
    if story.page is not None and story.page.projected is not None:
        yield from _domain_charts(story.page.projected, story.shown)


def _domain_charts(pair: Pair, shown: pd.DataFrame) -> Iterator[Chart]:
    chances = {(line.op, line.asked_bytes): line.faster for line in pair.lines}
    first = next(iter(pair.names))
    for op, projected in pair.frame.groupby("op", sort=False):
        # Both domains are asked for the same size; each rounds it up to a multiple of its rank count.
        names = [_name(pair, key, ranks) for key, ranks in zip(projected["domain"], projected["ranks"], strict=True)]
        ahead = projected.assign(domain=names, message_bytes=projected["asked_bytes"])
        ahead["faster"] = [_faster(chances.get((str(op), size)), key == first)
                           for key, size in zip(projected["domain"], projected["asked_bytes"], strict=True)]
        both = pd.concat([ahead.reindex(columns=list(_COLUMNS)),
                          _measured(shown, str(op)).reindex(columns=list(_COLUMNS))])
        both = both[both["message_bytes"] > 0]
        if both.empty:
            continue
        crossings, words = _crossings(pair, str(op))
        data = pd.concat([both, crossings[["low", "high"]].assign(kind="crossover")]) if len(crossings) else both
        for name, kind, columns, title in (
                ("time", "seconds", ("time_s", "time_lo_s", "time_hi_s"), "time of one call"),
                ("busbw", "rate", ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"),
                 "bus bandwidth of a rank")):
            caption = f"{'Time' if name == 'time' else 'Bus bandwidth'} of {op}, projected. {words}"
            yield Chart(f"{op}-{name}-domains", SECTION.key, caption,
                        _chart(both, crossings, kind, columns, title, list(dict.fromkeys(ahead["domain"]))), data)


def _name(pair: Pair, key: str, ranks: int) -> str:
    return f"{pair.names[key]}, {ranks} ranks, projected"


def _measured(shown: pd.DataFrame, op: str) -> pd.DataFrame:
    """What was measured at the most ranks, in the mode with the most points."""
    own: pd.DataFrame = shown[(shown["op"] == op) & (shown["fabric"] == shown["fabric"].iloc[0])]
    own = own[own["ranks"].eq(own["ranks"].max()) & own["mode"].eq(own["mode"].mode().iloc[0])]
    return own.assign(domain=[f"here, {ranks} ranks, measured" for ranks in own["ranks"]], kind="measured",
                      faster="", algorithm=None)


def _faster(chance: float | None, first: bool) -> str:
    if chance is None:
        return units.UNKNOWN
    chance = chance if first else 1 - chance
    return "> 99 %" if chance > 0.99 else "< 1 %" if chance < 0.01 else units.percent(chance)


def _crossings(pair: Pair, op: str) -> tuple[pd.DataFrame, str]:
    """Where the faster domain changes (low, high: between these sizes), and the same as a sentence."""
    found = [one for one in pair.crossovers if one.op == op and one.low_bytes > 0]
    marks = pd.DataFrame([
        {"low": one.low_bytes, "high": one.high_bytes, "at": (one.low_bytes * one.high_bytes)**0.5,
         "above": pair.names[one.to], "between": f"{units.payload(one.low_bytes)} to {units.payload(one.high_bytes)}"}
        for one in found], columns=["low", "high", "at", "above", "between"])
    if not found:
        sides = [line.faster for line in pair.lines if line.op == op]
        names = list(pair.names.values())
        ahead = names[0] if sides and sides[0] > 0.5 else names[1]
        return marks, f"No crossover at these sizes: {ahead} is more likely to be faster at each."
    words = "; ".join(f"crossover between {between}, above it {above} is more likely to be faster"
                      for between, above in zip(marks["between"], marks["above"], strict=True))
    return marks, f"{words[0].upper()}{words[1:]}."


def _chart(both: pd.DataFrame, crossings: pd.DataFrame, kind: str, columns: tuple[str, str, str], title: str,
           names: list[str]) -> Spec:
    value, low, high = columns
    projected = both[both["kind"] == "projected"]
    x = axis_x_size(both["message_bytes"])
    y = log_y(value, kind, title, pd.concat([both[value], projected[low], projected[high]]))
    order = [*names, *(name for name in dict.fromkeys(both["domain"]) if name not in names)]
    colour: Spec = {"field": "domain", "type": "nominal", "title": None, "sort": order,
              "scale": {"domain": order, "range": [PALETTE[0], PALETTE[1], GREY]},
              "legend": {**DOT_LEGEND, "columns": 1}}
    base: Spec = {"x": x, "y": y, "color": colour}
    tip = tooltip(figure="kind", domain="domain", ranks="ranks", message_size="size text", time="time text",
                  interval_of_time="time interval", busbw="busbw text", interval_of_busbw="busbw interval",
                  algorithm="algorithm", chance_of_being_faster="faster")
    texts = [calculate("size", "message_bytes", to="size text"), calculate("seconds", "time_s", to="time text"),
            calculate("seconds", "time_s", "time_lo_s", "time_hi_s", to="time interval"),
            calculate("rate", "busbw_Bps", to="busbw text"),
            calculate("rate", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", to="busbw interval")]
    fill = {"condition": {"test": "datum.kind == 'measured'", "value": 1}, "value": 0}
    layers = [
        *_crossing_layers(crossings, x),
        {"mark": {"type": "area", "opacity": 0.18}, "transform": only("datum.kind == 'projected'"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}}},
        {"mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 2},
         "transform": only("datum.kind == 'projected'"), "encoding": base},
        {"mark": {"type": "line", "strokeWidth": 1.6}, "transform": only("datum.kind == 'measured'"),
         "encoding": base},
        {"mark": {"type": "point", "size": 36, "filled": False, "strokeWidth": 1.4, "opacity": 1},
         "encoding": {**base, "fill": colour, "fillOpacity": fill, "tooltip": tip}}]
    return spec(layers, rows(both, _COLUMNS), transform=texts)


def _crossing_layers(crossings: pd.DataFrame, x: Spec) -> list[Spec]:
    if crossings.empty:
        return []
    tip = tooltip(crossover_between="between", above_it_faster="above")
    at: Spec = {"data": {"values": rows(crossings, list(crossings.columns))}}
    return [{**at, "mark": {"type": "rect", "color": GREY, "opacity": 0.3},
             "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "tooltip": tip}},
            {**at, "mark": {"type": "text", "color": INK, "baseline": "bottom", "fontStyle": "italic"},
             "encoding": {"x": {**x, "field": "at"}, "y": {"value": -4}, "text": {"field": "between"}}}]
