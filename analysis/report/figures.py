"""Frames to charts. One Vega-Lite specification gives the chart in the page and the files beside it.

Three charts an operation: time over size, bus bandwidth over size, and time over ranks out to the targets. Data stay
SI; axes and tooltips translate. Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import pandas as pd
import vl_convert

from collectives.cases import format_size

from .. import units
from ..links import LinkMatrix
from ..links.words import QUANTITIES, Quantity

__all__ = ["Chart", "charts", "library", "link_charts", "save"]

# Without Okabe and Ito's yellow and black: each vanishes on a white or on a dark page.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999")
_VEGALITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])    # that altair writes
_WIDTH, _HEIGHT = 460, 280
_SCALE = 2                     # of the PNG, for screens and slides
_FILE_CONFIG = {"background": "white", "font": "sans-serif"}

_RANK_TICKS = (2, 4, 8, 16, 32, 72, 128, 384)
_LEGEND = alt.Legend(symbolType="circle", symbolOpacity=1, symbolStrokeWidth=0)

_SECONDS = ("datum.value < 1e-6 ? format(datum.value * 1e9, '~r') + ' ns' : datum.value < 1e-3 ? "
            "format(datum.value * 1e6, '~r') + ' µs' : datum.value < 1 ? format(datum.value * 1e3, '~r') + ' ms' : "
            "format(datum.value, '~r') + ' s'")
_RATE = "format(datum.value / 1e9, '~r')"
_SIZE = ("datum.value < 1024 ? format(datum.value, '~r') + ' B' : datum.value < 1048576 ? format(datum.value / 1024, "
         "'.3~r') + ' KiB' : datum.value < 1073741824 ? format(datum.value / 1048576, '.3~r') + ' MiB' : "
         "format(datum.value / 1073741824, '.3~r') + ' GiB'")


@dataclass(frozen=True)
class Chart:
    """One chart: `name` is that of its files, `caption` says what it shows and whether it was measured."""

    name: str
    op: str
    caption: str
    spec: dict[str, object]


def charts(points: pd.DataFrame, curve: pd.DataFrame) -> list[Chart]:
    """Charts of every operation.

    Args:
        points: representative points, with `fabric`.
        curve: predictions of those series at rank counts out to the targets, with `fabric`.
    """
    found: list[Chart] = []
    for op in points["op"].unique():
        mine, ahead = points[points["op"] == op], curve[curve["op"] == op]
        found += [*_over_size(op, mine), *_over_ranks(op, mine, ahead)]
    return found


def link_charts(matrices: Sequence[LinkMatrix]) -> list[Chart]:
    """A heat map of each quantity of each link matrix: rows send, columns receive; darker is worse."""
    found = []
    for number, matrix in enumerate(matrices):
        for quantity in QUANTITIES:
            rows = matrix.cells[matrix.cells[quantity.column].notna()]
            if len(rows):
                size = units.payload(matrix.message_bytes.get(quantity.name))
                caption = (f"{quantity.words} of every link, {size}, {matrix.ranks} ranks of {matrix.transport} "
                           "(measured)")
                found.append(Chart(f"links-{quantity.name}{number or ''}", "links", caption[0].upper() + caption[1:],
                                   _spec(_heat_map(rows, quantity))))
    return found


def _heat_map(cells: pd.DataFrame, quantity: Quantity) -> alt.LayerChart:
    low, high = (f"{quantity.name}_{end}_{quantity.unit}" for end in ("lo", "hi"))
    rows = pd.DataFrame({
        "from": cells["src"], "to": cells["dst"], "value": cells[quantity.column], "place": cells["place"],
        "told": cells[quantity.column].map(quantity.show), "tier": cells[f"{quantity.name}_tier"] + 1,
        "interval": [units.span(quantity.show(a), quantity.show(b)) if a == a else "too few samples"
                     for a, b in zip(cells[low], cells[high], strict=True)],
        "samples": cells[f"{quantity.name}_n"],
        "measured": ["while all others rested" if alone else "beside other pairs" for alone in cells["alone"]]})
    rate = quantity.unit == "Bps"
    legend = alt.Legend(title="GB/s" if rate else "time", labelExpr=_RATE if rate else _SECONDS)
    scale = alt.Scale(type="log", scheme="cividis", reverse=not rate)
    ranks = sorted({*rows["from"], *rows["to"]})
    x, y = (alt.X("to:O", title="to rank", sort=ranks, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            alt.Y("from:O", title="from rank", sort=ranks, axis=alt.Axis(labelOverlap=True)))
    tip = [alt.Tooltip(f"{name}:N", title=title) for name, title in (
        ("from", "from rank"), ("to", "to rank"), ("told", quantity.words), ("interval", "95 % interval"),
        ("samples", "samples"), ("tier", "tier"), ("place", "place"), ("measured", "measured"))]
    base = alt.Chart(rows).encode(x=x, y=y, tooltip=tip)
    chart = base.mark_rect().encode(color=alt.Color("value:Q", scale=scale, legend=legend))
    return alt.layer(chart)


def save(drawn: list[Chart], folder: Path) -> None:
    """Write every chart as NAME.png and NAME.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    for chart in drawn:
        spec = {**chart.spec, "width": _WIDTH, "title": chart.caption}
        svg = vl_convert.vegalite_to_svg(spec, vl_version=_VEGALITE, config=_FILE_CONFIG)
        (folder / f"{chart.name}.svg").write_text(svg, encoding="utf-8")
        (folder / f"{chart.name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=_SCALE))


def library() -> str:
    """The JavaScript that draws the charts' specifications in a page, as `vegaEmbed`."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", _VEGALITE)


def _over_size(op: str, points: pd.DataFrame) -> Iterator[Chart]:
    sized = points[points["message_bytes"] > 0]
    for quantity, column, mode, name in (("time", "time", "isolated", "Time"),
                                         ("busbw", "busbw", "streamed", "Bus bandwidth")):
        rows = sized[sized["mode"] == mode]
        if len(rows):
            spec = _spec(_size_chart(_told(rows), f"{column}_"))
            yield Chart(f"{op}-{quantity}-size", op, f"{name} of {op}, {mode} calls (measured)", spec)


def _size_chart(rows: pd.DataFrame, column: str) -> alt.LayerChart:
    unit = "s" if column == "time_" else "Bps"
    title = "time" if unit == "s" else "bus bandwidth (GB/s)"
    x = alt.X("message_bytes:Q", title="payload", scale=alt.Scale(type="log", base=2, nice=False),
              axis=alt.Axis(labelExpr=_SIZE, values=_ticks(rows["message_bytes"]), labelOverlap=True,
                            labelSeparation=6))
    low, high = ("time_lo_s", "time_hi_s") if unit == "s" else ("busbw_lo_Bps", "busbw_hi_Bps")
    y_axis = alt.Axis(labelExpr=_SECONDS if unit == "s" else _RATE, values=_decades(rows, low, high, f"{column}{unit}"))
    y = alt.Y(f"{column}{unit}:Q", title=title, scale=alt.Scale(type="log"), axis=y_axis)
    base = alt.Chart(rows).encode(x=x, color=_colour(rows), tooltip=_tooltip())
    bars = base.mark_rule(opacity=0.7).encode(y=alt.Y(f"{low}:Q", title=title, axis=y_axis), y2=f"{high}:Q")
    return bars + base.mark_line(strokeWidth=1.5).encode(y=y, **_dash(rows)) + \
        base.mark_point(size=36, filled=True, opacity=1).encode(y=y, **_shape(rows))


def _over_ranks(op: str, points: pd.DataFrame, curve: pd.DataFrame) -> Iterator[Chart]:
    measured = points[(points["mode"] == "isolated") & (points["ranks"] >= 2)]
    ahead = curve[(curve["mode"] == "isolated") & (curve["kind"] != "refused") & (curve["distance"] >= 1)]
    if measured.empty or not ahead["kind"].eq("extrapolated").any():
        return
    shown = _three(measured["asked_bytes"])
    both = [_told(frame[frame["asked_bytes"].isin(shown)]) for frame in (measured, ahead)]
    yield Chart(f"{op}-time-ranks", op, f"Time of {op} over ranks, isolated calls (measured, then extrapolated)",
                _spec(_ranks_chart(*both)))


def _ranks_chart(measured: pd.DataFrame, ahead: pd.DataFrame) -> alt.LayerChart:
    """Solid and filled: measured. Dashed and open, with a band: extrapolated; they begin where measuring ended."""
    furthest, largest = int(ahead["ranks"].max()), int(measured["ranks"].max())
    x = alt.X("ranks:Q", title="ranks", scale=alt.Scale(type="log", base=2, nice=False, domain=[2, furthest]),
              axis=alt.Axis(values=[n for n in _RANK_TICKS if n <= furthest], format="d"))
    decades = _decades(pd.concat([measured, ahead]), "time_lo_s", "time_hi_s", "time_s")
    y_axis = alt.Axis(labelExpr=_SECONDS, values=decades)
    y = alt.Y("time_s:Q", title="time", scale=alt.Scale(type="log"), axis=y_axis)
    colour = alt.Color("payload:N", title="payload", scale=alt.Scale(range=list(_PALETTE)), legend=_LEGEND,
                       sort=list(dict.fromkeys(measured.sort_values("asked_bytes")["payload"])))
    model = alt.Chart(ahead).encode(x=x, y=y, color=colour, detail="fabric:N")
    band = model.mark_area(opacity=0.14).encode(y=alt.Y("time_lo_s:Q", title="time", axis=y_axis), y2="time_hi_s:Q")
    shape, tip = _shape(measured), _tooltip()
    there = alt.Chart(ahead[ahead["ranks"] > largest]).mark_point(size=32, filled=False, opacity=1)
    seen = alt.Chart(measured).encode(x=x, y=y, color=colour, detail="fabric:N", tooltip=tip)
    return _shade(largest, furthest) + band + model.mark_line(strokeDash=[5, 4], strokeWidth=1.5) + \
        there.encode(x=x, y=y, color=colour, tooltip=tip, **shape) + seen.mark_line(strokeWidth=1.5) + \
        seen.mark_point(size=36, filled=True, opacity=1).encode(**shape)


def _shade(largest: int, furthest: int) -> alt.LayerChart:
    """The measured range in grey, and the words for both ranges at the top."""
    ranges = pd.DataFrame([{"from": 2, "to": largest, "middle": math.sqrt(2 * largest), "word": "measured"},
                           {"from": largest, "to": furthest, "middle": math.sqrt(largest * furthest),
                            "word": "extrapolated"}])
    grey = alt.Chart(ranges[:1]).mark_rect(opacity=0.12, color="#888888").encode(x=alt.X("from:Q"), x2="to:Q")
    words = alt.Chart(ranges).mark_text(color="#888888", baseline="top", fontStyle="italic")
    return grey + words.encode(x=alt.X("middle:Q"), y=alt.value(4), text="word:N")


def _told(rows: pd.DataFrame) -> pd.DataFrame:
    """Only the columns a chart needs, with texts for tooltips."""
    kept = rows[["fabric", "ranks", "message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s", "busbw_Bps",
                 "busbw_lo_Bps", "busbw_hi_Bps"]].copy()
    kept["kind"] = rows.get("kind", "measured")
    kept["level"] = ["90 %" if kind == "extrapolated" else "95 %" for kind in kept["kind"]]
    kept["payload"] = [format_size(int(size)) if size else "none" for size in rows["asked_bytes"]]
    kept["size"] = [format_size(int(size)) for size in rows["message_bytes"]]
    kept["time"] = rows["time_s"].map(units.seconds)
    kept["busbw"] = rows["busbw_Bps"].map(units.rate)
    for name, low, high, tell in (("time range", "time_lo_s", "time_hi_s", units.seconds),
                                  ("busbw range", "busbw_lo_Bps", "busbw_hi_Bps", units.rate)):
        kept[name] = [units.span(tell(lo), tell(hi)) for lo, hi in zip(rows[low], rows[high], strict=True)]
    return kept


def _tooltip() -> list[alt.Tooltip]:
    fields = (("kind", ""), ("fabric", ""), ("ranks", "ranks"), ("size", "payload"), ("time", "time"),
              ("time range", "interval of time"), ("busbw", "busbw"), ("busbw range", "interval of busbw"),
              ("level", "level of intervals"))
    return [alt.Tooltip(f"{name}:N", title=title or name) for name, title in fields]


def _colour(rows: pd.DataFrame) -> alt.Color:
    """By rank count: distinct hues while they last, then one ordered scale."""
    counts = sorted(int(count) for count in rows["ranks"].unique())
    scale = alt.Scale(range=list(_PALETTE)) if len(counts) <= len(_PALETTE) else alt.Scale(scheme="cividis")
    return alt.Color("ranks:O", title="ranks", scale=scale, sort=counts, legend=_LEGEND)


def _shape(rows: pd.DataFrame) -> dict[str, alt.Shape]:
    return {"shape": alt.Shape("fabric:N", title="fabric")} if rows["fabric"].nunique() > 1 else {}


def _dash(rows: pd.DataFrame) -> dict[str, object]:
    """Lines of different fabrics must not be joined, and differ where colour is taken by ranks."""
    return {"strokeDash": alt.StrokeDash("fabric:N", legend=None)} if rows["fabric"].nunique() > 1 else {}


def _three(sizes: pd.Series) -> list[int]:
    """The smallest, a middle and the largest size."""
    known = sorted(sizes.unique())
    return sorted({known[0], known[len(known) // 2], known[-1]})


def _ticks(sizes: pd.Series) -> list[int]:
    """Powers of 8, 64 or so between the smallest and the largest payload: at most ten."""
    first, last = int(sizes.min()).bit_length() - 1, int(sizes.max()).bit_length()
    step = max(1, -(-(last - first) // 9))
    return [1 << power for power in range(first, last + 1, step)]


def _decades(rows: pd.DataFrame, *columns: str) -> list[float]:
    """Powers of ten around the values: at most eight. A logarithmic axis left alone labels every digit."""
    values = rows[list(columns)].to_numpy(float)
    values = values[values > 0]
    first, last = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    return [10.0**power for power in range(first, last + 1, max(1, -(-(last - first) // 7)))]


def _spec(layers: alt.LayerChart) -> dict[str, object]:
    spec = layers.properties(width="container", height=_HEIGHT).to_dict()
    spec.pop("config", None)
    return spec
