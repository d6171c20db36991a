"""Optimal one-dimensional k-means clustering, with k chosen by the Bayesian information criterion.

In one dimension the optimal clustering is found exactly by dynamic programming (Wang and Song, "Ckmeans.1d.dp", The R
Journal 3(2), 2011). The number of clusters minimises the Bayesian information criterion (Schwarz 1978) of a mixture of
normals with a common width, which is bounded below by the repeatability of measurements.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["levels"]

_MOST_POINTS = 400      # more are binned beforehand: time and memory grow with the square
_MOST_LEVELS = 6

Floats = NDArray[np.float64]


def levels(values: ArrayLike, width: float, apart: float) -> NDArray[np.int64]:
    """For each value the number of its group, in ascending order of value.

    Args:
        values: at least one, finite; logarithms if factors matter.
        width: lower bound of the common width.
        apart: groups whose means are closer than this are merged.
    """
    values = np.asarray(values, float)
    points, weights = _binned(np.sort(values))
    starts = _division(points, weights, width)
    borders = _merged(points, weights, starts, apart)
    return np.searchsorted(borders, values, side="right")


def _binned(ordered: Floats) -> tuple[Floats, Floats]:
    if len(ordered) <= _MOST_POINTS:
        return ordered, np.ones(len(ordered))
    step = (ordered[-1] - ordered[0]) / _MOST_POINTS or 1.0
    _, bins = np.unique(np.floor((ordered - ordered[0]) / step), return_inverse=True)
    weights = np.bincount(bins).astype(float)
    return np.bincount(bins, weights=ordered) / weights, weights


def _division(points: Floats, weights: Floats, width: float) -> list[int]:
    """Start index of each group."""
    total, most = weights.sum(), min(_MOST_LEVELS, len(np.unique(points)))
    costs, cuts = _best_divisions(points, weights, most)
    scores = [total * np.log(max(costs[k - 1] / total, width**2)) + 2 * k * np.log(total) for k in range(1, most + 1)]
    starts: list[int] = []
    end = len(points)
    for k in range(int(np.argmin(scores)), -1, -1):
        end = int(cuts[k, end - 1])
        starts.insert(0, end)
    return starts


def _best_divisions(points: Floats, weights: Floats, most: int) -> tuple[list[float], NDArray[np.int64]]:
    """Within-group sums of squares of the best division into 1, 2 ... groups, and where its last group begins.

    `cuts[k, j]` is that start for the points up to j divided into k + 1 groups.
    """
    n = len(points)
    shifted = points - points.mean()        # centred, since sums of squares of large numbers would lose precision
    mass, first, second = (np.concatenate([[0.0], np.cumsum(weights * shifted**power)]) for power in (0, 1, 2))

    def within(begins: NDArray[np.int64], end: int) -> Floats:
        """Sums of squares about the mean of the points from each of `begins` to `end`, inclusive."""
        heavy = mass[end + 1] - mass[begins]
        squares = second[end + 1] - second[begins] - (first[end + 1] - first[begins])**2 / heavy
        return np.asarray(np.maximum(squares, 0.0))

    best = np.array([within(np.array([0]), end)[0] for end in range(n)])
    cuts = np.zeros((most, n), np.int64)
    costs = [float(best[-1])]
    for k in range(1, most):
        before, best = best, np.full(n, np.inf)
        for end in range(k, n):
            begins = np.arange(k, end + 1)
            candidates = before[begins - 1] + within(begins, end)
            place = int(np.argmin(candidates))
            best[end], cuts[k, end] = candidates[place], begins[place]
        costs.append(float(best[-1]))
    return costs, cuts


def _merged(points: Floats, weights: Floats, starts: list[int], apart: float) -> Floats:
    """Borders between groups that are far enough apart; the closest two are merged first."""
    groups = [(points[begin:end], weights[begin:end])
              for begin, end in zip(starts, [*starts[1:], len(points)], strict=True)]
    while len(groups) > 1:
        means = [float(np.average(part, weights=weight)) for part, weight in groups]
        gaps = np.diff(means)
        closest = int(np.argmin(gaps))
        if gaps[closest] >= apart:
            break
        (left, left_weight), (right, right_weight) = groups[closest:closest + 2]
        groups[closest:closest + 2] = [(np.concatenate([left, right]), np.concatenate([left_weight, right_weight]))]
    return np.array([(left[0][-1] + right[0][0]) / 2 for left, right in itertools.pairwise(groups)])
