"""Backtest results as JSON and as a Markdown table."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from .run import Point
from .scores import BacktestScores

__all__ = ["as_json", "table"]


def as_json(points: Sequence[Point], lines: Sequence[BacktestScores]) -> dict[str, list[dict[str, object]]]:
    """{"points": [...], "summary": [...]}; None if unknown."""
    return {"points": [{**asdict(point), "category": point.category and point.category._asdict()} for point in points],
            "summary": [_known(line._asdict()) for line in lines]}


def _known(values: dict[str, object]) -> dict[str, object]:
    return {name: _known(value) if isinstance(value, dict) else None
            if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}


def table(lines: Sequence[BacktestScores]) -> str:
    """Markdown: errors of predictions and of the baselines, by distance. Percent, except width and score ratio."""
    names = list(dict.fromkeys(name for line in lines for name in line.baselines))
    head = ["data", "distance", "points", "systems", "series", "median error by series", "coverage by series",
            "median error", "90th pct", "bias", "coverage of 90 %", "width hi/lo",
            "refused", "score / best baseline's", *(f"median: {name}" for name in names)]
    rows = [[line.data, line.distance, str(line.points), str(line.systems), str(line.series),
             *(_percent(value) for value in line[5:11]),
             f"{line.width:.2f}", _percent(line.refused), _skill(line),
             *(_percent(line.baselines.get(name, math.nan)) for name in names)] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def _skill(line: BacktestScores) -> str:
    known = [value for value in line.baseline_winkler.values() if math.isfinite(value)]
    return f"{line.winkler / min(known):.2f}" if known and min(known) > 0 else "-"
