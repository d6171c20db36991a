"""Forward-chained hold-out: the forecast of each candidate for a rank count from the smaller rank counts only."""

from dataclasses import dataclass

import numpy as np

from .candidates import Candidate, candidates_for
from .curve import Curve, Floats, Ints

__all__ = ["WRONG", "Trials", "extended", "hold_trials"]

WRONG = 2.0      # larger log errors count as this one


@dataclass(frozen=True)
class Trials:
    """All hold-out forecasts within one curve.

    Args:
        candidates: the models that forecast.
        log_time_s: [candidate][i][size][j] forecast of rank count j from the first i ones; NaN if i > j or unknown.
    """

    curve: Curve
    candidates: tuple[Candidate, ...]
    log_time_s: Floats

    def errors(self) -> Floats:
        """Absolute log errors, at most WRONG, in the shape of `log_time_s`."""
        return np.minimum(np.abs(self.log_time_s - self.curve.log_time_s), WRONG)


def extended(candidate: Candidate, curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] forecast log of time at `ranks`; NaN for sizes not measured or without an estimate."""
    part = curve.measured
    if part is curve:
        return part.level[:, None] + candidate.change(part, ranks, payload)
    known = curve.last >= 0
    out = np.full(payload.shape, np.nan)
    if known.any():
        out[known] = part.level[:, None] + candidate.change(part, ranks, payload[known])
    return out


def hold_trials(curve: Curve) -> Trials:
    """All hold-out forecasts of `curve`, fitted to one rank count or more."""
    candidates = tuple(candidates_for(curve))
    many = len(curve.counts)
    found = np.full((len(candidates), many, len(curve.sizes), many), np.nan)
    for i in range(1, many):
        seen = curve.until(int(curve.counts[i - 1]))
        for at, candidate in enumerate(candidates):
            found[at, i, :, i:] = extended(candidate, seen, curve.counts[i:], curve.payload_bytes[:, i:])
    return Trials(curve, candidates, found)
