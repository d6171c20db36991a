"""From a story to its figures: what they need beyond it, and then all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pandas as pd

from . import units
from .models import extrapolate
from .projection.pair import project_pair
from .samples import choose, read_calls
from .tables import HEADLINE_OPS, fabrics, with_fabric

if TYPE_CHECKING:
    from .report.figures import Chart
    from .summary import Story

__all__ = ["draw"]

_CLOSE = 1.6        # times a target, within which the target itself says enough


def draw(story: Story, ready: Callable[[Chart], None] = lambda chart: None) -> list[Chart]:
    """Every figure of a report on `story`, in the order of the page; `ready` is told each as soon as it is known."""
    from .report import figures

    def known(charts: Iterable[Chart]) -> list[Chart]:
        found = []
        for chart in charts:
            ready(chart)
            found.append(chart)
        return found
    shown = story.shown
    # What needs no model goes first: it can be drawn while models are fitted.
    others = [*known(figures.lateness_charts(story.loaded.lateness, story.loaded.runs)),
              *known(figures.link_charts(story.links))]
    calls = read_calls(story.data, choose(shown, story.points, story.findings)) if story.data else []
    others = [*known(figures.call_charts(calls)), *others]
    keys = [name for name in ("fabric", "op", "mode", "dtype", "redop", "place", "traffic") if name in shown]
    predictions = story.predictions.merge(shown[keys].drop_duplicates(), on=keys)
    ops = [op for op in HEADLINE_OPS if op in set(shown["op"])]
    series = known(figures.series_charts(shown, predictions, _curve(story, predictions), _ceilings(shown)))
    return [*series, *known(figures.domain_charts(project_pair(shown, ops, story.home), shown)), *others]


def _curve(story: Story, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions at the targets, and for the operations most asked for also between them and what was measured."""
    asked_for = story.shown[story.shown["op"].isin(HEADLINE_OPS)]
    if asked_for.empty:
        return predictions
    counts, last = [], int(asked_for["ranks"].max())
    while (last := last * 2) < max(story.targets):
        if all(max(last / target, target / last) > _CLOSE for target in story.targets):
            counts.append(last)
    between = with_fabric(extrapolate(asked_for, counts, story.home), fabrics(story.points))
    return pd.concat([predictions, between[between["kind"] == "extrapolated"]])


def _ceilings(shown: pd.DataFrame) -> pd.DataFrame:
    """The bus bandwidth that no representative point can pass, where one is known, and what sets it."""
    capped = shown[shown["ceiling_Bps"].notna()]
    rate = capped["ceiling_rate_Bps"].map(units.rate)
    return capped.assign(busbw_Bps=capped["ceiling_Bps"], words=capped["ceiling_kind"] + " of " + rate)[
        ["op", "fabric", "ranks", "message_bytes", "mode", "busbw_Bps", "words"]]
