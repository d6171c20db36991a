"""Which variant is likely to be the fastest at rank counts that were not measured: a forecast of each, and draws."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collbench.collectives.records.tuning import REFERENCE

from ..compare.rank_tests import Floats
from ..forecast import extrapolate
from ..models.predict import PREDICTION_LEVEL, Home
from .measured import Measured

__all__ = ["Likely", "likely_winners"]

_DRAWS = 20_000
_SEED = 384
_Z = 1.6449      # standard deviations from the middle to the end of a 90 % interval


@dataclass(frozen=True)
class Likely:
    """The variant that is most likely the fastest in a case, which is extrapolated or projected from others.

    Args:
        chance: probability that it is, as the share of draws in which its time was the shortest.
        time_s: with its 90 % interval.
        chances: of all variants with a forecast, the most likely first.
        over_reference: time of the reference over its own: median and 90 % interval; None if it is the reference, or
            that has no forecast.
    """

    op: str
    ranks: int
    message_bytes: int
    variant: str
    chance: float
    time_s: tuple[float, float, float]
    chances: tuple[tuple[str, float], ...]
    over_reference: tuple[float, float, float] | None


def likely_winners(measured: Measured, targets: Sequence[int], home: Home | None = None) -> list[Likely]:
    """For each operation, rank count of `targets` that was not measured, and message size.

    Errors of the forecasts of two variants are drawn independently. In truth they have a part in common, since one
    model makes all of them, and then a probability is further from an even chance than is stated here.
    """
    frames = []
    for op in measured.tuning.ops:
        for variant in measured.tuning.variants:
            if variant.concerns(op) and not variant.ranks and not (points := measured.pooled(op, variant.name)).empty:
                frames.append(extrapolate(points, targets, home).assign(variant=variant.name))
    if not frames:
        return []
    known = pd.concat(frames, ignore_index=True)
    known = known[known["kind"].eq("extrapolated") & (known["time_s"] > 0)]
    return [_likely(rows) for _, rows in known.groupby(["op", "ranks", "asked_bytes"], sort=True)
            if rows["variant"].nunique() > 1]


def _likely(rows: pd.DataFrame) -> Likely:
    rows = rows.drop_duplicates("variant").reset_index(drop=True)
    draws = _draws(rows)
    first = draws.argmin(axis=0)
    chances = np.bincount(first, minlength=len(rows)) / draws.shape[1]
    order = np.argsort(-chances, kind="stable")
    best = rows.iloc[order[0]]
    over = None
    if best["variant"] != REFERENCE and (rows["variant"] == REFERENCE).any():
        reference = int(rows.index[rows["variant"] == REFERENCE][0])
        ends = np.quantile(draws[reference] - draws[order[0]],
                           [0.5, (1 - PREDICTION_LEVEL) / 2, (1 + PREDICTION_LEVEL) / 2])
        over = tuple(float(np.exp(end)) for end in ends)
    return Likely(str(best["op"]), int(best["ranks"]), int(best["message_bytes"]), str(best["variant"]),
                  float(chances[order[0]]),
                  (float(best["time_s"]), float(best["time_lo_s"]), float(best["time_hi_s"])),
                  tuple((str(rows["variant"].iloc[at]), float(chances[at])) for at in order),
                  over)       # type: ignore[arg-type]


def _draws(rows: pd.DataFrame) -> Floats:
    """[variant, draw] logarithms of times: normal on either side of the forecast, with the width of that side."""
    unit = np.random.default_rng(_SEED).standard_normal((len(rows), _DRAWS))
    middle, low, high = (np.log(rows[name].to_numpy(float))[:, None] for name in ("time_s", "time_lo_s", "time_hi_s"))
    drawn: Floats = middle + np.where(unit < 0, middle - low, high - middle) / _Z * unit
    return drawn
