"""All operations in one chart: bus bandwidth over message size at the most ranks."""

from collections.abc import Iterator

import pandas as pd

from ...frames.representative import MODE_OF
from ..story import Story
from .shared.chart import PALETTE, Chart, Spec, axis_x_size, log_y, rows, spec
from .shared.curves import COLUMNS, QUANTITIES, curve, dots, extent, intervals, named, texts
from .shared.section import Section

__all__ = ["SECTION", "build"]

SECTION = Section("overview", "All operations", "all operations", 5)
_BUSBW = next(quantity for quantity in QUANTITIES if quantity.name == "busbw")


def build(story: Story) -> Iterator[Chart]:
    """A chart for each library that ran two operations or more, of as many as there are colours, in their order."""
    points = story.shown[(story.shown["busbw_Bps"] > 0) & (story.shown["message_bytes"] > 0)
                         & story.shown["mode"].eq(MODE_OF["busbw"])]
    fabrics = list(dict.fromkeys(points["fabric"]))
    for number, fabric in enumerate(fabrics):
        own = points[points["fabric"] == fabric]
        own = own[own["ranks"] == own["ranks"].max()]
        order = [result.op for result in story.answer.results if result.fabric == fabric]
        ops = [op for op in order if op in set(own["op"])][:len(PALETTE)]
        if len(ops) > 1:
            yield _chart(own[own["op"].isin(ops)].assign(kind="measured"), ops, f"-{number + 1}" if number else "",
                         fabric if len(fabrics) > 1 else None)


def _chart(own: pd.DataFrame, ops: list[str], suffix: str, choice: str | None) -> Chart:
    columns = ("op", *COLUMNS)
    base: Spec = {"x": axis_x_size(own["message_bytes"]), "color": named("op", "operation", ops),
                  "y": log_y(_BUSBW.columns[0], _BUSBW.kind, _BUSBW.axis, extent(own, _BUSBW))}
    layers = [intervals(base, _BUSBW), curve(base, "measured"), dots(base, _BUSBW)]
    words = f"Bus bandwidth over message size, {own['ranks'].iloc[0]} ranks, {own['mode'].iloc[0]} calls: measured"
    return Chart(f"overview{suffix}", SECTION.key, words, spec(layers, rows(own, columns), transform=texts()),
                 own[[*columns]], choice)
