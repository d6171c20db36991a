"""Latency and time per byte of a curve over message sizes, for tools whose networks have only these two."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["Line", "fit_line", "fit_terms", "one_curve"]

Floats = NDArray[np.float64]
_FEWEST = 2


class Line(NamedTuple):
    """Time = latency_s + byte_s * message size; `error` is the median relative error over the sizes fitted."""

    latency_s: float
    byte_s: float
    error: float


def fit_line(size_bytes: Floats, time_s: Floats) -> Line | None:
    """Fit both by least squares on relative errors, neither below zero; None with fewer than two sizes."""
    if len(np.unique(size_bytes)) < _FEWEST:
        return None
    found, error = fit_terms([np.ones(len(size_bytes)), size_bytes], time_s)
    return Line(found[0], found[1], error)


def fit_terms(terms: Sequence[Floats], time_s: Floats, known_s: Floats | float = 0.0) -> tuple[list[float], float]:
    """Coefficients of `terms`, none below zero, that explain `time_s` beyond `known_s`, and the median relative error.

    Args:
        terms: [term][point].
        time_s, known_s: [point].
    """
    from scipy.optimize import nnls
    # Columns of one magnitude: seconds per byte are small next to seconds.
    scale = np.array([np.abs(term).max() or 1.0 for term in terms])
    matrix = np.stack(terms, axis=1) / scale
    found = nnls(matrix / time_s[:, None], np.maximum(time_s - known_s, 0.0) / time_s)[0]
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
