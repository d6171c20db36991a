"""Time and bus bandwidth of an operation over message size and over ranks: measured, extrapolated, and ceilings."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.case import format_size

from ...frames.representative import MODE_OF
from ..page_data import PageData
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

__all__ = ["SECTION", "build"]

SECTION = None          # each chart stands with its operation

_RANK_TICKS = (2, 4, 8, 16, 32, 72, 128, 384)
_DASH = [5, 4]


class _PlottedQuantity(NamedTuple):
    """What the y axis shows."""

    name: str
    kind: str
    columns: tuple[str, str, str]
    words: str
    axis: str


_QUANTITIES = (
    _PlottedQuantity("time", "seconds", ("time_s", "time_lo_s", "time_hi_s"), "Time", "time of one call"),
    _PlottedQuantity("busbw", "rate", ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"), "Bus bandwidth",
              "bus bandwidth"),
)
_SHOWN = ("fabric", "ranks", "message_bytes", "kind", *(name for quantity in _QUANTITIES for name in quantity.columns))
_COLUMNS = (*_SHOWN, "asked_bytes", "distance")


def build(story: Story) -> Iterator[Chart]:
    """Up to four charts for every operation: time and bus bandwidth, each over message size and over ranks."""
    if story.page is not None:
        yield from _series_charts(story.shown, story.page)


def _series_charts(points: pd.DataFrame, page: PageData) -> Iterator[Chart]:
    several = points["fabric"].nunique() > 1
    needed = ["op", "mode", *_COLUMNS]
    measured = points.assign(kind="measured", distance=1.0)
    frames = (*(frame.reindex(columns=needed) for frame in (measured, page.at_targets, page.curve, page.lines)),
              page.ceilings)
    for op in points["op"].unique():
        mine, ahead, between, fitted, bound = (frame[frame["op"] == op] for frame in frames)
        over_ranks = []
        for quantity in _QUANTITIES:
            mode = _mode(mine, quantity)
            own, beyond, along, line = (_known(frame, mode, quantity) for frame in (mine, ahead, between, fitted))
            if own.empty:
                continue
            if (own["message_bytes"] > 0).any():
                yield _over_size(str(op), mode, quantity, own, beyond, line, bound, several)
            if (along["kind"].eq("extrapolated") & (along["distance"] >= 1)).any() and (own["ranks"] >= 2).any():
                over_ranks.append(_over_ranks(str(op), mode, quantity, own, along, several))
        yield from over_ranks


def _mode(points: pd.DataFrame, quantity: _PlottedQuantity) -> str:
    """The mode that suits the quantity; the other one where only that was measured."""
    there = set(points["mode"])
    return MODE_OF[quantity.name] if MODE_OF[quantity.name] in there else next(iter(there), "")


def _known(frame: pd.DataFrame, mode: str, quantity: _PlottedQuantity) -> pd.DataFrame:
    return frame[frame["mode"].eq(mode) & frame["kind"].ne("refused") & (frame[quantity.columns[0]] > 0)]


def _over_size(op: str, mode: str, quantity: _PlottedQuantity, own: pd.DataFrame, beyond: pd.DataFrame,
               line: pd.DataFrame, ceilings: pd.DataFrame, several: bool) -> Chart:
    """Colour is the rank count, or with several fabrics the fabric, at the smallest and the largest rank count."""
    own = own[own["message_bytes"] > 0]
    beyond = beyond[beyond["kind"].eq("extrapolated") & (beyond["message_bytes"] > 0)]
    if several:
        counts = sorted(own.loc[own["ranks"] >= 2, "ranks"].unique()) or sorted(own["ranks"].unique())
        own, beyond = own[own["ranks"].isin({counts[0], counts[-1]})], beyond[:0]
    line = line[line["ranks"].isin(own["ranks"])]
    shown = pd.concat([frame for frame in (own, beyond, line) if len(frame)])
    value, low, high = quantity.columns
    colour = _by_fabric(shown) if several else _by_ranks(shown)
    shape: Spec = {"shape": _by("ranks", "ranks", shown)} if several else {}
    above = _ceilings(ceilings, own, several) if quantity.name == "busbw" else ceilings[:0]
    y = log_y(value, quantity.kind, quantity.axis,
              pd.concat([shown[value], shown[low], shown[high], above["busbw_Bps"].astype(float)]))
    base: Spec = {"x": axis_x_size(shown["message_bytes"]), "color": colour}
    detail: Spec = {"detail": [{"field": "fabric"}, {"field": "ranks"}]}
    band: Spec = {"mark": {"type": "area", "opacity": 0.12}, "transform": only("datum.kind == 'extrapolated'"),
            "encoding": {**base, **detail, "y": {**y, "field": low}, "y2": {"field": high}}}
    layers = [
        *([band] if len(beyond) else []), *_ceiling_layers(above, value, base["x"], y),
        *([_fitted({**base, **detail, "y": y})] if len(line) else []),
        {"mark": {"type": "rule", "opacity": 0.7, "strokeWidth": 1.5},
         "transform": only("datum.kind == 'measured'", f"isValid(datum.{low}) && isValid(datum.{high})"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}, "tooltip": _tip(quantity)}},
        _line({**base, **detail, "y": y}, "measured"),
        *([_line({**base, **detail, "y": y}, "extrapolated")] if len(beyond) else []),
        _dots({**base, **shape, "y": y}, quantity)]
    words = f"{quantity.words} of {op} over message size, {mode} calls: measured"
    words += "; thin: fitted line, latency + size / rate" if len(line) else ""
    words += "; dashed, with bands: extrapolated" if len(beyond) else ""
    data = pd.concat([frame for frame in (shown[[*_SHOWN]], above.assign(kind="ceiling")) if len(frame)])
    return Chart(f"{op}-{quantity.name}-size", op, f"{words}{'; dotted: ceiling' if len(above) else ''}",
                 spec(layers, rows(shown, _SHOWN), transform=_texts()), data)


def _over_ranks(op: str, mode: str, quantity: _PlottedQuantity, own: pd.DataFrame, along: pd.DataFrame,
                several: bool) -> Chart:
    """Solid and filled: measured. Dashed and open, with a band: extrapolated, from the last measured point on."""
    own, ahead = own[own["ranks"] >= 2], along[along["distance"] >= 1]
    sizes = _some(own["asked_bytes"], 2 if several else 3)
    own, ahead = own[own["asked_bytes"].isin(sizes)], ahead[ahead["asked_bytes"].isin(sizes)]
    largest, furthest = int(own["ranks"].max()), int(ahead["ranks"].max())
    shown = pd.concat([own, ahead[ahead["ranks"] > own["ranks"].min()], _joint(own, ahead)], ignore_index=True)
    shown["size"] = [format_size(int(size)) if size else "no data" for size in shown["asked_bytes"]]
    order = [format_size(size) if size else "no data" for size in sizes]
    value, low, high = quantity.columns
    colour = _by_fabric(shown) if several else _named("size", "message size", order)
    shape: Spec = {"shape": {"field": "size", "type": "nominal", "title": "message size", "sort": order}} \
        if several else {}
    x: Spec = {"field": "ranks", "type": "quantitative", "title": "ranks",
         "scale": {"type": "log", "base": 2, "nice": False, "domain": [2, max(furthest, 4)]},
         "axis": {"values": [n for n in _RANK_TICKS if n <= furthest], "format": "d", "grid": False,
                  "labelOverlap": True}}
    y = log_y(value, quantity.kind, quantity.axis, pd.concat([shown[value], shown[low], shown[high]]))
    base: Spec = {"x": x, "color": colour, "detail": [{"field": "fabric"}, {"field": "size"}]}
    layers = [
        *_shade(largest, furthest, x),
        {"mark": {"type": "area", "opacity": 0.14},
         "transform": only("datum.kind != 'measured'", f"isValid(datum.{low}) && isValid(datum.{high})"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}}},
        {"mark": {"type": "rule", "opacity": 0.7, "strokeWidth": 1.5},
         "transform": only("datum.kind == 'measured'", f"isValid(datum.{low}) && isValid(datum.{high})"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}, "tooltip": _tip(quantity)}},
        _line({**base, "y": y}, "measured"), _line({**base, "y": y}, "extrapolated", "joint"),
        _dots({**base, **shape, "y": y}, quantity)]
    words = (f"{quantity.words} of {op} over ranks, {mode} calls: measured up to {largest} ranks (shaded), "
             "extrapolated beyond (dashed, with bands)")
    return Chart(f"{op}-{quantity.name}-ranks", op, words,
                 spec(layers, rows(shown, (*_SHOWN, "size")), transform=_texts()), shown[[*_SHOWN]])


def _joint(own: pd.DataFrame, ahead: pd.DataFrame) -> pd.DataFrame:
    """Where each dashed line begins: the last measured point, as an interval of no width."""
    far = ahead[ahead["kind"] == "extrapolated"]
    last = own.sort_values("ranks").drop_duplicates(["fabric", "asked_bytes"], keep="last")
    has = set(zip(far["fabric"], far["asked_bytes"], strict=True))
    last = last[[pair in has for pair in zip(last["fabric"], last["asked_bytes"], strict=True)]]
    exact = {name: last[quantity.columns[0]] for quantity in _QUANTITIES for name in quantity.columns[1:]}
    return last.assign(kind="joint", **exact)


def _shade(largest: int, furthest: int, x: Spec) -> list[Spec]:
    """The measured range in grey, with both ranges named at the top."""
    ranges = [{"from": 2, "to": largest, "at": 2, "label": "measured", "align": "left"},
              {"from": largest, "to": furthest, "at": furthest, "label": "extrapolated", "align": "right"}]
    plain = {key: value for key, value in x.items() if key != "field"}
    return [{"data": {"values": ranges[:1]}, "mark": {"type": "rect", "opacity": 0.15, "color": GREY},
             "encoding": {"x": {**plain, "field": "from"}, "x2": {"field": "to"}}},
            *({"data": {"values": [one]}, "mark": {"type": "text", "color": INK, "opacity": 0.75, "baseline": "bottom",
                                                   "align": one["align"], "fontStyle": "italic"},
               "encoding": {"x": {**plain, "field": "at"}, "y": {"value": -4}, "text": {"field": "label"}}}
              for one in ranges)]


def _ceilings(ceilings: pd.DataFrame, own: pd.DataFrame, several: bool) -> pd.DataFrame:
    """Ceilings at the largest measured rank count, by message size."""
    if several or ceilings.empty:
        return ceilings[:0]
    top = ceilings[ceilings["ranks"].eq(own["ranks"].max()) & (ceilings["message_bytes"] > 0)
                   & ceilings["mode"].eq(own["mode"].iloc[0])].drop_duplicates("message_bytes")
    return top.sort_values("message_bytes")[["fabric", "ranks", "message_bytes", "busbw_Bps", "words"]]


def _ceiling_layers(ceilings: pd.DataFrame, value: str, x: Spec, y: Spec) -> list[Spec]:
    """The ceiling as a dotted line, labelled at its right end."""
    above = rows(ceilings, ("message_bytes", "ranks", "busbw_Bps", "words"))
    if not above:
        return []
    tip = [{"field": "words", "title": "ceiling", "type": "nominal"}, *tooltip(busbw="ceiling text", ranks="ranks")]
    line: Spec = {"data": {"values": above}, "transform": [calculate("rate", value, to="ceiling text")],
                  "mark": {"type": "line", "color": INK, "opacity": 0.7, "strokeDash": [1, 3], "strokeWidth": 2,
                           "strokeCap": "round"}, "encoding": {"x": x, "y": y, "tooltip": tip}}
    dots = {**line, "mark": {"type": "point", "opacity": 0, "size": 60, "filled": True}}
    name: Spec = {"data": {"values": [above[-1] | {"label": f"ceiling, {above[-1]['ranks']} ranks"}]},
                  "mark": {"type": "text", "color": INK, "opacity": 0.8, "align": "right", "baseline": "bottom",
                           "dy": -3}, "encoding": {"x": x, "y": y, "text": {"field": "label"}}}
    return [line, dots, name]


def _line(encoding: Spec, *kinds: str) -> Spec:
    dash = {} if "measured" in kinds else {"strokeDash": _DASH}
    return {"mark": {"type": "line", "strokeWidth": 1.6, **dash},
            "transform": only(" || ".join(f"datum.kind == '{kind}'" for kind in kinds)), "encoding": encoding}


def _fitted(encoding: Spec) -> Spec:
    """The fitted model; without dots, since its sampling points mean nothing."""
    return {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.6, "strokeDash": [2, 2]},
            "transform": only("datum.kind == 'line'"), "encoding": encoding}


def _dots(encoding: Spec, quantity: _PlottedQuantity) -> Spec:
    """Filled where measured, hollow where extrapolated."""
    fill = {"condition": {"test": "datum.kind == 'measured'", "value": 1}, "value": 0}
    return {"mark": {"type": "point", "size": 42, "filled": False, "strokeWidth": 1.4, "opacity": 1},
            "transform": only("datum.kind != 'joint'", "datum.kind != 'line'"),
            "encoding": {**encoding, "fill": encoding["color"], "fillOpacity": fill, "tooltip": _tip(quantity)}}


def _texts() -> list[Spec]:
    texts = [calculate("size", "message_bytes", to="size text")]
    for quantity in _QUANTITIES:
        value, low, high = quantity.columns
        texts += [calculate(quantity.kind, value, to=f"{quantity.name} text"),
                  calculate(quantity.kind, value, low, high, to=f"{quantity.name} interval")]
    level = {"calculate": "datum.kind == 'measured' ? '95 %, of the median' : '90 %'", "as": "level"}
    return [*texts, level]


def _tip(quantity: _PlottedQuantity) -> list[Spec]:
    fields = {"figure": "kind", "fabric": "fabric", "ranks": "ranks", "message_size": "size text"}
    for other in (quantity, *(one for one in _QUANTITIES if one is not quantity)):
        fields |= {other.name: f"{other.name} text", f"interval_of_{other.name}": f"{other.name} interval"}
    return tooltip(**fields, intervals="level")


def _by_fabric(frame: pd.DataFrame) -> Spec:
    return _named("fabric", "fabric", list(dict.fromkeys(frame["fabric"])))


def _named(field: str, title: str, order: Sequence[str]) -> Spec:
    return {"field": field, "type": "nominal", "title": title, "sort": list(order), "legend": DOT_LEGEND,
            "scale": {"domain": list(order), "range": list(PALETTE)}}


def _by_ranks(frame: pd.DataFrame) -> Spec:
    """By rank count: distinct hues as long as there are enough, otherwise one ordered scale."""
    counts = sorted(int(count) for count in frame["ranks"].unique())
    scale = {"range": list(PALETTE)} if len(counts) <= len(PALETTE) else {"scheme": "cividis"}
    measured = int(frame.loc[frame["kind"] == "measured", "ranks"].max())
    legend = {**DOT_LEGEND, "labelExpr": f"datum.label + (datum.value > {measured} ? ' extrapolated' : '')"}
    return {"field": "ranks", "type": "ordinal", "title": "ranks", "sort": counts, "legend": legend,
            "scale": {"domain": counts, **scale}}


def _by(field: str, title: str, frame: pd.DataFrame) -> Spec:
    return {"field": field, "type": "nominal", "title": title,
            "sort": sorted(int(value) for value in frame[field].unique())}


def _some(sizes: pd.Series, count: int) -> list[int]:
    """The smallest and the largest size, and one in between if `count` allows."""
    known = sorted(int(size) for size in sizes.unique())
    return sorted({known[0], known[-1], *([known[len(known) // 2]] if count > 2 else [])})
