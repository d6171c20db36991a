"""Forecast from a named algorithm alone, if its fit explains all measurements; no ensemble is needed then.

The residuals must be no larger than the noise and show no trend over rank counts or sizes. The prediction interval then
follows from the covariance of the parameters and the noise of a measurement. It is far narrower than one calibrated on
measurements whose algorithm is a guess.
"""

import numpy as np
from numpy.typing import NDArray

from ..cost.algorithms import algorithm_named
from .curve import Curve, Floats
from .fit import design, least_squares, outwards

__all__ = ["exact"]

_QUIET = 0.02          # log noise assumed if a measurement states none
_EXPLAINED = 1.5       # largest RMS residual, as a multiple of the noise
_TREND = 3.0           # largest mean residual of a rank count or size, in standard errors,
_SLIP = 0.02           # plus this log error
_FLOOR = 0.005         # smallest log error of a forecast
_ASSUMED = 0.2         # log error of a level not crossed, whose figures are nominal ones
_FREE = 5              # points that a fit needs beyond its parameters
_Z90 = 1.645


def exact(curve: Curve, ranks: int, payload: Floats) -> tuple[Floats, Floats] | None:
    """[size] log of time at `ranks` and half width of its 90 % interval; None if the residuals exceed the noise.

    Args:
        payload: [size] message size there.
    """
    algorithm = algorithm_named(curve.op, curve.algorithm)
    known = np.isfinite(curve.log_time_s)
    if algorithm is None or len(curve.counts) < 3 or known.sum() < 2 * len(curve.levels) + 3 + _FREE:
        return None
    where = np.nonzero(known)
    counts = curve.counts[where[1]]
    rows = design(algorithm, counts, curve.payload_bytes[where], curve.levels) \
        * np.exp(-curve.log_time_s[where])[:, None]
    # Parameters of crossed levels are fitted; those of other levels follow from the next inner level.
    found, used = least_squares(rows, np.ones(len(rows)))
    left = np.log(np.maximum(rows @ found, 1e-12))
    active = np.nonzero(found > 0)[0]
    rms = float(np.sqrt((left @ left) / max(1, len(left) - len(active))))
    noise = max(curve.noise_log, _QUIET)
    if rms > _EXPLAINED * noise or _trend(left, where[1], noise) or _trend(left, where[0], noise):
        return None
    spread = max(curve.noise_log, rms)
    covariance = spread**2 * np.linalg.pinv(rows[:, active].T @ rows[:, active])
    terms = design(algorithm, np.full(len(payload), ranks), payload, curve.levels)
    base = terms @ outwards(curve, algorithm, used, found)
    slopes = np.stack([(terms @ outwards(curve, algorithm, used, found + np.eye(len(found))[at] * found[at]) - base)
                       / found[at] for at in active], axis=1)
    error = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, covariance, slopes), 0.0)) / base
    assumed = _ASSUMED if bool(curve.beyond) and not used[len(curve.levels) + 1] else 0.0
    return np.log(base), _Z90 * np.sqrt(error**2 + spread**2 + _FLOOR**2 + assumed**2)


def _trend(left: Floats, group: NDArray[np.intp], noise: float) -> bool:
    """Whether the mean residual of some group differs from 0 by more than chance explains."""
    means = [(left[group == one].mean(), (group == one).sum()) for one in np.unique(group)]
    return any(abs(mean) > _TREND * noise / np.sqrt(many) + _SLIP for mean, many in means)
