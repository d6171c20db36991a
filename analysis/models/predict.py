"""Times at other rank counts of the fabric that was measured, with intervals that grow with the distance."""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from collectives.catalog import OPERATIONS, round_up
from collectives.errors import UsageError

from ..metrics import busbw_Bps
from ..stats import LEVEL
from ..tidy import with_text
from .fit import Fitted, Floats, Ints, Series, fit_series

__all__ = ["COLUMNS", "SERIES", "TARGETS", "as_json", "extrapolate"]

TARGETS = (72, 384)      # accelerators of one NVL72 and of one CloudMatrix 384
PREDICTION_LEVEL = 0.9

# Points that differ in any of these are never fitted together.
SERIES = ("system", "transport", "library", "device", "op", "dtype", "redop", "place", "traffic", "mode")
COLUMNS = (*SERIES, "algorithm", "message_bytes", "asked_bytes", "ranks", "kind", "time_s", "time_lo_s", "time_hi_s",
           "level", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "distance", "holdout_error", "domain", "reason",
           "parameters")

_FREEDOM = 4                 # of Student's t: few jobs, and errors with heavy tails
_PRIOR_PER_DOUBLING = 0.4    # log error a doubling of ranks, where none could be held out
_NEAREST = 0.25              # doublings; a target close to the data is still another job
_FAR = 8                     # times the largest measured rank count, from where a prediction is speculative
_Z = 1.96                    # the interval of the median is 95 % wide


def extrapolate(points: pd.DataFrame, ranks: Sequence[int] = TARGETS) -> pd.DataFrame:
    """What each measured series would take at `ranks` ranks of the same fabric.

    Args:
        points: the frame of `tidy.load`.
        ranks: rank counts wanted.

    Returns:
        A frame of COLUMNS, one row per series, payload and rank count. `kind` is `measured` where that rank count
        was, `extrapolated` where a model says so, `refused` (one row a series and rank count, no times) where none
        can; `reason` says why, or what to beware of. Nothing is predicted below its bound (`_bound_s`). The interval
        covers `level` if errors at held-out rank counts are typical of those further out. `distance` is ranks over
        the largest measured rank count, `holdout_error` the median relative error there of a fit to half of it.

    Raises:
        UsageError: fewer than 2 ranks were asked for.
    """
    if any(target < 2 for target in ranks):
        raise UsageError(f"cannot extrapolate to {min(ranks)} ranks: at least 2 are needed")
    tables = [table for key, series in points.groupby(list(SERIES), dropna=False, sort=False)
              for table in _tables(dict(zip(SERIES, key, strict=True)), series, ranks)]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    frame = with_text(frame.reindex(columns=list(COLUMNS)), [*SERIES, "algorithm", "domain", "reason", "parameters"])
    known = (frame["op"], frame["ranks"], frame["message_bytes"].astype(float))
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(*known, frame[time].astype(float))
    return frame


def as_json(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as objects with None for what is unknown, and whole numbers as whole numbers."""
    whole = ("message_bytes", "asked_bytes", "ranks")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{name: int(value) if name in whole and value is not None else value for name, value in row.items()}
            for row in rows]


def _tables(key: dict[str, object], points: pd.DataFrame, targets: Sequence[int]) -> Iterator[pd.DataFrame]:
    """One table per target of one series."""
    usable = points[(points["ranks"] >= 2) & (points["time_s"] > 0)]
    largest = int(usable["ranks"].max()) if len(usable) else None
    why_not = _why_not(str(key["op"]), usable)
    fitted = None
    for target in targets:
        there = usable[usable["ranks"] == target]
        common = {**key, "ranks": target, "distance": target / largest if largest else None}
        if len(there):
            yield _measured(there).assign(**common)
            continue
        if why_not:
            yield pd.DataFrame([{**common, "kind": "refused", "reason": why_not}])
            continue
        if fitted is None:
            fitted = fit_series(_series(key, usable))
        yield _predicted(key, usable, fitted, target).assign(**common)


def _why_not(op: str, points: pd.DataFrame) -> str | None:
    """Why this series says nothing about more ranks, or None."""
    if OPERATIONS[op].pairs:
        return "involves pairs of ranks: more ranks means more pairs at once, which was not measured"
    if op == "noop":
        return "an empty call involves no other rank"
    if points.empty:
        return "no time above zero over at least 2 ranks was measured"
    kinds = sorted(points["time_kind"].unique())
    if len(kinds) > 1:
        return f"mixes two definitions of time, {' and '.join(kinds)}, which must not be pooled"
    return None


def _series(key: dict[str, object], points: pd.DataFrame) -> Series:
    return Series(str(key["op"]), points["ranks"].to_numpy(), points["message_bytes"].to_numpy(),
                  points["time_s"].to_numpy(), _noise_log(points))


def _noise_log(points: pd.DataFrame) -> float:
    """Standard deviation of the log of a median at the largest rank count, from its 95 % interval.

    Where there are too few samples for an interval, the samples themselves, p5 to p95, stand in for it.
    """
    top = points[points["ranks"] == points["ranks"].max()]
    low, high = top["time_lo_s"].fillna(top["p5_s"]), top["time_hi_s"].fillna(top["p95_s"])
    return float(np.log(high / low).median()) / 2 / _Z


def _measured(points: pd.DataFrame) -> pd.DataFrame:
    columns = ["message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s"]
    return points[columns].sort_values("message_bytes").assign(kind="measured", level=LEVEL)


def _predicted(key: dict[str, object], points: pd.DataFrame, fitted: Fitted, target: int) -> pd.DataFrame:
    asked = _sizes(key, points["asked_bytes"].to_numpy(), target)
    sizes = np.array(list(asked), dtype=np.int64)
    ranks = np.full(len(sizes), target)
    time_s = fitted.best.seconds(ranks, sizes)
    counts = len(points["ranks"].unique())
    doublings = max(abs(math.log2(target / fitted.best.at_ranks)), _NEAREST)
    width = np.exp(stdtrit(max(_FREEDOM, counts - 1), (1 + PREDICTION_LEVEL) / 2)
                   * _log_deviation(fitted, _noise_log(points), ranks, sizes, doublings))
    bound_s = _bound_s(fitted, ranks, sizes)
    time_s = np.maximum(time_s, bound_s)
    return pd.DataFrame({
        "message_bytes": sizes, "asked_bytes": list(asked.values()), "algorithm": fitted.best.model.algorithm,
        "time_s": time_s, "time_lo_s": np.maximum(time_s / width, bound_s), "time_hi_s": time_s * width,
        "level": PREDICTION_LEVEL, "kind": "extrapolated", "holdout_error": fitted.holdout_error, "domain": None,
        "reason": _caution(points, target, fitted),
        "parameters": f"{fitted.best.model.describe()}; level as measured at {fitted.best.at_ranks} ranks"})


def _sizes(key: dict[str, object], asked: Ints, target: int) -> dict[int, int]:
    """Payloads that divide among `target` ranks, each with the smallest size asked for that leads to it."""
    operation = OPERATIONS[str(key["op"])]
    if not operation.has_payload:
        return {0: 0}
    unit = _unit(operation.name, target, str(key["dtype"]), key["traffic"] if operation.uneven else None)
    sizes: dict[int, int] = {}
    for size in sorted(set(asked.tolist())):
        sizes.setdefault(max(1, -(-size // unit)) * unit, size)
    return sizes


@cache
def _unit(op: str, ranks: int, dtype: str, traffic: str | None) -> int:
    """The payload that every other is a multiple of; cached, since weighing the traffic of 384 ranks takes time."""
    return round_up(op, 1, ranks, dtype, traffic)


def _bound_s(fitted: Fitted, ranks: Ints, sizes: Ints) -> Floats:
    """Seconds below which more ranks cannot take the same payload: half of the time at the largest rank count.

    No algorithm of the table gets faster with ranks but for the fold to a power of two, which at most doubles it.
    Below the largest rank count there is no such bound.
    """
    beyond = ranks > fitted.best.at_ranks
    there = fitted.best.seconds(np.full(len(sizes), fitted.best.at_ranks), sizes)
    return np.where(beyond, there / 2, 0.0)


def _log_deviation(fitted: Fitted, noise_log: float, ranks: Ints, sizes: Ints, doublings: float) -> Floats:
    """Standard deviation of the log of time: repeats, error of the fit, disagreement of the models, and distance.

    The distance term is the variance seen at the held-out rank count, a doubling, times the doublings to go; it
    contains the misfit. Without a held-out rank count there is the misfit, and a prior that grows with each doubling,
    since then a wrong shape goes unseen. Intervals from residuals
    alone cover far less than they claim at larger rank counts on public measurements.
    """
    if fitted.holdout_log is None or fitted.holdout_doublings is None:
        misfit, distance = fitted.residual_log**2, (_PRIOR_PER_DOUBLING * doublings)**2
    else:
        seen = max(fitted.holdout_log, noise_log)**2 / max(fitted.holdout_doublings, 0.5)
        misfit, distance = 0.0, seen * doublings
    best = np.log(fitted.best.seconds(ranks, sizes))
    between = sum(candidate.weight * np.square(np.log(candidate.model.seconds(ranks, sizes)) - best)
                  for candidate in fitted.all if candidate.weight > 1e-6)
    return np.sqrt(noise_log**2 + misfit + between + distance)


def _caution(points: pd.DataFrame, target: int, fitted: Fitted) -> str | None:
    """What to beware of, most important first; None when there is nothing."""
    said = []
    counts = sorted(points["ranks"].unique())
    crowded = sorted(points.loc[points["oversubscribed"].fillna(False), "ranks"].unique())
    if target / fitted.best.at_ranks > _FAR:
        said.append(f"speculative: {target / fitted.best.at_ranks:.3g} times the largest measured rank count")
    if len(counts) < 3:
        said.append(f"only {len(counts)} rank count{'s' if len(counts) > 1 else ''} measured, so nothing could be held "
                    f"out: width is a prior, {_PRIOR_PER_DOUBLING:g} in log a doubling")
    if crowded:
        said.append(f"ranks shared cores at {', '.join(map(str, crowded))} ranks")
    return "; ".join(said) or None
