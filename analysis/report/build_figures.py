"""From a story to its figures: what they need beyond it, and then all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..frames.bandwidth import busbw_Bps
from ..frames.representative import HEADLINE_OPS, fabrics, with_fabric
from ..frames.samples import choose, read_calls
from ..models import extrapolate
from ..projection.side_by_side import project_pair
from ..text import units

if TYPE_CHECKING:
    from .figures import Chart
    from .story import Story

__all__ = ["draw"]

_CLOSE = 1.6        # times a target, within which the target itself says enough
_STEPS = 24         # of a line, which is a curve on axes that are logarithms
_LINE = ("op", "fabric", "ranks", "mode", "message_bytes", "time_s")


def draw(story: Story, ready: Callable[[Chart], None] = lambda chart: None) -> list[Chart]:
    """Every figure of a report on `story`, in the order of the page; `ready` is told each as soon as it is known."""
    from . import figures

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
    choices = choose(shown, story.points, story.findings) if story.data else []
    calls = [call for path in story.data for call in read_calls(path, choices)]
    others = [*known(figures.call_charts(calls)), *others]
    keys = [name for name in ("fabric", "op", "mode", "dtype", "redop", "place", "traffic") if name in shown]
    predictions = story.predictions.merge(shown[keys].drop_duplicates(), on=keys)
    ops = [op for op in HEADLINE_OPS if op in set(shown["op"])]
    curve, lines, ceilings = _curve(story, predictions), _lines(shown), _ceilings(shown)
    series = known(figures.series_charts(shown, predictions, curve, lines, ceilings))
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


def _lines(shown: pd.DataFrame) -> pd.DataFrame:
    """The line fitted to each curve over payloads, at payloads close enough to each other to draw it."""
    curves = shown[shown["line_fixed_s"].notna()].groupby(["op", "fabric", "ranks", "mode"], sort=False)
    found = [pd.DataFrame({"op": op, "fabric": fabric, "ranks": ranks, "mode": mode, "message_bytes": size,
                           "time_s": last["line_fixed_s"] + last["line_s_per_byte"] * size})
             for (op, fabric, ranks, mode), rows in curves
             for last in [rows.iloc[-1]]
             for size in [np.geomspace(rows["message_bytes"].min(), rows["message_bytes"].max(), _STEPS)]]
    whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*_LINE])
    busbw = busbw_Bps(whole["op"], whole["ranks"], whole["message_bytes"], whole["time_s"])
    return whole.assign(kind="line", busbw_Bps=busbw)


def _ceilings(shown: pd.DataFrame) -> pd.DataFrame:
    """The bus bandwidth that no representative point can pass, where one is known, and what sets it."""
    capped = shown[shown["ceiling_Bps"].notna()]
    rate = capped["ceiling_rate_Bps"].map(units.rate)
    return capped.assign(busbw_Bps=capped["ceiling_Bps"], words=capped["ceiling_kind"] + " of " + rate)[
        ["op", "fabric", "ranks", "message_bytes", "mode", "busbw_Bps", "words"]]
