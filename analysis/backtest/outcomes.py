"""Forecasts with a known outcome, from which drift, typical errors and interval widths are learned."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..cost.algorithms import involves_others
from ..domains.facts import Domain
from ..models.calibration import Calibration
from ..models.curve import Floats
from ..models.estimate import Estimate, Home, estimates
from ..models.regime import BANDS_BYTES, Category
from ..models.series import Points, series_of
from ..projection import home_of
from ..text.significant import significant

__all__ = ["Measured", "Outcomes", "measured", "outcomes_of"]

_MOST_SIZES = 8         # message sizes taken of a series at one rank count; more would add little


class Measured(NamedTuple):
    """One series of a data set, the machine that it was measured on, and that machine's domain."""

    data_set: str
    machine: str
    number: int
    key: dict[str, object]
    points: Points
    home: Home | None


class Outcomes(NamedTuple):
    """[point] forecasts from the ensemble alone, whose true time is known.

    Args:
        data_set, machine, series: the origin; series are numbered within a data set.
        category: see `models.regime.Category`.
        band: class of the message size.
        rank_counts: number of rank counts fitted to.
        distance: target ranks over the largest fitted.
        score, tried, history, spread: of the ensemble, see `models.ensemble.Forecast`.
        error: log of true over forecast time.
    """

    data_set: list[str]
    machine: list[str]
    series: list[int]
    category: list[Category]
    band: list[int]
    rank_counts: list[int]
    distance: list[float]
    score: list[float]
    tried: list[float]
    history: list[float]
    spread: list[float]
    error: list[float]

    @classmethod
    def none(cls) -> "Outcomes":
        """No outcome yet."""
        return cls(*([] for _ in cls._fields))

    def extend(self, other: "Outcomes") -> None:
        """Append the points of another."""
        mine: tuple[list[Any], ...] = self
        its: tuple[list[Any], ...] = other
        for own, more in zip(mine, its, strict=True):
            own.extend(more)


def measured(data_set: str, points: pd.DataFrame, domains: Mapping[str, Domain],
             machine_named: Callable[[str], str]) -> Iterator[Measured]:
    """The series in the frame of one data set that extend over rank counts."""
    system = points["system"].fillna("unknown").astype(str)
    names = {name: home_of(group, domains) for name, group in points.groupby(system)}
    usable = points[(points["ranks"] >= 2) & (points["time_s"] > 0)]
    for number, (key, series) in enumerate(series_of(usable)):
        op = str(key["op"])
        if not involves_others(op) or len(np.unique(series.ranks)) < 2:
            continue
        name = str(key["system"]) if isinstance(key["system"], str) else "unknown"
        home = names[name]
        yield Measured(data_set, machine_named(name), number, key, series,
                       (home, domains[home]) if home else None)


def outcomes_of(one: Measured, known: Calibration) -> Outcomes:
    """Forecasts of every rank count of a series from the smaller ones, and from each smaller one alone."""
    found = Outcomes.none()
    counts = np.unique(one.points.ranks)
    for until in range(1, len(counts)):
        targets = [int(count) for count in counts[until:]]
        windows = [one.points.where(one.points.ranks <= counts[until - 1])]
        if until > 1:       # starting elsewhere than at the smallest rank count
            windows.append(one.points.where(one.points.ranks == counts[until - 1]))
        for seen in windows:
            for estimate in estimates(one.key, seen, targets, one.home, known):
                if isinstance(estimate, Estimate) and estimate.published is None:
                    found.extend(_outcomes(one, estimate))
    return found


def _outcomes(one: Measured, estimate: Estimate) -> Outcomes:
    curve, combined = estimate.base.trials.curve, estimate.combined
    there = one.points.where(one.points.ranks == estimate.target)
    true = {float(size): float(np.median(there.time_s[there.size == size])) for size in np.unique(there.size)}
    error: Floats = np.log([true.get(float(size), np.nan) for size in curve.sizes]) - combined.log_time_s
    kept = np.nonzero(np.isfinite(error))[0]
    kept = kept[::max(1, -(-len(kept) // _MOST_SIZES))]
    many = len(kept)
    band = np.searchsorted(BANDS_BYTES, estimate.payload[kept])
    return Outcomes([one.data_set] * many, [one.machine] * many, [one.number] * many, [estimate.category] * many,
                    band.tolist(), [estimate.base.counts] * many, [significant(estimate.distance)] * many,
                    *([significant(value) for value in values[kept].tolist()]
                      for values in (combined.score, combined.tried, combined.history, combined.spread, error)))
