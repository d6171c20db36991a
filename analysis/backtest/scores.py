"""Scores of predictions: errors, coverage and width by distance, and the errors of the baselines."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..cost.algorithms import algorithms_of, canonical_name
from ..models.regime import Category
from .run import Point

__all__ = ["LABELS", "BacktestScores", "SeriesScore", "by_series", "summarise"]

LABELS = ("up to 2x", "2x to 4x", "4x to 8x", "more than 8x")
_EDGES = (0.0, 2.01, 4.01, 8.01, np.inf)
_LEVEL = 0.9
_SERIES = ["system", "library", "op", "algorithm"]


class BacktestScores(NamedTuple):
    """One row of the table; errors and shares as fractions, width as high end over low end.

    Args:
        systems, series: how many there are. `series_error` is the median over series of their median error, so that
            each counts once however many points it has, and `series_coverage` the mean over series.
        bias: median of predicted over actual, less 1.
        winkler: mean interval score of the log of time at 90 % (Winkler, 1972): width plus 20 times the excess
            outside.
        baselines: median absolute percentage error by name, on the points that the baseline predicts.
        baseline_winkler: by name, of intervals of a constant width that covers 90 % of these points.
    """

    data: str
    distance: str
    points: int
    systems: int
    series: int
    series_error: float
    series_coverage: float
    median_error: float
    p90_error: float
    bias: float
    coverage: float
    width: float
    refused: float
    winkler: float
    baselines: dict[str, float]
    baseline_winkler: dict[str, float]


class SeriesScore(NamedTuple):
    """Predictions of one category in one series.

    Args:
        points: how many predictions.
        error: median absolute log error.
        inside: share of true values inside the interval.
    """

    system: str
    category: Category
    points: int
    error: float
    inside: float


def by_series(points: Sequence[Point]) -> list[SeriesScore]:
    """Scores of each series and category; refused predictions have none."""
    found: dict[tuple[object, ...], list[tuple[float, bool]]] = defaultdict(list)
    for point in points:
        if point.category is not None and point.predicted_s and point.lo_s and point.hi_s:
            found[point.system, point.library, point.algorithm, point.category].append(
                (abs(math.log(point.predicted_s / point.actual_s)), point.lo_s <= point.actual_s <= point.hi_s))
    return [SeriesScore(str(key[0]), category, len(rows), float(np.median([error for error, _ in rows])),
                        float(np.mean([inside for _, inside in rows])))
            for key, rows in found.items() if isinstance(category := key[-1], Category)]


def summarise(points: Sequence[Point]) -> list[BacktestScores]:
    """Scores by distance, for all points, for parts of them, and for each system."""
    frame = pd.DataFrame([point.__dict__ for point in points])
    parts = [("all", frame["system"].notna())]
    parts += [(name, chosen) for name, chosen in _parts(frame) if chosen.any() and not chosen.all()]
    systems = frame["system"].unique()
    if len(systems) > 1:
        parts += [(str(system), frame["system"] == system) for system in systems]
    return [line for name, chosen in parts for line in _lines(name, frame[chosen])]


def _parts(frame: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Subsets that are scored apart: what was measured, and what lies between it and the target."""
    regime = frame["category"].map(lambda category: category.regime if category else "")
    yield "from 2 or more rank counts", frame["train_counts"] > 1
    yield "from 3 or more rank counts", frame["train_counts"] > 2
    yield "from one rank count", frame["train_counts"] == 1
    named = [canonical_name(op, name) in {known.name for known in algorithms_of(op)}
             for op, name in zip(frame["op"], frame["algorithm"], strict=True)]
    yield "algorithm named, from 2 or more", pd.Series(named, frame.index) & (frame["train_counts"] > 1)
    yield "inside one switched domain", regime == "switched"
    yield "inside one switched domain, all_reduce and all_to_all from 4 ranks or more", (regime == "switched") \
        & frame["op"].isin(["all_reduce", "all_to_all"]) & (frame["train_max_ranks"] >= 4)
    yield "from published step times, over cards", regime == "tables"
    yield "a level that was not crossed", regime == "crossing"


def _lines(name: str, frame: pd.DataFrame) -> Iterator[BacktestScores]:
    where = pd.cut(frame["distance"], _EDGES, labels=LABELS)
    for label in LABELS:
        rows = frame[where == label]
        if len(rows):
            yield _line(name, label, rows)


def _line(name: str, label: str, rows: pd.DataFrame) -> BacktestScores:
    """One row: errors, coverage and width over the points of `rows`, and the errors of the baselines."""
    made = rows[~rows["refused"].astype(bool)]
    actual = np.log(made["actual_s"].to_numpy(float))
    predicted, low, high = (np.log(made[column].to_numpy(float)) for column in ("predicted_s", "lo_s", "hi_s"))
    error = np.abs(np.expm1(predicted - actual))
    simple = pd.DataFrame(list(rows["baselines"]), index=rows.index)
    logs = {str(column): np.log(simple[column].to_numpy(float)) - np.log(rows["actual_s"].to_numpy(float))
            for column in simple}
    logs = {column: values[np.isfinite(values)] for column, values in logs.items()}
    each = pd.DataFrame({"error": error, "inside": (low <= actual) & (actual <= high)}, index=made.index).groupby(
        [made[column] for column in _SERIES])
    return BacktestScores(name, label, len(rows), rows["system"].nunique(), len(rows.groupby(_SERIES)),
                          float(each["error"].median().median()), float(each["inside"].mean().mean()),
                          _of(np.median, error), _of(lambda x: np.quantile(x, 0.9), error),
                _of(lambda x: np.expm1(np.median(x)), predicted - actual),
                _of(np.mean, (low <= actual) & (actual <= high)), _of(lambda x: np.exp(np.median(x)), high - low),
                float(rows["refused"].mean()),
                _of(np.mean, high - low + 20 * (np.maximum(low - actual, 0) + np.maximum(actual - high, 0))),
                {column: _of(lambda x: np.median(np.abs(np.expm1(x))), values) for column, values in logs.items()},
                {column: _of(_winkler, values) for column, values in logs.items()})


def _winkler(error: NDArray[np.float64]) -> float:
    """Interval score of a baseline with intervals of constant width that cover 90 % of these errors."""
    half = np.quantile(np.abs(error), _LEVEL)
    return float(np.mean(2 * half + 20 * np.maximum(np.abs(error) - half, 0)))


def _of(function: Callable[[Any], Any], values: NDArray[np.float64]) -> float:
    return float(function(values)) if len(values) else float("nan")
