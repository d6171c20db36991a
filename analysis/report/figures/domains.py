"""The pair of domains side by side: projections with bands, and the payloads at which the faster one changes."""

from collections.abc import Iterator

import pandas as pd

from ...projection.side_by_side import Pair
from ...text import units
from .chart import DOT_LEGEND, GREY, INK, PALETTE, Chart, Spec, axis_x_size, calculate, log_y, only, rows, spec, tooltip

__all__ = ["domain_charts"]

_COLUMNS = ("domain", "ranks", "message_bytes", "time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "busbw_lo_Bps",
            "busbw_hi_Bps", "algorithm", "kind", "faster")


def domain_charts(pair: Pair | None, shown: pd.DataFrame) -> Iterator[Chart]:
    """Time and bus bandwidth of each operation over payload, of both domains; measured points beside them.

    Args:
        pair: None where nothing can be projected, and there are no charts.
        shown: representative points.
    """
    if pair is None:
        return
    chances = {(line.op, line.asked_bytes): line.faster for line in pair.lines}
    first = next(iter(pair.names))
    for op, projected in pair.frame.groupby("op", sort=False):
        # Both domains are asked for the same payload; each rounds it up to what divides among its ranks.
        names = [_name(pair, key, ranks) for key, ranks in zip(projected["domain"], projected["ranks"], strict=True)]
        told = projected.assign(domain=names, message_bytes=projected["asked_bytes"])
        told["faster"] = [_faster(chances.get((op, size)), key == first)
                          for key, size in zip(projected["domain"], projected["asked_bytes"], strict=True)]
        measured = _measured(shown, str(op))
        both = pd.concat([told.reindex(columns=list(_COLUMNS)), measured.reindex(columns=list(_COLUMNS))])
        both = both[both["message_bytes"] > 0]
        if both.empty:
            continue
        crossings, words = _crossings(pair, str(op))
        for name, kind, columns, title in (
                ("time", "seconds", ("time_s", "time_lo_s", "time_hi_s"), "time of one call"),
                ("busbw", "rate", ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"),
                 "bus bandwidth of a rank")):
            caption = f"{'Time' if name == 'time' else 'Bus bandwidth'} of {op}, projected. {words}"
            yield Chart(f"{op}-{name}-domains", "domains", caption,
                        _chart(both, crossings, kind, columns, title, list(dict.fromkeys(told["domain"]))))


def _name(pair: Pair, key: str, ranks: int) -> str:
    return f"{pair.names[key]}, {ranks} ranks, projected"


def _measured(shown: pd.DataFrame, op: str) -> pd.DataFrame:
    """What was measured at most ranks, in the mode that has most points."""
    own = shown[(shown["op"] == op) & (shown["fabric"] == shown["fabric"].iloc[0])]
    own = own[own["ranks"].eq(own["ranks"].max()) & own["mode"].eq(own["mode"].mode().iloc[0])]
    return own.assign(domain=[f"here, {ranks} ranks, measured" for ranks in own["ranks"]], kind="measured",
                      faster="", algorithm=None)


def _faster(chance: float | None, first: bool) -> str:
    if chance is None:
        return units.UNKNOWN
    chance = chance if first else 1 - chance
    return "> 99 %" if chance > 0.99 else "< 1 %" if chance < 0.01 else units.percent(chance)


def _crossings(pair: Pair, op: str) -> tuple[list[Spec], str]:
    """Where the faster domain changes, for the chart and in words."""
    found = [one for one in pair.crossovers if one.op == op and one.low_bytes > 0]
    if not found:
        sides = [line.faster for line in pair.lines if line.op == op]
        names = list(pair.names.values())
        ahead = names[0] if sides and sides[0] > 0.5 else names[1]
        return [], f"No crossover at these payloads: {ahead} is more likely faster at each."
    marks = [{"low": one.low_bytes, "high": one.high_bytes, "at": (one.low_bytes * one.high_bytes)**0.5,
              "above": pair.names[one.to], "word": "crossover",
              "between": f"{units.payload(one.low_bytes)} to {units.payload(one.high_bytes)}"} for one in found]
    words = "; ".join(f"crossover between {mark['between']}, above it {mark['above']} is more likely faster"
                      for mark in marks)
    return marks, f"{words[0].upper()}{words[1:]}."


def _chart(both: pd.DataFrame, crossings: list[Spec], kind: str, columns: tuple[str, str, str], title: str,
           names: list[str]) -> Spec:
    value, low, high = columns
    projected = both[both["kind"] == "projected"]
    x = axis_x_size(both["message_bytes"])
    y = log_y(value, kind, title, pd.concat([both[value], projected[low], projected[high]]))
    order = [*names, *(name for name in dict.fromkeys(both["domain"]) if name not in names)]
    colour = {"field": "domain", "type": "nominal", "title": None, "sort": order,
              "scale": {"domain": order, "range": [PALETTE[0], PALETTE[1], GREY]},
              "legend": {**DOT_LEGEND, "columns": 1}}
    base: Spec = {"x": x, "y": y, "color": colour}
    tip = tooltip(figure="kind", domain="domain", ranks="ranks", payload="size told", time="time told",
                  interval_of_time="time interval", busbw="busbw told", interval_of_busbw="busbw interval",
                  algorithm="algorithm", chance_to_be_the_faster="faster")
    told = [calculate("size", "message_bytes", to="size told"), calculate("seconds", "time_s", to="time told"),
            calculate("seconds", "time_s", "time_lo_s", "time_hi_s", to="time interval"),
            calculate("rate", "busbw_Bps", to="busbw told"),
            calculate("rate", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", to="busbw interval")]
    fill = {"condition": {"test": "datum.kind == 'measured'", "value": 1}, "value": 0}
    layers = [
        *_marked(crossings, x),
        {"mark": {"type": "area", "opacity": 0.18}, "transform": only("datum.kind == 'projected'"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}}},
        {"mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 2},
         "transform": only("datum.kind == 'projected'"), "encoding": base},
        {"mark": {"type": "line", "strokeWidth": 1.6}, "transform": only("datum.kind == 'measured'"),
         "encoding": base},
        {"mark": {"type": "point", "size": 36, "filled": False, "strokeWidth": 1.4, "opacity": 1},
         "encoding": {**base, "fill": colour, "fillOpacity": fill, "tooltip": tip}}]
    return spec(layers, rows(both, _COLUMNS), transform=told)


def _marked(crossings: list[Spec], x: Spec) -> list[Spec]:
    if not crossings:
        return []
    tip = tooltip(crossover_between="between", above_it_faster="above")
    at = {"data": {"values": crossings}}
    return [{**at, "mark": {"type": "rect", "color": GREY, "opacity": 0.3},
             "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "tooltip": tip}},
            {**at, "mark": {"type": "text", "color": INK, "baseline": "bottom", "fontStyle": "italic"},
             "encoding": {"x": {**x, "field": "at"}, "y": {"value": -4}, "text": {"field": "between"}}}]
