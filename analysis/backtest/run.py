"""Fit on few ranks and predict more, for every admissible split of every series."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.errors import UsageError

from ..models.calibration import data_set_of, load_calibration
from ..models.changepoints import after_last_jump
from ..models.curve import Curve, Floats, Ints
from ..models.ensemble import interval, weigh
from ..models.holdout import Trials, hold_trials
from ..models.single_algorithm import exact
from .baselines import BASELINES
from .series import Series, curves_of, read_data

__all__ = ["FEWEST", "Point", "backtest", "load_rows", "predictions"]

FEWEST = 2        # fewest rank counts to fit on in an admissible split


@dataclass(frozen=True)
class Point:
    """One prediction with its outcome; times in seconds, None where refused.

    Args:
        message_bytes: at the predicted rank count; `size` is the key of the size over rank counts.
        distance: ranks over `train_max_ranks`.
        baselines: predicted time by name; baselines without an estimate are left out.
        data_set: the data set left out of the calibration because it contains the system; else empty.
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
    """Rows of several files, concatenated; see `series.read_data`."""
    return pd.concat([read_data(path) for path in paths], ignore_index=True)


def backtest(rows: pd.DataFrame, train_max_ranks: int | None = None) -> list[Point]:
    """All predictions that the series in `rows` allow.

    Args:
        rows: of `series.read_data`.
        train_max_ranks: fit on rank counts up to this one; None: every split with at least FEWEST rank counts to fit on
            and one to predict.

    Raises:
        UsageError: no series has rank counts on both sides of the split.
    """
    points = [point for series in curves_of(rows) for point in predictions(series, train_max_ranks)]
    if not points:
        raise UsageError("nothing to test: no series has at least 2 rank counts up to the split and one beyond it")
    return points


def predictions(series: Series, train_max_ranks: int | None = None) -> Iterator[Point]:
    """Predictions of one curve for each split, calibrated on other data sets."""
    counts = series.curve.counts
    splits = _splits(counts, train_max_ranks)
    if not splits:
        return
    trials = hold_trials(series.curve)
    data_set = data_set_of(series.system)
    known = load_calibration(data_set)
    for until in splits:
        seen = series.curve.until(int(counts[until - 1]))
        simple = _baselines(seen, series.curve, until)
        used, left_out = _after_last_jump(trials, until)
        for at in range(until, len(counts)):
            estimates = used.log_time_s[:, until - left_out, :, at - left_out]
            estimate = weigh(used, until - left_out, int(counts[at]), estimates, series.kind, known)
            low, high = interval(estimate, float(np.log2(counts[at] / counts[until - 1])), until - left_out,
                                 known.widths)
            middle, sure = estimate.log_time_s, exact(seen, int(counts[at]), series.curve.payload_bytes[:, at])
            if sure is not None:
                middle, low, high = sure[0], sure[0] - sure[1], sure[0] + sure[1]
            yield from _points(series, data_set, until, at, (middle, low, high), simple)


def _after_last_jump(trials: Trials, until: int) -> tuple[Trials, int]:
    """Trials of the part after the last jump seen so far, and the number of rank counts left out."""
    after = after_last_jump(trials, until)
    if after is None:
        return trials, 0
    whole = trials.curve.since(int(after.counts[0]))
    return hold_trials(whole), len(trials.curve.counts) - len(whole.counts)


def _splits(counts: Ints, train_max_ranks: int | None) -> list[int]:
    """Numbers of rank counts to fit on."""
    if train_max_ranks is None:
        return list(range(FEWEST, len(counts)))
    until = int(np.searchsorted(counts, train_max_ranks, side="right"))
    return [until] if FEWEST <= until < len(counts) else []


def _baselines(seen: Curve, curve: Curve, until: int) -> dict[str, Floats]:
    """By name, [size][rank count beyond the split] log of time."""
    ranks, payload = curve.counts[until:], curve.payload_bytes[:, until:]
    with np.errstate(all="ignore"):
        return {name: baseline(seen, ranks, payload) for name, baseline in BASELINES.items()}


def _points(series: Series, data_set: str, until: int, at: int, forecast: tuple[Floats, Floats, Floats],
            simple: dict[str, Floats]) -> Iterator[Point]:
    curve = series.curve
    ranks, largest = int(curve.counts[at]), int(curve.counts[until - 1])
    for size in np.nonzero(np.isfinite(curve.log_time_s[:, at]))[0]:
        time_s, lo_s, hi_s = (float(np.exp(value[size])) if np.isfinite(value[size]) else None for value in forecast)
        yield Point(
            series.system, series.library, curve.op, series.algorithm, float(curve.payload_bytes[size, at]),
            float(curve.sizes[size]), largest, until, ranks, ranks / largest,
            float(np.exp(curve.log_time_s[size, at])), time_s, lo_s, hi_s, time_s is None, data_set,
            series.one_domain,
            {name: float(np.exp(log_s[size, at - until])) for name, log_s in simple.items()
             if np.isfinite(log_s[size, at - until])})
