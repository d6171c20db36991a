"""Drift, typical errors and interval widths from forecasts with a known outcome.

Every machine is forecast with what was learned from the others. The widths are smoothed quantile regressions (Koenker
and Bassett, 1978) of the log of the absolute error, then quantiles of error over scale by distance class, once with all
machines and once without each. The share of the drift that is applied is learned the same way: it is the one with the
least error.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..models.curve import Floats, Ints
from ..models.ensemble import Forecast
from ..models.offsets import DriftRow, Offsets, TypicalRow, log_error, within_score
from ..models.regime import BANDS_BYTES, BUCKETS, COUNTS, Category, away_at
from ..models.widths import FEATURES, Widths, features
from ..text.significant import significant
from .outcomes import Outcomes

__all__ = ["Learned", "learned"]

_LEVEL = 0.9
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)      # of the drift
_AS_GOOD = 1.01         # an error this close to the least one is as good, and the smaller share of the drift is taken
_MOST_DRIFT = 2.0       # larger log errors count as this one
_RIDGE = 1e-2
_FEWEST = 50            # points of a distance class that has quantiles of its own


def _drift_rows(outcomes: Outcomes) -> list[DriftRow]:
    """Median signed log error by machine, category and band of message sizes."""
    table: dict[tuple[str, Category, int], list[float]] = defaultdict(list)
    for machine, category, band, error in zip(outcomes.machine, outcomes.category, outcomes.band, outcomes.error,
                                              strict=True):
        table[machine, category, band].append(float(np.clip(error, -_MOST_DRIFT, _MOST_DRIFT)))
    return [(*key, significant(float(np.median(values)))) for key, values in sorted(table.items())]


class Learned(NamedTuple):
    """Drift and typical errors by machine, and widths by machine left out ("" for none) and class of rank counts."""

    drift: list[DriftRow]
    typical: list[TypicalRow]
    widths: dict[tuple[str, int], Widths]


def learned(outcomes: Outcomes) -> Learned:
    """All that follows from the outcomes."""
    drift, points = _drift_rows(outcomes), _Points.of(outcomes)
    moved = within_score(_of_others(
        outcomes, lambda machine: Offsets((row for row in drift if row[0] != machine), ()).drift),
        np.array(outcomes.score))
    shares = {(without, counts): _shares(points, moved, points.among(without, counts))
              for without in ("", *points.machines) for counts in COUNTS}
    used = np.array([shares["", category.counts][category.bucket] for category in outcomes.category])
    typical = _typical(outcomes, log_error(points.error - used * moved))
    expected = _of_others(outcomes, lambda machine: _typical_of(
        Offsets((), (row for row in typical if row[0] != machine))))
    rows = np.concatenate([_features(outcomes, at, expected[at]) for at in range(len(outcomes.error))])
    widths = {group: _widths(points, rows, points.error - share[points.bucket] * moved, share, points.among(*group))
              for group, share in shares.items()}
    return Learned(drift, typical, widths)


class _Points(NamedTuple):
    """[point] outcomes as arrays.

    Args:
        machine, series: numbers.
        machines: [machine] names.
    """

    error: Floats
    machine: Ints
    series: Ints
    counts: Ints
    bucket: Ints
    reach: Ints
    machines: tuple[str, ...]

    @classmethod
    def of(cls, outcomes: Outcomes) -> "_Points":
        names = sorted(set(outcomes.machine))
        series = list(zip(outcomes.data_set, outcomes.series, strict=True))
        number = {key: at for at, key in enumerate(sorted(set(series)))}
        return cls(np.array(outcomes.error), np.array([names.index(name) for name in outcomes.machine]),
                   np.array([number[key] for key in series]),
                   np.array([category.counts for category in outcomes.category]),
                   np.array([category.bucket for category in outcomes.category]),
                   np.array([category.reach(band)
                             for category, band in zip(outcomes.category, outcomes.band, strict=True)]),
                   tuple(names))

    def among(self, without: str, counts: int) -> NDArray[np.bool_]:
        """The points of a class of rank counts on all machines but one; of the nearest class if there are none."""
        others = np.ones(len(self.error), dtype=bool) if not without \
            else self.machine != self.machines.index(without)
        there = np.unique(self.counts[others])
        chosen: NDArray[np.bool_] = others & (self.counts == there[np.abs(there - counts).argmin()])
        return chosen

    def weights(self, chosen: NDArray[np.bool_]) -> Floats:
        """[chosen] weights: neither a series of many points nor a machine of many series dominates."""
        _, at, points = np.unique(self.series[chosen], return_inverse=True, return_counts=True)
        machine = self.machine[chosen]
        series = {one: len(np.unique(self.series[chosen][machine == one])) for one in np.unique(machine).tolist()}
        weight = points[at] ** -0.75 * np.array([series[one] for one in machine.tolist()]) ** -0.5
        normal: Floats = weight / weight.sum()
        return normal


def _of_others(outcomes: Outcomes, learned_without: Callable[[str], Callable[[Category, Floats], Floats]]) -> Floats:
    """[point] values of a function of category and message size that was learned without the machine of the point.

    Args:
        learned_without: maps a machine to the function that was learned without it.
    """
    known = cache(learned_without)
    sizes = np.array([0.0, *(edge + 1.0 for edge in BANDS_BYTES)])      # one message size of each band

    @cache
    def said(machine: str, category: Category) -> list[float]:
        found: list[float] = known(machine)(category, sizes).tolist()
        return found
    return np.array([said(machine, category)[band] for machine, category, band in
                     zip(outcomes.machine, outcomes.category, outcomes.band, strict=True)])


def _typical_of(offsets: Offsets) -> Callable[[Category, Floats], Floats]:
    return lambda category, sizes: np.full(len(sizes), offsets.typical(category))


def _typical(outcomes: Outcomes, errors: Floats) -> list[TypicalRow]:
    """Median of `errors`, logs of absolute errors, by machine and category."""
    table: dict[tuple[str, Category], list[float]] = defaultdict(list)
    for machine, category, value in zip(outcomes.machine, outcomes.category, errors.tolist(), strict=True):
        table[machine, category].append(value)
    return [(*key, significant(float(np.median(values)))) for key, values in sorted(table.items())]


def _features(outcomes: Outcomes, at: int, typical: float) -> Floats:
    one = {name: np.array([getattr(outcomes, name)[at]]) for name in ("score", "tried", "history", "spread")}
    unknown = np.zeros(1)
    return features(Forecast(unknown, unknown, one["score"], one["tried"], one["history"], unknown, one["spread"]),
                    away_at(outcomes.category[at].reach(outcomes.band[at]), outcomes.distance[at]),
                    outcomes.rank_counts[at], typical)


def _shares(points: _Points, moved: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """[bucket] the smallest share of the drift whose error is within 1 % of the least one.

    The error is the mean square root of absolute log errors, every machine counting the same. The square root keeps
    forecasts that miss by far from deciding for all others.
    """
    errors = {share: np.sqrt(np.abs(points.error - share * moved)) for share in _SHARES}
    found = []
    for at in range(len(BUCKETS) + 1):
        there = _near(points.bucket, at, chosen)
        known = {share: _mean_error(points, values, there) for share, values in errors.items()}
        found.append(next(share for share, error in known.items() if error <= _AS_GOOD * min(known.values())))
    return np.array(found)


def _mean_error(points: _Points, errors: Floats, chosen: NDArray[np.bool_]) -> float:
    """Mean over machines of the mean over their series of the median of `errors`."""
    order = np.argsort(points.series[chosen], kind="stable")
    series, machine, ordered = (values[chosen][order] for values in (points.series, points.machine, errors))
    by_machine: dict[int, list[float]] = defaultdict(list)
    for part in np.split(np.arange(len(series)), np.nonzero(np.diff(series))[0] + 1):
        by_machine[int(machine[part[0]])].append(float(np.median(ordered[part])))
    return float(np.mean([np.mean(values) for values in by_machine.values()]))


def _widths(points: _Points, rows: Floats, error: Floats, share: Floats, chosen: NDArray[np.bool_]) -> Widths:
    """Coefficients by a smoothed quantile regression, then quantiles of error over scale."""
    weights = np.zeros(len(error))
    weights[chosen] = points.weights(chosen)
    found = _regression(rows[chosen], error[chosen], weights[chosen])
    ratio = error / np.exp(rows @ found)
    low, high = ([significant(_quantile(ratio, weights, _near(points.reach, at, chosen), below))
                  for at in range(len(BUCKETS) + 1)] for below in ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return Widths(np.array([significant(value) for value in found.tolist()]), np.array(low), np.array(high), share)


def _regression(rows: Floats, error: Floats, weights: Floats) -> Floats:
    # Imported here because it takes a quarter of a second, which only learning needs.
    from scipy.optimize import minimize
    wanted = np.log(np.abs(error) + 0.005)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        left = wanted - rows @ coefficients
        smooth = np.sqrt(left**2 + 0.05**2)
        ridge = np.r_[0.0, coefficients[1:]]
        value = weights @ (0.5 * smooth + (_LEVEL - 0.5) * left) + _RIDGE * ridge @ ridge
        slope = -rows.T @ (weights * (0.5 * left / smooth + _LEVEL - 0.5)) + 2 * _RIDGE * ridge
        return float(value), slope
    found: Floats = minimize(loss, np.zeros(len(FEATURES)), jac=True, method="BFGS").x
    return found


def _near(buckets: Ints, at: int, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The chosen points of a distance class, or of the nearest ones until there are enough."""
    for reach in range(len(BUCKETS) + 1):
        there: NDArray[np.bool_] = chosen & (np.abs(buckets - at) <= reach)
        if there.sum() >= _FEWEST:
            break
    return there


def _quantile(ratio: Floats, weights: Floats, chosen: NDArray[np.bool_], share: float) -> float:
    """Weighted quantile of the chosen points."""
    order = np.argsort(ratio[chosen], kind="stable")
    reached = weights[chosen][order].cumsum() / weights[chosen].sum()
    return float(ratio[chosen][order][min(int(np.searchsorted(reached, share)), len(order) - 1)])
