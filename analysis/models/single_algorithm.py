"""A named algorithm that explains all that was measured: its own fit says how sure it is, and no candidate competes.

Only where what the fit leaves is no more than noise, without a trend over rank counts or sizes. Then the interval is
that of the parameters and of the noise of a measurement there, far narrower than one learned from measurements whose
algorithm is a guess.
"""

import numpy as np

from ..cost.algorithms import algorithm_named
from .curve import Curve, Floats
from .fit import design, least_squares, outwards

__all__ = ["exact"]

_QUIET = 0.02          # log noise of a measurement that states none
_EXPLAINED = 1.5       # what the fit may leave, in times of the noise
_TREND = 3.0           # standard errors that the mean of a rank count or size may be off, and
_SLIP = 0.02           # so much more
_FLOOR = 0.005         # log error of anything
_ASSUMED = 0.2         # log error of a level that was not crossed and whose figures are those of a source
_FREE = 5              # points more than parameters that a fit needs
_Z90 = 1.645


def exact(curve: Curve, ranks: int, payload: Floats) -> tuple[Floats, Floats] | None:
    """[size] log of time at `ranks`, and half width of its 90 % interval; None where the fit leaves more than noise.

    Args:
        payload: [size] payload there.
    """
    algorithm = algorithm_named(curve.op, curve.algorithm)
    known = np.isfinite(curve.log_time_s)
    if algorithm is None or len(curve.counts) < 3 or known.sum() < 2 * len(curve.levels) + 3 + _FREE:
        return None
    where = np.nonzero(known)
    counts = curve.counts[where[1]]
    rows = design(algorithm, counts, curve.payload_bytes[where], curve.levels) \
        * np.exp(-curve.log_time_s[where])[:, None]
    # Levels that were crossed are free; those that were not follow from the level inside.
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


def _trend(left: Floats, group: Floats, noise: float) -> bool:
    """Whether the mean of some group is further from nothing than chance would have it."""
    means = [(left[group == one].mean(), (group == one).sum()) for one in np.unique(group)]
    return any(abs(mean) > _TREND * noise / np.sqrt(many) + _SLIP for mean, many in means)
