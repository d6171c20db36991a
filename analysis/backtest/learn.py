"""Calibrate the models on measurements at several rank counts: errors of the candidates, widths of the intervals.

    python -m collbench.analysis.backtest.learn CSV... -o analysis/data/experience

Each CSV is one data set. Sums are stored by data set, so that any of them can be left out later. The widths are fitted
once with all data sets, and once without each: quantile regressions (Koenker and Bassett, 1978) of the log of the
absolute error, then quantiles of error over scale by distance class.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..models.calibration import (
    BUCKETS,
    COUNTS,
    FEATURES,
    Calibration,
    History,
    Row,
    Widths,
    bucket,
    history_class,
    scope_of,
)
from ..models.curve import Floats, Ints
from ..models.ensemble import features, weigh
from ..models.growth import Growth, GrowthRow, growths_of
from ..models.holdout import Trials, hold_trials
from ..text.safe_csv import to_csv
from .series import Series, curves_of, read_data

__all__ = ["Case", "fit_widths", "learn", "learned_rows", "main"]

_LEVEL = 0.9
_BEST = 0.01        # smaller log errors count as this one


class Case(NamedTuple):
    """One data set's series with its trials."""

    data_set: str
    series: Series
    trials: Trials


def growth_rows(series: Sequence[tuple[str, Series]]) -> list[GrowthRow]:
    """Growth per doubling by system and band: the median over the curves of an operation."""
    table: dict[tuple[str, str, str, str, str, int], list[float]] = defaultdict(list)
    for data_set, one in series:
        for band, growth in growths_of(one.curve).items():
            table[(data_set, one.system, one.curve.op, one.kind, scope_of(one.curve), band)].append(growth)
    return [(*key, float(np.median(values))) for key, values in sorted(table.items())]


class _Errors(NamedTuple):
    """[point] forecasts with a known outcome: features, signed log error, classes of distance and counts, data set."""

    features: Floats
    error: Floats
    distance: Ints
    counts: Ints
    data_set: NDArray[np.object_]

    def only(self, chosen: NDArray[np.bool_]) -> "_Errors":
        return _Errors(self.features[chosen], self.error[chosen], self.distance[chosen], self.counts[chosen],
                       self.data_set[chosen])


def learned_rows(cases: Sequence[Case]) -> list[Row]:
    """Sums of mean log errors by data set, group and candidate; every curve counts once per distance class."""
    table: dict[tuple[str, str, str, str, str, int], list[float]] = defaultdict(list)
    for data_set, series, trials in cases:
        curve, errors = trials.curve, trials.errors()
        for name, at in {candidate.name: at for at, candidate in enumerate(trials.candidates)}.items():
            of: dict[int, list[float]] = defaultdict(list)
            for i in range(1, len(curve.counts)):
                for j in range(i, len(curve.counts)):
                    here = errors[at, i, :, j]
                    if np.isfinite(here).any():
                        of[history_class(curve.counts[j] / curve.counts[i - 1], i)].append(float(np.nanmedian(here)))
            for distance, found in of.items():
                key = (data_set, curve.op, series.kind, scope_of(curve), name, distance)
                table[key].append(float(np.log(max(float(np.mean(found)), _BEST))))
    return [(*key, sum(values), len(values)) for key, values in sorted(table.items())]


def _errors(cases: Sequence[Case], rows: Sequence[Row]) -> _Errors:
    """All forecasts from one rank count or more, each data set with the calibration of the others."""
    known = {name: Calibration(History(row for row in rows if row[0] != name), Growth(()), {})
             for name in {case.data_set for case in cases}}
    found: list[tuple[Floats, Floats, int, int, str]] = []
    for data_set, series, trials in cases:
        curve = trials.curve
        for i in range(1, len(curve.counts)):
            for j in range(i, len(curve.counts)):
                estimate = weigh(trials, i, int(curve.counts[j]), trials.log_time_s[:, i, :, j], series.kind,
                             known[data_set])
                away = curve.counts[j] / curve.counts[i - 1]
                error = estimate.log_time_s - curve.log_time_s[:, j]
                keep = np.isfinite(error)
                found.append((features(estimate, float(np.log2(away)), i)[keep], error[keep], bucket(away),
                              min(i, COUNTS[-1]), data_set))
    sizes = [len(error) for _, error, *_ in found]
    return _Errors(np.concatenate([rows for rows, *_ in found]), np.concatenate([error for _, error, *_ in found]),
                   np.repeat([distance for *_, distance, _, _ in found], sizes),
                   np.repeat([counts for *_, counts, _ in found], sizes),
                   np.repeat([name for *_, name in found], sizes))


def fit_widths(errors: _Errors) -> Widths:
    """Coefficients by a smoothed quantile regression, then quantiles of error over scale.

    A data set of n points has weight n ** 0.75, so that one large data set does not dominate.
    """
    names, many = np.unique(errors.data_set, return_counts=True)
    weight = dict(zip(names, many**-0.25, strict=True))
    weights = np.array([weight[name] for name in errors.data_set])
    weights = weights / weights.sum()
    wanted = np.log(np.abs(errors.error) + 0.005)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        left = wanted - errors.features @ coefficients
        smooth = np.sqrt(left**2 + 0.05**2)
        ridge = np.r_[0.0, coefficients[1:]]
        value = weights @ (0.5 * smooth + (_LEVEL - 0.5) * left) + 1e-3 * ridge @ ridge
        slope = -errors.features.T @ (weights * (0.5 * left / smooth + _LEVEL - 0.5)) + 2e-3 * ridge
        return float(value), slope
    found = minimize(loss, np.zeros(len(FEATURES)), jac=True, method="BFGS").x
    ratio = errors.error / np.exp(errors.features @ found)
    low, high = (np.array([_quantile(errors.distance, ratio, weights, at, share) for at in range(len(BUCKETS) + 1)])
                 for share in ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return Widths(found, low, high)


def _quantile(distances: Ints, ratio: Floats, weights: Floats, at: int, share: float) -> float:
    """Weighted quantile of the points in a distance class; an empty class uses the nearest one that has points."""
    there = distances[np.abs(distances - at).argmin()]
    chosen = distances == there
    order = np.argsort(ratio[chosen])
    reached = weights[chosen][order].cumsum() / weights[chosen].sum()
    return float(ratio[chosen][order][min(int(np.searchsorted(reached, share)), len(order) - 1)])


def learn(paths: Sequence[Path]) -> dict[str, list[dict[str, object]]]:
    """Rows of the files of the calibration, by name, from tidy CSV files."""
    found = [(path.stem, series) for path in paths for series in curves_of(read_data(path))]
    growth = growth_rows(found)
    others = {path.stem: Growth(row for row in growth if row[0] != path.stem) for path in paths}
    cases = [Case(name, series, hold_trials(replace(series.curve, growth=others[name].of(
                 series.curve.op, series.kind, scope_of(series.curve)))))
             for name, series in found if len(series.curve.counts) >= 2]
    rows = learned_rows(cases)
    errors = _errors(cases, rows)
    widths: list[dict[str, object]] = []
    for without in ["", *sorted({case.data_set for case in cases})]:
        for counts in COUNTS:
            fitted = fit_widths(errors.only((errors.data_set != without) & (errors.counts == counts)))
            widths.append({
                "without": without, "counts": counts,
                **dict(zip(FEATURES, map(_short, fitted.coefficients), strict=True)),
                **{f"low {i}": _short(value) for i, value in enumerate(fitted.low)},
                **{f"high {i}": _short(value) for i, value in enumerate(fitted.high)}})
    names = ("data_set", "op", "kind", "scope", "candidate", "bucket", "sum_log_error", "curves")
    return {
        "errors": [{**dict(zip(names, row, strict=True)), "sum_log_error": _short(row[6])} for row in rows],
        "growth": [dict(zip(("data_set", "system", "op", "kind", "scope", "band", "growth"),
                            (*row[:-1], _short(row[-1])), strict=True)) for row in growth],
        "widths": widths,
        "systems": [{"system": system, "data_set": name}
                    for system, name in sorted({series.system: name for name, series in found}.items())]}


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write errors.csv, growth.csv, widths.csv and systems.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    for name, rows in learn(given.csv).items():
        (given.out / f"{name}.csv").write_text(to_csv(pd.DataFrame(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
