"""Links: for each quantity a heat map of all pairs of ranks, and the pairs by tier."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ...links import LinkMatrix
from ...links.link_findings import QUANTITIES, LinkQuantity
from ...text import units
from ..story import Story
from .shared.chart import DOT_LEGEND, INK, PALETTE, RATE, SECONDS, Chart, Spec, calculate, log_y, rows, spec, tooltip
from .shared.section import Section

__all__ = ["SECTION", "build", "link_charts"]

SECTION = Section("links", "Links", "links", 40,
                  "Every pair of ranks in isolation. Anomalies are listed among the findings; a pair that stood out "
                  "was measured again while all other ranks were idle. The diagonal is empty.")
_MOST_RANKS = 72                # per side of a heat map; above, a cell is the worst pair of a block of ranks
_MOST_PAIRS = 150               # dots per tier
_SIDE, _MOST_STEP = 300, 60     # of a heat map and of a cell, in pixels: a phone has room for it
_NUMBERED = 8                   # up to so many ranks each cell has its number
# From good to bad: ever darker, so that it reads without colour and the worst stands out on any background.
_WORSE = ("#d6e6f2", "#f3d68a", "#e69f00", "#c8430a")
_GOLDEN = (5**0.5 - 1) / 2


def build(story: Story) -> Iterator[Chart]:
    """For each link quantity of each matrix a heat map and the pairs by tier."""
    return link_charts(story.links)


def link_charts(matrices: Sequence[LinkMatrix]) -> Iterator[Chart]:
    """For each quantity of each matrix: the heat map (rows send, columns receive), and the tiers."""
    for number, matrix in enumerate(matrices):
        for quantity in QUANTITIES:
            cells = matrix.cells[matrix.cells[quantity.column].notna()]
            if cells.empty:
                continue
            size = units.payload(matrix.message_bytes.get(quantity.name))
            what = f"{quantity.words} of every pair of ranks, {size}, {matrix.ranks} ranks of {matrix.transport}"
            pairs = _pairs(cells, quantity)
            table = _blocks(pairs, matrix.ranks, quantity.unit == "Bps")
            yield Chart(f"links-{quantity.name}{number or ''}", SECTION.key,
                        f"{what[0].upper()}{what[1:]} (measured); darker is worse{_blocks_words(matrix.ranks)}.",
                        _heat_map(table, quantity), table)
            tiers = matrix.tiers[matrix.tiers["quantity"] == quantity.name]
            if len(tiers):
                words = (f"Tiers of {quantity.words} between pairs of ranks, {size}, {matrix.transport} (measured): 1 "
                         "is the fastest; a dot is a pair, a line the median of the tier.")
                dots, typical = _dots_and_lines(pairs, tiers, quantity)
                yield Chart(f"tiers-{quantity.name}{number or ''}", SECTION.key, words,
                            _tiers(dots, typical, quantity), pd.concat([dots, typical], keys=["pair", "tier"],
                                                                       names=["kind"]).reset_index("kind"))


def _block(ranks: int) -> int:
    return -(-ranks // _MOST_RANKS)


def _blocks_words(ranks: int) -> str:
    side = _block(ranks)
    return f"; each cell is the worst pair of {side} by {side} ranks" if side > 1 else ""


def _blocks(pairs: pd.DataFrame, ranks: int, rate: bool) -> pd.DataFrame:
    """`pairs` with the `row` and `column` of their cell; of many ranks only the worst pair of each cell."""
    side = _block(ranks)
    placed = pairs.assign(row=pairs["from"] // side * side, column=pairs["to"] // side * side)
    if side == 1:
        return placed
    return placed.sort_values("value", ascending=rate, kind="stable").drop_duplicates(["row", "column"])


def _heat_map(table: pd.DataFrame, quantity: LinkQuantity) -> Spec:
    rate = quantity.unit == "Bps"
    low, high = float(table["value"].min()), float(table["value"].max())
    if high <= low * 1.01:
        low, high = low / 1.1, high * 1.1
    legend = {"title": quantity.words, "orient": "bottom",
              "labelExpr": RATE if rate else SECONDS, "gradientLength": 220, "tickCount": 3,
              "values": [low, math.sqrt(low * high), high]}
    colour = {"field": "value", "type": "quantitative", "legend": legend,
              "scale": {"type": "log", "domain": [low, high], "interpolate": "rgb",
                        "range": list(_WORSE[::-1] if rate else _WORSE)}}
    known = sorted({*table["row"].tolist(), *table["column"].tolist()})
    step = -(-len(known) // 12)
    axis = {"labelAngle": 0, "values": known[::step], "grid": False, "ticks": False}
    x = {"field": "column", "type": "ordinal", "title": "to rank (receives)", "sort": known, "axis": axis}
    y = {"field": "row", "type": "ordinal", "title": "from rank (sends)", "sort": known, "axis": axis}
    kind = "rate" if rate else "seconds"
    texts = [calculate(kind, "value", to="text"), calculate(kind, "value", "lo", "hi", to="interval text")]
    tip = tooltip(from_rank="from", to_rank="to", **{quantity.words: "text"}, interval="interval text",
                  samples="n", tier="tier", place="place", measured="measured")
    layers: list[Spec] = [{"mark": {"type": "rect"}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip}}]
    if len(known) <= _NUMBERED:
        layers.append({"mark": {"type": "text", "fontSize": 9.5, "color": "black"},
                       "encoding": {"x": x, "y": y, "text": {"field": "label"}}})
    shown = table.assign(label=table["value"].map(quantity.show))
    side: Spec = {"step": min(_MOST_STEP, _SIDE / max(1, len(known)))}
    columns = ("row", "column", "from", "to", "value", "lo", "hi", "n", "tier", "place", "measured", "label")
    return spec(layers, rows(shown, columns), transform=texts) | {"width": side, "height": side}


def _pairs(cells: pd.DataFrame, quantity: LinkQuantity) -> pd.DataFrame:
    ends = [f"{quantity.name}_{end}_{quantity.unit}" for end in ("lo", "hi")]
    return pd.DataFrame({
        "from": cells["src"].astype(int), "to": cells["dst"].astype(int), "value": cells[quantity.column],
        "lo": cells[ends[0]], "hi": cells[ends[1]], "n": cells[f"{quantity.name}_n"].astype(int),
        "tier": cells[f"{quantity.name}_tier"].astype(int) + 1, "place": cells["place"],
        "measured": np.where(cells["alone"], "alone", "with other pairs")})


def _dots_and_lines(pairs: pd.DataFrame, tiers: pd.DataFrame,
                    quantity: LinkQuantity) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs to show as dots, and a row for each tier with its median (`value`) and range."""
    table = pairs[pairs["from"] < pairs["to"]] if quantity.symmetric else pairs
    table = pd.concat([_some(own) for _, own in table.groupby("tier")])
    number = tiers["tier"].astype(int) + 1
    typical = pd.DataFrame({
        "tier": number, "value": tiers["typical"].astype(float), "lowest": tiers["lowest"], "highest": tiers["highest"],
        "pairs": tiers["cells"].astype(int),
        "name": [f"tier {tier}: {places}" for tier, places in zip(number, tiers["places"], strict=True)]})
    typical["text"] = typical["value"].map(quantity.show)
    typical["range"] = [units.span(quantity.show(low), quantity.show(high))
                        for low, high in zip(tiers["lowest"], tiers["highest"], strict=True)]
    names = dict(zip(typical["tier"], typical["name"], strict=True))
    return table.assign(name=[names.get(tier, f"tier {tier}") for tier in table["tier"]],
                        spread=np.arange(len(table)) * _GOLDEN % 1 * 2 - 1), typical


def _tiers(dots: pd.DataFrame, typical: pd.DataFrame, quantity: LinkQuantity) -> Spec:
    kind = "rate" if quantity.unit == "Bps" else "seconds"
    order = typical.sort_values("tier")["name"].tolist()
    x = log_y("value", kind, quantity.words, [*dots["value"], *typical["value"]], aside="x")
    y: Spec = {"field": "tier", "type": "ordinal", "title": "tier", "axis": {"grid": True}}
    colour: Spec = {"field": "name", "type": "nominal", "title": None, "sort": order,
                    "scale": {"domain": order, "range": list(PALETTE)},
                    "legend": {**DOT_LEGEND, "columns": 1}}
    tip = tooltip(from_rank="from", to_rank="to", **{quantity.words: "text"}, interval="interval text",
                  samples="n", place="place")
    still: Spec = {"type": "quantitative", "scale": {"domain": [-1.6, 1.6]}}
    jitter = {"field": "spread", **still}       # separates dots of equal value
    texts = [calculate(kind, "value", to="text"), calculate(kind, "value", "lo", "hi", to="interval text")]
    return spec([
        {"mark": {"type": "point", "filled": True, "size": 30, "opacity": 0.75}, "transform": texts,
         "data": {"values": rows(dots, ("from", "to", "value", "lo", "hi", "n", "tier", "name", "place", "spread"))},
         "encoding": {"x": x, "y": y, "yOffset": jitter, "color": colour, "tooltip": tip}},
        {"mark": {"type": "tick", "color": INK, "thickness": 2, "size": 40},
         "data": {"values": rows(typical, ("tier", "value", "pairs", "name", "text", "range"))},
         "encoding": {"x": x, "y": y, "yOffset": {"datum": 0, **still},
                      "tooltip": tooltip(median="text", range="range", pairs="pairs", tier="name")}}],
        height=56 * len(typical))


def _some(pairs: pd.DataFrame) -> pd.DataFrame:
    """At most `_MOST_PAIRS` pairs, evenly spaced in order of value, including the fastest and the slowest."""
    ordered = pairs.sort_values("value")
    return ordered.iloc[np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_PAIRS)).round().astype(int))]
