"""Links: a heat map of every pair for each quantity, and the pairs in their tiers."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ...links import LinkMatrix
from ...links.link_findings import QUANTITIES, Quantity
from ...text import units
from .chart import DOT_LEGEND, INK, PALETTE, RATE, SECONDS, Chart, Spec, calculate, log_y, rows, spec, tooltip

__all__ = ["link_charts"]

_MOST_RANKS = 72                # a side of a heat map; of more, blocks of ranks stand for their worst pair
_MOST_PAIRS = 150               # dots of a tier
# From good to bad: ever darker, so that it can be told without colour, and the worst stands out on any page.
_WORSE = ("#d6e6f2", "#f3d68a", "#e69f00", "#c8430a")
_GOLDEN = (5**0.5 - 1) / 2


def link_charts(matrices: Sequence[LinkMatrix]) -> Iterator[Chart]:
    """For each quantity of each matrix: the map (rows send, columns receive), and the tiers."""
    for number, matrix in enumerate(matrices):
        for quantity in QUANTITIES:
            cells = matrix.cells[matrix.cells[quantity.column].notna()]
            if cells.empty:
                continue
            size = units.payload(matrix.message_bytes.get(quantity.name))
            what = f"{quantity.words} of every pair of ranks, {size}, {matrix.ranks} ranks of {matrix.transport}"
            yield Chart(f"links-{quantity.name}{number or ''}", "links",
                        f"{what[0].upper()}{what[1:]} (measured); darker is worse{_blocks_words(matrix.ranks)}.",
                        _heat_map(cells, quantity, matrix.ranks))
            tiers = matrix.tiers[matrix.tiers["quantity"] == quantity.name]
            if len(tiers):
                words = (f"Tiers of {quantity.words} between pairs of ranks, {size}, {matrix.transport} (measured): 1 "
                         "is the fastest; a dot is a pair, a line the typical one.")
                yield Chart(f"tiers-{quantity.name}{number or ''}", "links", words, _tiers(cells, tiers, quantity))


def _block(ranks: int) -> int:
    return -(-ranks // _MOST_RANKS)


def _blocks_words(ranks: int) -> str:
    side = _block(ranks)
    return f"; each cell is the worst pair of {side} by {side} ranks" if side > 1 else ""


def _heat_map(cells: pd.DataFrame, quantity: Quantity, ranks: int) -> Spec:
    rate, side = quantity.unit == "Bps", _block(ranks)
    table = _told(cells, quantity)
    if side > 1:
        worst = table.sort_values("value", ascending=rate, kind="stable")
        table = worst.assign(row=worst["from"] // side * side, column=worst["to"] // side * side).drop_duplicates(
            ["row", "column"])
    else:
        table = table.assign(row=table["from"], column=table["to"])
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
    told = [calculate(kind, "value", to="told"), calculate(kind, "value", "lo", "hi", to="interval told")]
    tip = tooltip(from_rank="from", to_rank="to", **{quantity.words: "told"}, interval="interval told",
                  samples="n", tier="tier", place="place", measured="measured")
    return spec([{"mark": {"type": "rect"}, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip}}],
                rows(table, ("row", "column", "from", "to", "value", "lo", "hi", "n", "tier", "place", "measured")),
                transform=told)


def _told(cells: pd.DataFrame, quantity: Quantity) -> pd.DataFrame:
    ends = [f"{quantity.name}_{end}_{quantity.unit}" for end in ("lo", "hi")]
    return pd.DataFrame({
        "from": cells["src"].astype(int), "to": cells["dst"].astype(int), "value": cells[quantity.column],
        "lo": cells[ends[0]], "hi": cells[ends[1]], "n": cells[f"{quantity.name}_n"].astype(int),
        "tier": cells[f"{quantity.name}_tier"].astype(int) + 1, "place": cells["place"],
        "measured": np.where(cells["alone"], "alone", "beside other pairs")})


def _tiers(cells: pd.DataFrame, tiers: pd.DataFrame, quantity: Quantity) -> Spec:
    rate = quantity.unit == "Bps"
    table = _told(cells, quantity)
    if quantity.symmetric:
        table = table[table["from"] < table["to"]]
    table = pd.concat([_some(own) for _, own in table.groupby("tier")])
    names = {int(row.tier) + 1: f"tier {int(row.tier) + 1}: {row.places}" for row in tiers.itertuples()}
    table["name"] = table["tier"].map(lambda tier: names.get(tier, f"tier {tier}"))
    table["spread"] = np.arange(len(table)) * _GOLDEN % 1 * 2 - 1       # dots of one value beside one another
    order = [names[tier] for tier in sorted(names)]
    kind = "rate" if rate else "seconds"
    typical = [{"value": float(row.typical), "name": names[int(row.tier) + 1], "pairs": int(row.cells),
                "told": quantity.show(row.typical), "range": units.span(quantity.show(row.lowest),
                                                                      quantity.show(row.highest))}
               for row in tiers.itertuples()]
    x = log_y("value", kind, quantity.words,
              [*table["value"], *(one["value"] for one in typical)], aside="x")
    y: Spec = {"field": "tier", "type": "ordinal", "title": "tier", "axis": {"grid": True}}
    colour = {"field": "name", "type": "nominal", "title": None, "sort": order,
              "scale": {"domain": order, "range": list(PALETTE)},
              "legend": {**DOT_LEGEND, "columns": 1}}
    tip = tooltip(from_rank="from", to_rank="to", **{quantity.words: "told"}, interval="interval told",
                  samples="n", place="place")
    still = {"type": "quantitative", "scale": {"domain": [-1.6, 1.6]}}
    jitter = {"field": "spread", **still}
    told = [calculate(kind, "value", to="told"), calculate(kind, "value", "lo", "hi", to="interval told")]
    for one, row in zip(typical, tiers.itertuples(), strict=True):
        one["tier"] = int(row.tier) + 1
    return spec([
        {"mark": {"type": "point", "filled": True, "size": 30, "opacity": 0.75}, "transform": told,
         "data": {"values": rows(table, ("from", "to", "value", "lo", "hi", "n", "tier", "name", "place", "spread"))},
         "encoding": {"x": x, "y": y, "yOffset": jitter, "color": colour, "tooltip": tip}},
        {"mark": {"type": "tick", "color": INK, "thickness": 2, "size": 40}, "data": {"values": typical},
         "encoding": {"x": x, "y": y, "yOffset": {"datum": 0, **still},
                      "tooltip": tooltip(typical="told", range="range", pairs="pairs", tier="name")}}],
        height=56 * len(tiers))


def _some(pairs: pd.DataFrame) -> pd.DataFrame:
    """At most so many pairs, evenly over their order, the fastest and the slowest among them."""
    ordered = pairs.sort_values("value")
    return ordered.iloc[np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_PAIRS)).round().astype(int))]
