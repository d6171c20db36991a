"""Fit on few ranks, predict more: every admissible split of every series."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.errors import UsageError

from ..models.calibration import experience, taught_by
from ..models.changepoints import since_switch
from ..models.curve import Curve, Floats
from ..models.ensemble import interval, weigh
from ..models.holdout import Trials, hold_trials
from ..models.single_algorithm import exact
from .baselines import BASELINES
from .series import Series, curves_of, read_data

__all__ = ["FEWEST", "Point", "backtest", "judge", "load_rows"]

FEWEST = 2        # rank counts to fit on, in an admissible split


@dataclass(frozen=True)
class Point:
    """One prediction with its outcome; times in seconds, None where refused.

    Args:
        message_bytes: payload at the predicted rank count; `size` is what the series is followed at.
        distance: ranks over `train_max_ranks`.
        baselines: predicted time by name; those that cannot say are left out.
        data_set: the data set left out of what the tool has learned, because the system is one of it; else empty.
    """

    system: str
    library: str
    op: str
    algorithm: str
    message_bytes: float
    size: float
    train_max_ranks: int
    train_counts: int
    ranks: int
    distance: float
    actual_s: float
    predicted_s: float | None
    lo_s: float | None
    hi_s: float | None
    refused: bool
    data_set: str
    inside_one_domain: bool
    baselines: dict[str, float] = field(default_factory=dict)


def load_rows(paths: Iterable[Path]) -> pd.DataFrame:
    """Rows of several files, as `series.read_data` gives them."""
    return pd.concat([read_data(path) for path in paths], ignore_index=True)


def backtest(rows: pd.DataFrame, train_max_ranks: int | None = None) -> list[Point]:
    """Every prediction that the series in `rows` can be asked for.

    Args:
        rows: of `series.read_data`.
        train_max_ranks: fit on rank counts up to this one; None for every split with at least FEWEST rank counts to
            fit on and one to predict.

    Raises:
        UsageError: no series has rank counts on both sides of the split.
    """
    points = [point for series in curves_of(rows) for point in judge(series, train_max_ranks)]
    if not points:
        raise UsageError("nothing to test: no series has at least 2 rank counts up to the split and one beyond it")
    return points


def judge(series: Series, train_max_ranks: int | None = None) -> Iterator[Point]:
    """Predictions of one curve, split by split, by what was learned from other data sets."""
    counts = series.curve.counts
    splits = _splits(counts, train_max_ranks)
    if not splits:
        return
    trials = hold_trials(series.curve)
    data_set = taught_by(series.system)
    known = experience(data_set)
    for until in splits:
        seen = series.curve.until(int(counts[until - 1]))
        simple = _baselines(seen, series.curve, until)
        used, left_out = _since_switch(trials, until)
        for at in range(until, len(counts)):
            says = used.log_time_s[:, until - left_out, :, at - left_out]
            said = weigh(used, until - left_out, int(counts[at]), says, series.kind, known)
            low, high = interval(said, float(np.log2(counts[at] / counts[until - 1])), until - left_out, known.widths)
            middle, sure = said.log_time_s, exact(seen, int(counts[at]), series.curve.payload_bytes[:, at])
            if sure is not None:
                middle, low, high = sure[0], sure[0] - sure[1], sure[0] + sure[1]
            yield from _points(series, data_set, until, at, (middle, low, high), simple)


def _since_switch(trials: Trials, until: int) -> tuple[Trials, int]:
    """Trials of what comes after the last switch seen so far, and how many rank counts are left out for it."""
    after = since_switch(trials, until)
    if after is None:
        return trials, 0
    whole = trials.curve.since(int(after.counts[0]))
    return hold_trials(whole), len(trials.curve.counts) - len(whole.counts)


def _splits(counts: Sequence[int], train_max_ranks: int | None) -> list[int]:
    """How many rank counts to fit on."""
    if train_max_ranks is None:
        return list(range(FEWEST, len(counts)))
    until = int(np.searchsorted(counts, train_max_ranks, side="right"))
    return [until] if FEWEST <= until < len(counts) else []


def _baselines(seen: Curve, curve: Curve, until: int) -> dict[str, Floats]:
    """[size][rank count beyond the split] log of time, by name."""
    ranks, payload = curve.counts[until:], curve.payload_bytes[:, until:]
    with np.errstate(all="ignore"):
        return {name: says(seen, ranks, payload) for name, says in BASELINES.items()}


def _points(series: Series, data_set: str, until: int, at: int, said: tuple[Floats, Floats, Floats],
            simple: dict[str, Floats]) -> Iterator[Point]:
    curve = series.curve
    ranks, largest = int(curve.counts[at]), int(curve.counts[until - 1])
    for size in np.nonzero(np.isfinite(curve.log_time_s[:, at]))[0]:
        time_s, lo_s, hi_s = (float(np.exp(value[size])) if np.isfinite(value[size]) else None for value in said)
        yield Point(
            series.system, series.library, curve.op, series.algorithm, float(curve.payload_bytes[size, at]),
            float(curve.sizes[size]), largest, until, ranks, ranks / largest,
            float(np.exp(curve.log_time_s[size, at])), time_s, lo_s, hi_s, time_s is None, data_set,
            series.one_domain,
            {name: float(np.exp(log_s[size, at - until])) for name, log_s in simple.items()
             if np.isfinite(log_s[size, at - until])})
