"""Change points: rank counts at which the hold-out error jumps because the library seems to change its algorithm."""

from typing import NamedTuple

import numpy as np

from .curve import Curve, Floats
from .holdout import WRONG, Trials

__all__ = ["Jump", "after_last_jump", "find_jumps", "jump_counts"]

_JUMP = 0.35         # log error that even the best candidate makes at the next rank count,
_TIMES = 4.0         # which must be this many times the usual one of the curve
_SHARE = 0.15        # of the sizes must jump


class Jump(NamedTuple):
    """A change of the times that no candidate predicts from fewer ranks.

    Args:
        before, at: the rank counts between which it occurs.
        log: [size] log of the time at `at` over the closest candidate's forecast; NaN for sizes that do not jump.
    """

    before: int
    at: int
    log: Floats


def after_last_jump(trials: Trials, until: int) -> Curve | None:
    """The part of the first `until` rank counts of a curve after their last jump; None if there is no jump.

    No model is fitted across a jump, unless fewer than 2 rank counts would be left. The result is then None.
    """
    found = jump_counts(trials, until)
    curve = trials.curve.until(int(trials.curve.counts[until - 1]))
    after = curve.since(found[-1][0]) if found else curve
    return after if 2 <= len(after.counts) < len(curve.counts) else None


def jump_counts(trials: Trials, until: int | None = None) -> list[tuple[int, int]]:
    """Rank counts at which times jump, ascending, and the number of sizes that do; `until` as in `find_jumps`."""
    return [(jump.at, int(np.isfinite(jump.log).sum())) for jump in find_jumps(trials, until)]


def find_jumps(trials: Trials, until: int | None = None) -> list[Jump]:
    """Jumps of the times by rank count, ascending; each has at least 2 rank counts before it.

    Args:
        until: use only this many of the smallest rank counts.

    At a jump, no candidate fitted to all smaller rank counts predicts the next one, although some candidate does at
    other rank counts of the same curve.
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
    return [Jump(int(curve.counts[i - 1]), int(curve.counts[i]), np.where(there, log, np.nan))
            for i, there, log in zip(steps, found, off, strict=True)
            if there.sum() >= max(1, _SHARE * len(curve.sizes))]


def _nearest(off: Floats) -> Floats:
    """[size] the value of [candidate][size] that is closest to 0; NaN if none is known."""
    distance = np.where(np.isfinite(off), np.abs(off), np.inf)
    nearest = np.take_along_axis(off, distance.argmin(axis=0)[None], axis=0)[0]
    return np.where(np.isfinite(nearest), nearest, np.nan)
