"""Fit on few rank counts and predict more, for every admissible split of every series.

Every prediction is made by the function that `extrapolate` calls, with the same knowledge of the domain; only what was
learned from the data set itself is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.errors import UsageError

from ..cost.algorithms import canonical_name, involves_others
from ..domains.facts import Domain, load_domains
from ..frames.load import load
from ..models.calibration import Calibration, load_calibration, machine_of
from ..models.curve import Curve, Floats, Ints, gridded
from ..models.predict import Home, predict_series
from ..models.regime import Category, kind_of
from ..models.series import Points, series_of
from ..projection import home_of
from ..projection.library_switch import follow_rule
from .baselines import BASELINES

__all__ = ["FEWEST", "Point", "backtest", "load_rows", "predictions"]

FEWEST = 1        # fewest rank counts to fit on in an admissible split


@dataclass(frozen=True)
class Point:
    """One prediction with its outcome; times in seconds, None where refused.

    Args:
        message_bytes: at the predicted rank count; `size` is the key of the size over rank counts.
        distance: ranks over `train_max_ranks`.
        baselines: predicted time by name; baselines without an estimate are left out.
        left_out: the machine left out of the calibration because it is this system; else empty.
        domain: the domain that the series was measured in, whose facts the prediction used; None if unknown.
        category: decides drift, width and track record of the prediction; None where refused.
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
    left_out: str
    inside_one_domain: bool
    domain: str | None = None
    category: Category | None = None
    baselines: dict[str, float] = field(default_factory=dict)


def load_rows(paths: Iterable[Path], warn: Callable[[str], object] | None = None) -> pd.DataFrame:
    """Points of several files, concatenated, as every other command reads them; `warn` is told what was left out."""
    parts = [load(path) for path in paths]
    if warn:
        for words in (words for part in parts for words in part.warnings):
            warn(words)
    return pd.concat([part.points for part in parts], ignore_index=True)


def backtest(points: pd.DataFrame, train_max_ranks: int | None = None, measured_on: str | None = None,
             domains: Mapping[str, Domain] | None = None,
             calibration: Callable[[str], Calibration] | None = None) -> list[Point]:
    """All predictions that the series in `points` allow.

    Args:
        points: of `frames.load`.
        train_max_ranks: fit on rank counts up to this one; None: every split with at least FEWEST rank counts to fit on
            and one to predict.
        measured_on: short name of the domain of all systems; None: of each system, the one that its names give.
        domains: facts of domains; None for the shipped ones.
        calibration: of a system; None for what was learned from all machines but that one.

    Raises:
        UsageError: no series has rank counts on both sides of the split.
    """
    domains = load_domains() if domains is None else domains
    names = {system: measured_on or home_of(group, domains)
             for system, group in points.groupby(points["system"].fillna("unknown"))}
    found: list[Point] = []
    for key, series in series_of(points[(points["ranks"] >= 2) & (points["time_s"] > 0)]):
        name = names[str(key["system"]) if isinstance(key["system"], str) else "unknown"]
        found += predictions(key, series, (name, domains[name]) if name else None, train_max_ranks, calibration)
    if not found:
        raise UsageError("nothing to test: no series has a rank count up to the split and one beyond it")
    return found


def predictions(key: dict[str, object], series: Points, home: Home | None = None,
                train_max_ranks: int | None = None,
                calibration: Callable[[str], Calibration] | None = None) -> Iterator[Point]:
    """Predictions of one series for each split, calibrated on other machines; see `backtest`."""
    op = str(key["op"])
    if not involves_others(op):
        return
    system = _text(key["system"], "unknown")
    known = calibration(system) if calibration else load_calibration(machine_of(system))
    curve = known.curve(_curve(key, series), kind_of(_text(key["library"], ""), op))
    for until in _splits(curve.counts, train_max_ranks):
        largest = int(curve.counts[until - 1])
        seen = series.where(series.ranks <= largest)
        targets = [int(count) for count in curve.counts[until:]]
        rows: dict[tuple[int, float], Mapping[str, object]] = {
            (int(row["ranks"]), float(row["size"])): row
            for row in predict_series(key, seen, targets, home, follow_rule, known) if row["kind"] == "extrapolated"}
        yield from _points(key, series, curve, until, home, known.without, rows)


def _text(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) and value else otherwise


def _curve(key: dict[str, object], series: Points) -> Curve:
    """The whole series, with its outcomes, for the baselines."""
    op, node = str(key["op"]), key.get("ranks_per_node")
    levels = (int(node),) if isinstance(node, (int, float)) and node == node and node > 1 else ()
    algorithm = key.get("algorithm")
    return gridded(op, canonical_name(op, algorithm if isinstance(algorithm, str) else None), series.size,
                   series.ranks.astype(float), series.message_bytes.astype(float), series.time_s, levels)


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


def _points(key: dict[str, object], series: Points, curve: Curve, until: int, home: Home | None, left_out: str,
            rows: Mapping[tuple[int, float], Mapping[str, object]]) -> Iterator[Point]:
    largest = int(curve.counts[until - 1])
    seen = curve.until(largest)
    simple = _baselines(seen, curve, until)
    accelerators = int(home[1].accelerators.value) if home and home[1].accelerators else 0
    one_node = bool(series.one_node.all())
    for at in range(until, len(curve.counts)):
        ranks = int(curve.counts[at])
        for size in np.nonzero(np.isfinite(curve.log_time_s[:, at]) & (seen.last >= 0))[0]:
            row = rows.get((ranks, float(curve.sizes[size])), {})
            category = row.get("category")
            time_s, lo_s, hi_s = (_number(row.get(name)) for name in ("time_s", "time_lo_s", "time_hi_s"))
            yield Point(
                _text(key["system"], "unknown"), _text(key["library"], ""), curve.op,
                _text(key.get("algorithm"), "default"), float(curve.payload_bytes[size, at]), float(curve.sizes[size]),
                largest, until, ranks, ranks / largest, float(np.exp(curve.log_time_s[size, at])), time_s, lo_s, hi_s,
                time_s is None, left_out, one_node or ranks <= accelerators, home[0] if home else None,
                category if isinstance(category, Category) else None,
                {name: float(np.exp(log_s[size, at - until])) for name, log_s in simple.items()
                 if np.isfinite(log_s[size, at - until])})


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and np.isfinite(value) else None
