"""Rank counts at which a library seems to change its algorithm: the forward-chained error jumps there."""

import numpy as np

from .curve import Curve
from .trials import Trials

__all__ = ["jumps", "since_switch"]

_JUMP = 0.35         # log error that even the best candidate makes on the next rank count
_TIMES = 4.0         # and it is this many times what is usual for this curve
_SHARE = 0.15        # of the sizes


def since_switch(trials: Trials, until: int) -> Curve | None:
    """The first `until` rank counts of a curve from its last switch on; None where none is seen among them.

    Nothing is fitted across a switch, but there must be 2 rank counts since, or nothing could be fitted at all.
    """
    found = jumps(trials, until)
    curve = trials.curve.until(int(trials.curve.counts[until - 1]))
    after = curve.since(found[-1][0]) if found else curve
    return after if 2 <= len(after.counts) < len(curve.counts) else None


def jumps(trials: Trials, until: int | None = None) -> list[tuple[int, int]]:
    """Rank counts, ascending, with how many sizes jump there; needs 2 rank counts before.

    Args:
        until: look at the first so many rank counts only.

    A jump is seen where no candidate, fitted to everything smaller, comes near the next rank count, although some
    candidate does so elsewhere in the same curve.
    """
    errors, curve = trials.errors(), trials.curve
    steps = range(2, len(curve.counts) if until is None else until)
    if not steps:
        return []
    with np.errstate(all="ignore"):
        best = np.array([np.nanmin(np.where(np.isfinite(errors[:, i, :, i]), errors[:, i, :, i], np.inf), axis=0)
                         for i in steps])
    best = np.where(np.isfinite(best), best, np.nan)
    if not np.isfinite(best).any():
        return []
    usual = max(float(np.nanmedian(best)), 0.01)
    found = (best > _JUMP) & (best > _TIMES * usual)
    return [(int(curve.counts[i]), int(row.sum())) for i, row in zip(steps, found, strict=True)
            if row.sum() >= max(1, _SHARE * len(curve.sizes))]
