"""The performance-model normal form that Extra-P searches, as a baseline: T(n) = c0 + c1 * n^i * log2(n)^j.

Per size, one term from a fixed list of exponents, with coefficients by unweighted least squares. The term with the
smallest symmetric leave-one-out error is chosen, or a constant unless a term is clearly better. After Calotoiu et al.
(SC'13) and Ritter et al. (IPDPS'20); written from the published description, not the package, which pins old libraries.
"""

import numpy as np

from ..models.curve import Curve, Floats, Ints

__all__ = ["normal_form"]

# (power of n, power of log2 n)
_TERMS = ((0, 1), (0, 2), (1 / 4, 0), (1 / 3, 0), (1 / 4, 1), (1 / 3, 1), (1 / 4, 2), (1 / 3, 2), (1 / 2, 0),
          (1 / 2, 1), (1 / 2, 2), (2 / 3, 0), (3 / 4, 0), (2 / 3, 1), (3 / 4, 1), (4 / 5, 0), (2 / 3, 2), (3 / 4, 2),
          (1, 0), (1, 1), (1, 2), (5 / 4, 0), (5 / 4, 1), (4 / 3, 0), (4 / 3, 1), (3 / 2, 0), (3 / 2, 1), (3 / 2, 2),
          (5 / 3, 0), (7 / 4, 0), (2, 0), (2, 1), (2, 2), (9 / 4, 0), (7 / 3, 0), (5 / 2, 0), (5 / 2, 1),
          (5 / 2, 2), (8 / 3, 0),
          (11 / 4, 0), (3, 0), (3, 1))
_CLEARLY = 1.3       # a constant stays unless a term's error is this much smaller
_FEWEST = 3          # points per size; the authors ask for 5


def normal_form(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] log of time; NaN for sizes with fewer than 3 rank counts or a model that is not positive."""
    out = np.full((len(curve.sizes), len(ranks)), np.nan)
    for size, logs in enumerate(curve.log_time_s):
        known = np.isfinite(logs)
        if known.sum() >= _FEWEST:
            with np.errstate(all="ignore"):
                out[size] = np.log(_model(curve.counts[known].astype(float), np.exp(logs[known]), ranks.astype(float)))
    return out


def _model(n: Floats, time_s: Floats, target: Floats) -> Floats:
    """Times at `target` by the best term."""
    mean = (time_s.sum() - time_s) / (len(n) - 1)
    best, forecast = _smape(mean, time_s), np.full(len(target), time_s.mean())
    constant = best
    for power, logs in _TERMS:
        x, there = n**power * np.log2(n) ** logs, target**power * np.log2(target) ** logs
        centred = x - x.mean()
        square = (centred**2).sum()
        if square <= 0:
            continue
        slope = (centred * time_s).sum() / square
        level = time_s.mean() - slope * x.mean()
        left = time_s - level - slope * x
        leverage = 1 / len(n) + centred**2 / square
        error = _smape(time_s - left / np.maximum(1 - leverage, 1e-9), time_s)
        if error < best and error * _CLEARLY < constant:
            best, forecast = error, level + slope * there
    return forecast


def _smape(forecast: Floats, true: Floats) -> float:
    return float(np.mean(np.abs(forecast - true) / np.maximum((np.abs(forecast) + np.abs(true)) / 2, 1e-30)))
