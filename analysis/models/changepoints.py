"""Rank counts at which a library seems to change its algorithm: the forward-chained error jumps there."""

from typing import NamedTuple

import numpy as np

from .curve import Curve, Floats
from .holdout import WRONG, Trials

__all__ = ["Leap", "jumps", "leaps", "since_switch"]

_JUMP = 0.35         # log error that even the best candidate makes on the next rank count
_TIMES = 4.0         # and it is this many times what is usual for this curve
_SHARE = 0.15        # of the sizes


class Leap(NamedTuple):
    """Where time changes as no candidate can say from fewer ranks.

    Args:
        before, at: rank counts between which it does.
        log: [size] log of the time at `at` over what the nearest candidate says; NaN where it comes near.
    """

    before: int
    at: int
    log: Floats


def since_switch(trials: Trials, until: int) -> Curve | None:
    """The first `until` rank counts of a curve from its last switch on; None where none is seen among them.

    Nothing is fitted across a switch, but there must be 2 rank counts since, or nothing could be fitted at all.
    """
    found = jumps(trials, until)
    curve = trials.curve.until(int(trials.curve.counts[until - 1]))
    after = curve.since(found[-1][0]) if found else curve
    return after if 2 <= len(after.counts) < len(curve.counts) else None


def jumps(trials: Trials, until: int | None = None) -> list[tuple[int, int]]:
    """Rank counts, ascending, with how many sizes jump there; `until` as in `leaps`."""
    return [(leap.at, int(np.isfinite(leap.log).sum())) for leap in leaps(trials, until)]


def leaps(trials: Trials, until: int | None = None) -> list[Leap]:
    """Where times jump, by rank count; needs 2 rank counts before.

    Args:
        until: look at the first so many rank counts only.

    A jump is seen where no candidate, fitted to everything smaller, comes near the next rank count, although some
    candidate does so elsewhere in the same curve.
    """
    curve = trials.curve
    steps = range(2, len(curve.counts) if until is None else until)
    if not steps:
        return []
    off = np.array([_nearest(curve.log_time_s[:, i] - trials.log_time_s[:, i, :, i]) for i in steps])
    best = np.minimum(np.abs(off), WRONG)
    if not np.isfinite(best).any():
        return []
    usual = max(float(np.nanmedian(best)), 0.01)
    found = (best > _JUMP) & (best > _TIMES * usual)
    return [Leap(int(curve.counts[i - 1]), int(curve.counts[i]), np.where(there, log, np.nan))
            for i, there, log in zip(steps, found, off, strict=True)
            if there.sum() >= max(1, _SHARE * len(curve.sizes))]


def _nearest(off: Floats) -> Floats:
    """[size] of [candidate][size] the one nearest to 0; NaN where none is known."""
    distance = np.where(np.isfinite(off), np.abs(off), np.inf)
    nearest = np.take_along_axis(off, distance.argmin(axis=0)[None], axis=0)[0]
    return np.where(np.isfinite(nearest), nearest, np.nan)
