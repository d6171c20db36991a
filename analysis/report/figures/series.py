"""Time and bus bandwidth of an operation over message size and over ranks: measured, extrapolated, and ceilings."""

from collections.abc import Iterator
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
from .shared.curves import (
    COLUMNS,
    QUANTITIES,
    PlottedQuantity,
    curve,
    dots,
    extent,
    fitted_curve,
    intervals,
    named,
    texts,
)

__all__ = ["SECTION", "build"]

SECTION = None          # each chart stands with its operation

_RANK_TICKS = (2, 4, 8, 16, 32, 72, 128, 384)
_SAME_SIZE = 0.05       # relative difference up to which messages at different rank counts are one size
_NEEDED = (*COLUMNS, "asked_bytes", "distance")


def build(story: Story) -> Iterator[Chart]:
    """For every operation and library time and bus bandwidth, each over message size and over ranks.

    A chart shows one library, over ranks one message size; the others are choices. Two or more libraries are also
    compared over message size.
    """
    if story.page is not None:
        yield from _series_charts(story.shown, story.page)


def _series_charts(points: pd.DataFrame, page: PageData) -> Iterator[Chart]:
    needed = ["op", "mode", *_NEEDED]
    measured = points.assign(kind="measured", distance=1.0)
    frames = (*(frame.reindex(columns=needed) for frame in (measured, page.at_targets, page.curve, page.lines)),
              page.ceilings)
    for op in points["op"].unique():
        of_op = [frame[frame["op"] == op] for frame in frames]
        fabrics = list(dict.fromkeys(of_op[0]["fabric"]))
        for number, fabric in enumerate(fabrics):
            mine = _Curves(*(frame[frame["fabric"] == fabric] for frame in of_op))
            names = _Naming(str(op), f"-{number + 1}" if number else "", fabric if len(fabrics) > 1 else None)
            yield from _library_charts(names, mine)
        if len(fabrics) > 1:
            yield from (chart for quantity in QUANTITIES for chart in _libraries(str(op), quantity, of_op[0]))


class _Curves(NamedTuple):
    """The rows of one operation and fabric: measured, at the targets, over ranks, fitted, and ceilings."""

    measured: pd.DataFrame
    at_targets: pd.DataFrame
    over_ranks: pd.DataFrame
    line: pd.DataFrame
    ceilings: pd.DataFrame


class _Naming(NamedTuple):
    """What the names and choices of the charts of one operation and fabric are made of."""

    op: str
    suffix: str
    choice: str | None


def _library_charts(names: _Naming, mine: _Curves) -> Iterator[Chart]:
    over_ranks: list[Chart] = []
    for quantity in QUANTITIES:
        mode = _mode(mine.measured, quantity)
        own, beyond, along, line = (_known(frame, mode, quantity) for frame in mine[:4])
        if own.empty:
            continue
        if (own["message_bytes"] > 0).any():
            yield _over_size(names, mode, quantity, own, beyond, line, mine.ceilings)
        if (along["kind"].eq("extrapolated") & (along["distance"] >= 1)).any() and (own["ranks"] >= 2).any():
            over_ranks += _over_ranks(names, mode, quantity, own, along)
    yield from over_ranks


def _mode(points: pd.DataFrame, quantity: PlottedQuantity) -> str:
    """The mode that suits the quantity; the other one where only that was measured."""
    there = set(points["mode"])
    return MODE_OF[quantity.name] if MODE_OF[quantity.name] in there else next(iter(there), "")


def _known(frame: pd.DataFrame, mode: str, quantity: PlottedQuantity) -> pd.DataFrame:
    return frame[frame["mode"].eq(mode) & frame["kind"].ne("refused") & (frame[quantity.columns[0]] > 0)]


def _over_size(names: _Naming, mode: str, quantity: PlottedQuantity, own: pd.DataFrame, beyond: pd.DataFrame,
               line: pd.DataFrame, ceilings: pd.DataFrame) -> Chart:
    """Colour is the rank count."""
    own = own[own["message_bytes"] > 0]
    beyond = beyond[beyond["kind"].eq("extrapolated") & (beyond["message_bytes"] > 0)]
    line = line[line["ranks"].isin(own["ranks"])]
    shown = pd.concat([frame for frame in (own, beyond, line) if len(frame)])
    value, low, high = quantity.columns
    above = _ceilings(ceilings, own) if quantity.name == "busbw" else ceilings[:0]
    y = log_y(value, quantity.kind, quantity.axis, [*extent(shown, quantity), *above["busbw_Bps"].astype(float)])
    base: Spec = {"x": axis_x_size(shown["message_bytes"]), "color": _by_ranks(shown)}
    detail: Spec = {"detail": [{"field": "ranks"}]}
    band: Spec = {"mark": {"type": "area", "opacity": 0.12}, "transform": only("datum.kind == 'extrapolated'"),
            "encoding": {**base, **detail, "y": {**y, "field": low}, "y2": {"field": high}}}
    layers = [
        *([band] if len(beyond) else []), *_ceiling_layers(above, value, base["x"], y),
        *([fitted_curve({**base, **detail, "y": y})] if len(line) else []),
        intervals({**base, "y": y}, quantity),
        curve({**base, **detail, "y": y}, "measured"),
        *([curve({**base, **detail, "y": y}, "extrapolated")] if len(beyond) else []),
        dots({**base, "y": y}, quantity)]
    words = f"{quantity.words} of {names.op} over message size, {mode} calls: measured"
    words += "; thin: fitted line, latency + size / rate" if len(line) else ""
    words += "; dashed, with bands: extrapolated" if len(beyond) else ""
    data = pd.concat([frame for frame in (shown[[*COLUMNS]], above.assign(kind="ceiling")) if len(frame)])
    return Chart(f"{names.op}-{quantity.name}-size{names.suffix}", names.op,
                 f"{words}{'; dotted: ceiling' if len(above) else ''}",
                 spec(layers, rows(shown, COLUMNS), transform=texts()), data, names.choice)


def _libraries(op: str, quantity: PlottedQuantity, measured: pd.DataFrame) -> Iterator[Chart]:
    """Libraries side by side over message size, at the most ranks that all of them were measured with."""
    mode = _mode(measured, quantity)
    own = _known(measured, mode, quantity)
    own = own[own["message_bytes"] > 0]
    counts = [set(rows["ranks"]) for _, rows in own.groupby("fabric")]
    common = set.intersection(*counts) if len(counts) > 1 else set()
    if not common:
        return
    ranks = int(max(common))
    own = own[own["ranks"] == ranks]
    y = log_y(quantity.columns[0], quantity.kind, quantity.axis, extent(own, quantity))
    base: Spec = {"x": axis_x_size(own["message_bytes"]), "y": y, "color": _by_fabric(own)}
    yield Chart(f"{op}-{quantity.name}-libraries", op,
                f"{quantity.words} of {op} over message size by library, {ranks} ranks, {mode} calls: measured",
                spec([intervals(base, quantity), curve(base, "measured"), dots(base, quantity)],
                     rows(own, COLUMNS), transform=texts()), own[[*COLUMNS]], "libraries compared")


def _over_ranks(names: _Naming, mode: str, quantity: PlottedQuantity, own: pd.DataFrame,
                along: pd.DataFrame) -> list[Chart]:
    """A chart for each of up to three message sizes that every rank count has; the first is that of the headline."""
    own, ahead = own[own["ranks"] >= 2], along[along["distance"] >= 1]
    sizes = _same_at_all_counts(pd.concat([own, ahead]))
    order = sizes if quantity.name == "time" else sizes[::-1]
    first = f"{names.op}-{quantity.name}-ranks{names.suffix}"
    charts: list[Chart] = []
    for asked in order:
        size = format_size(asked) if asked else "no data"
        shown = own[own["asked_bytes"] == asked], ahead[ahead["asked_bytes"] == asked]
        if all(len(frame) for frame in shown):
            name = f"{first}-{size.replace(' ', '')}" if charts else first
            charts.append(_size_over_ranks(names, mode, quantity, *shown, size, name, (first, size)))
    return charts


def _same_at_all_counts(frame: pd.DataFrame) -> list[int]:
    """The smallest size that is the same message at every rank count, the largest one, and one in between.

    An operation made of blocks rounds a size up to a multiple of its rank count: of all_gather, 32 B is 1.5 KiB at 384.
    """
    ends = frame.groupby("asked_bytes")["message_bytes"].agg(["min", "max"])
    known = sorted(int(size) for size in ends.index[ends["max"] <= ends["min"] * (1 + _SAME_SIZE)])
    return sorted({known[0], known[len(known) // 2], known[-1]}) if known else []


def _size_over_ranks(names: _Naming, mode: str, quantity: PlottedQuantity, own: pd.DataFrame, ahead: pd.DataFrame,
                     size: str, name: str, variant: tuple[str, str]) -> Chart:
    """Solid and filled: measured. Dashed and open, with a band: extrapolated, from the last measured point on."""
    largest, furthest = int(own["ranks"].max()), int(ahead["ranks"].max())
    shown = pd.concat([own, ahead[ahead["ranks"] > own["ranks"].min()], _joint(own, ahead)], ignore_index=True)
    value, low, high = quantity.columns
    x: Spec = {"field": "ranks", "type": "quantitative", "title": "ranks",
         "scale": {"type": "log", "base": 2, "nice": False, "domain": [2, max(furthest, 4)]},
         "axis": {"values": [n for n in _RANK_TICKS if n <= furthest], "format": "d", "grid": False,
                  "labelOverlap": True}}
    y = log_y(value, quantity.kind, quantity.axis, extent(shown, quantity))
    base: Spec = {"x": x, "color": {"value": PALETTE[0]}}
    layers = [
        *_shade(largest, furthest, x),
        {"mark": {"type": "area", "opacity": 0.14},
         "transform": only("datum.kind != 'measured'", f"isValid(datum.{low}) && isValid(datum.{high})"),
         "encoding": {**base, "y": {**y, "field": low}, "y2": {"field": high}}},
        intervals({**base, "y": y}, quantity),
        curve({**base, "y": y}, "measured"), curve({**base, "y": y}, "extrapolated", "joint"),
        dots({**base, "y": y}, quantity)]
    words = (f"{quantity.words} of {names.op} over ranks, {size}, {mode} calls: measured up to {largest} ranks "
             "(shaded), extrapolated beyond (dashed, with a band)")
    return Chart(name, names.op, words, spec(layers, rows(shown, COLUMNS), transform=texts()), shown[[*COLUMNS]],
                 names.choice, variant)


def _joint(own: pd.DataFrame, ahead: pd.DataFrame) -> pd.DataFrame:
    """Where each dashed line begins: the last measured point, as an interval of no width."""
    far = ahead[ahead["kind"] == "extrapolated"]
    last = own.sort_values("ranks").drop_duplicates(["fabric", "asked_bytes"], keep="last")
    has = set(zip(far["fabric"], far["asked_bytes"], strict=True))
    last = last[[pair in has for pair in zip(last["fabric"], last["asked_bytes"], strict=True)]]
    exact = {name: last[quantity.columns[0]] for quantity in QUANTITIES for name in quantity.columns[1:]}
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


def _ceilings(ceilings: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Ceilings at the largest measured rank count, by message size."""
    if ceilings.empty:
        return ceilings
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


def _by_fabric(frame: pd.DataFrame) -> Spec:
    return named("fabric", "fabric", list(dict.fromkeys(frame["fabric"])))


def _by_ranks(frame: pd.DataFrame) -> Spec:
    """By rank count: distinct hues as long as there are enough, otherwise one ordered scale."""
    counts = sorted(int(count) for count in frame["ranks"].unique())
    scale = {"range": list(PALETTE)} if len(counts) <= len(PALETTE) else {"scheme": "cividis"}
    measured = int(frame.loc[frame["kind"] == "measured", "ranks"].max())
    legend = {**DOT_LEGEND, "labelExpr": f"datum.label + (datum.value > {measured} ? ' extrapolated' : '')"}
    return {"field": "ranks", "type": "ordinal", "title": "ranks", "sort": counts, "legend": legend,
            "scale": {"domain": counts, **scale}}
