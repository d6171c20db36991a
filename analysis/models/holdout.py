"""Forward-chained trials: what each candidate would have said of a rank count, had measuring stopped before it."""

from dataclasses import dataclass

import numpy as np

from .candidates import Candidate, candidates_for
from .curve import Curve, Floats, Ints

__all__ = ["WRONG", "Trials", "ahead", "hold_trials"]

WRONG = 2.0      # log error beyond which wrong is wrong


@dataclass(frozen=True)
class Trials:
    """Every forecast within one curve.

    Args:
        candidates: who forecast.
        log_time_s: [candidate][i][size][j] of rank count j, by the first i rank counts; NaN where i > j or unknown.
    """

    curve: Curve
    candidates: tuple[Candidate, ...]
    log_time_s: Floats

    def errors(self) -> Floats:
        """The same shape: absolute log error, at most WRONG."""
        return np.minimum(np.abs(self.log_time_s - self.curve.log_time_s), WRONG)


def ahead(candidate: Candidate, curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """[size][target] log of time at `ranks`; NaN for sizes that were not measured, or where it cannot say."""
    part = curve.measured
    if part is curve:
        return part.level[:, None] + candidate.change(part, ranks, payload)
    known = curve.last >= 0
    out = np.full(payload.shape, np.nan)
    if known.any():
        out[known] = part.level[:, None] + candidate.change(part, ranks, payload[known])
    return out


def hold_trials(curve: Curve) -> Trials:
    """All trials of `curve`, from one rank count on."""
    candidates = tuple(candidates_for(curve))
    many = len(curve.counts)
    found = np.full((len(candidates), many, len(curve.sizes), many), np.nan)
    for i in range(1, many):
        seen = curve.until(int(curve.counts[i - 1]))
        for at, candidate in enumerate(candidates):
            found[at, i, :, i:] = ahead(candidate, seen, curve.counts[i:], curve.payload_bytes[:, i:])
    return Trials(curve, candidates, found)
