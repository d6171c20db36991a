"""Latency and time per byte of a curve over message sizes, for tools whose networks have only these two.

Libraries change protocol and algorithm with the size, so that no two numbers follow a whole curve. The ends are
matched: the smallest message gives the latency, the largest one the bandwidth. Least squares over all sizes are hardly
nearer in the median (NCCL, 8 H100: 12 instead of 14 %), and a fifth off at the largest message.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Line", "fit_line", "fit_terms", "one_curve"]

Floats = NDArray[np.float64]
_FEWEST = 2


class Line(NamedTuple):
    """Time = latency_s + byte_s * message size; `error` is the median relative error over all sizes."""

    latency_s: float
    byte_s: float
    error: float


def fit_line(size_bytes: Floats, time_s: Floats) -> Line | None:
    """The line through the smallest and the largest message, [point] by size; None with fewer than two sizes."""
    if len(np.unique(size_bytes)) < _FEWEST:
        return None
    found, error = fit_terms([np.ones(len(size_bytes)), size_bytes], time_s)
    return Line(found[0], found[1], error)


def fit_terms(terms: Sequence[Floats], time_s: Floats, known_s: Floats | float = 0.0) -> tuple[list[float], float]:
    """Coefficients of `terms`, none below zero, that explain the first and the last time beyond `known_s`.

    Args:
        terms: [term][point], by size.
        time_s, known_s: [point].

    Returns:
        The coefficients, and the median relative error over all points.
    """
    from scipy.optimize import nnls
    # Columns of one magnitude: seconds per byte are small next to seconds.
    scale = np.array([np.abs(term).max() or 1.0 for term in terms])
    matrix = np.stack(terms, axis=1) / scale
    ends = np.array([0, -1])
    beyond = np.maximum(time_s - known_s, 0.0)
    found = nnls(matrix[ends] / time_s[ends, None], beyond[ends] / time_s[ends])[0]
    errors = np.abs(matrix @ found + known_s - time_s) / time_s
    return (found / scale).tolist(), float(np.median(errors))


def one_curve(costs: pd.DataFrame, op: str, ranks: int) -> pd.DataFrame:
    """Rows of one operation at one rank count, of the element type with the most sizes, by size."""
    rows = costs[(costs["op"] == op) & (costs["ranks"] == ranks) & (costs["message_bytes"] > 0)]
    if rows.empty:
        return rows
    dtype = rows["dtype"].fillna("").value_counts(sort=True).index[0]
    curve: pd.DataFrame = rows[rows["dtype"].fillna("") == dtype].sort_values("message_bytes")
    return curve
