"""Forecasts of one series at other rank counts of the measured fabric, with intervals that grow with distance."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.statistics.stability import LEVEL

from ..cost.algorithms import ALGORITHMS, canonical_name
from ..cost.fabric import fabric_of
from ..cost.levels import Tiers, tiers_of
from ..cost.selection import constants, knows, offered, runs
from ..cost.wires import wire_time_s
from ..domains.facts import Domain
from ..frames.columns import SERIES
from .advice import next_measurement, warnings
from .bounds import faster_than_s
from .calibration import Calibration, kind_of, load_calibration
from .changepoints import after_last_jump, jump_counts
from .curve import Curve, Floats, Ints, gridded
from .describe import describe
from .ensemble import Forecast, forecast, interval
from .holdout import Trials, hold_trials
from .message_sizes import sizes_at
from .published import Published, published_times
from .series import Points
from .single_algorithm import exact

__all__ = ["PREDICTION_LEVEL", "Home", "Revise", "Row", "predict_series"]

PREDICTION_LEVEL = 0.9

_NEW_LEVEL = 0.45            # log error of a machine level that was not crossed
_FEW_COUNTS = 2              # over hosts, of which a trend is worth less than the library's published tables
_MAGNITUDE = 10              # high over low end of an interval beyond which a forecast gives an order of magnitude
_LEAST_LOG = 0.02            # of an interval above a time that was raised to a bound
_Z90 = 1.645
_Z95 = 1.96

Row = dict[str, Any]                    # one forecast, by column of `forecast.COLUMNS`
Home = tuple[str, Domain]               # key and facts of the domain that the data were measured in
# What a library's selection rule does to rows: (rows, operation, largest rank count fitted, target, home) -> rows.
Revise = Callable[[list[Row], str, int, int, Home], list[Row]]


class _Base(NamedTuple):
    """The data that a forecast is fitted to.

    Args:
        whole: the curve with all rank counts.
        trials: of the fitted part: below the target and after the last jump.
        counts: number of rank counts of `trials` that are used.
        jumps: rank counts at which times jump, and the number of sizes that do.
        fitted_from: the smallest fitted rank count if a jump excludes smaller ones, else None.
    """

    whole: Curve
    trials: Trials
    counts: int
    jumps: list[tuple[int, int]]
    fitted_from: int | None

    @property
    def largest(self) -> int:
        """The largest rank count fitted to."""
        return int(self.trials.curve.counts[self.counts - 1])


class _Times(NamedTuple):
    """[size] log of time, and log widths of its interval below and above."""

    middle: Floats
    below: Floats
    above: Floats


def predict_series(key: dict[str, object], points: Points, targets: Sequence[int], home: Home | None = None,
                   revise: Revise | None = None, known: Calibration | None = None) -> Iterator[Row]:
    """Rows for one series, target by target; see `forecast.extrapolate`.

    Args:
        key: key columns of the series.
        revise: applied if the selection rule of the library is known.
        known: the calibration; None for the shipped one. A backtest leaves out what was learned from its own data.
    """
    known = known or load_calibration()
    home = _consistent(home, key)
    usable = points.where((points.ranks >= 2) & (points.time_s > 0))
    largest = int(usable.ranks.max()) if len(usable.ranks) else None
    why_not = _why_not(str(key["op"]), usable)
    named = {name: key[name] for name in SERIES}
    held: dict[Tiers, Trials] = {}
    for target in targets:
        below = usable.ranks[usable.ranks < target]
        start = int(below.max()) if len(below) else largest
        common: Row = {**named, "ranks": target, "distance": target / start if start else None}
        if (usable.ranks == target).any():
            yield from _table({**common, "kind": "measured", "level": LEVEL}, _measured(usable, target))
            continue
        tiers = Tiers((), refused=why_not) if why_not else _tiers(key, usable, target, home)
        if tiers.refused:
            yield {**common, "kind": "refused", "reason": tiers.refused}
            continue
        if tiers not in held:
            curve = _curve(key, usable, tiers, target, home)
            held[tiers] = hold_trials(known.curve(curve, kind_of(_text(key["library"]), curve.op)))
        for row in _predicted(key, usable, held[tiers], target, tiers, home, revise, known):
            yield {**row, **common}


def _consistent(home: Home | None, key: dict[str, object]) -> Home | None:
    """The domain, unless the data state another number of ranks a node than its only host has."""
    node = key.get("ranks_per_node")
    if home is None or home[1].accelerators is None or not isinstance(node, (int, float)) or pd.isna(node):
        return home
    domain, size = home[1], int(home[1].accelerators.value)
    each = int(domain.accelerators_per_host.value) if domain.accelerators_per_host else size
    return home if node <= 1 or int(node) in (each, size) or (each < size and node < each) else None


def _table(common: Row, columns: dict[str, list[Any]]) -> list[Row]:
    """Rows from columns, each with the fields of `common`."""
    return [{**common, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]


def _tiers(key: dict[str, object], points: Points, target: int, home: Home | None) -> Tiers:
    node = key.get("ranks_per_node")
    known = int(node) if isinstance(node, (int, float)) and not pd.isna(node) else None
    return tiers_of(known, bool(points.one_node.all()), int(points.ranks.max()), target, home)


def _why_not(op: str, points: Points) -> str | None:
    """Why this series cannot be extrapolated to more ranks, or None."""
    if op in OPERATIONS and OPERATIONS[op].pairs:
        return "involves pairs of ranks: more ranks means more pairs at once, which was not measured"
    if op in OPERATIONS and op not in ALGORITHMS:
        return "involves no other rank"
    if not len(points.ranks):
        return "no time above zero over at least 2 ranks was measured"
    kinds = sorted({kind for kind in points.time_kind.tolist() if isinstance(kind, str)})
    if len(kinds) > 1:
        return f"mixes two definitions of time, {' and '.join(kinds)}, which must not be pooled"
    return None


def _offered(op: str, library: str | None, target: int, home: Home | None,
             levels: tuple[int, ...]) -> tuple[tuple[str, ...], bool]:
    """Algorithms that the library offers, and whether it slices rings; switches reduce only within a domain."""
    if home is None or home[1].library is None or kind_of(library, op) != home[1].library \
            or not knows(home[1].library) or (fabric := fabric_of(home[1])) is None:
        return runs(kind_of(library, op), op, levels), False
    outside = home[1].accelerators is not None and target > home[1].accelerators.value
    names = offered(home[1].library, op, target, fabric._replace(in_network=fabric.in_network and not outside))
    return names, bool(constants(home[1].library).get("sliced_rings"))


def _curve(key: dict[str, object], points: Points, tiers: Tiers, target: int, home: Home | None) -> Curve:
    names, sliced = _offered(str(key["op"]), _text(key["library"]), target, home, tiers.levels)
    op, payload = str(key["op"]), points.message_bytes.astype(float)
    # Where a table of tokens states no bytes, these are proportional to the tokens.
    curve = gridded(op, canonical_name(op, _text(key.get("algorithm"))), points.size, points.ranks.astype(float),
                    np.where(payload > 0, payload, points.size), points.time_s, tiers.levels, _noise_log(points))
    return replace(curve, beyond=tiers.beyond, offered=names, sliced=sliced)


def _noise_log(points: Points) -> float:
    """Standard deviation of log median time at the largest rank count, from its 95 % interval; 0 if unknown."""
    top = points.ranks == points.ranks.max()
    with np.errstate(all="ignore"):
        widths = np.log(points.high_s[top] / points.low_s[top])
    known = widths[~np.isnan(widths)]
    found = float(np.median(known)) / 2 / _Z95 if len(known) else 0.0
    return found if math.isfinite(found) else 0.0


def _measured(points: Points, ranks: int) -> dict[str, list[Any]]:
    there = points.where(points.ranks == ranks)
    there = there.where(np.argsort(there.message_bytes, kind="stable"))
    return {name: getattr(there, name).tolist()
            for name in ("message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s")}


def _predicted(key: dict[str, object], points: Points, trials: Trials, target: int, tiers: Tiers,
               home: Home | None, revise: Revise | None, known: Calibration) -> list[Row]:
    """One row per message size, ascending."""
    base = _base(trials, target)
    curve = base.trials.curve
    sizes, asked = sizes_at(curve.op, str(key["dtype"]), _text(key["traffic"]), points, curve, target,
                            _text(key.get("variant")))
    estimate = forecast(base.trials, base.counts, target, sizes, kind_of(_text(key["library"]), curve.op),
                        known, algorithms_only=bool(tiers.beyond and tiers.words))
    times = _times(base, estimate, target, tiers, known)
    sure = exact(base.whole.until(base.largest), target, sizes) if tiers.beyond or not tiers.words else None
    if sure is not None:        # a curve fully explained by its named algorithm has no jump
        base, times = base._replace(jumps=[], fitted_from=None), _Times(sure[0], sure[1], sure[1])
    crossed = _beyond_home(key, base, target, sizes, home)
    if crossed is not None:
        known_there = np.isfinite(crossed.middle)
        times = _Times(*(np.where(known_there, there, here) for there, here in zip(crossed[:3], times, strict=True)))
    rows = _rows(base, estimate, times, target, sizes, asked, home, _text(key["traffic"]))
    caution = warnings(points, base.whole, target, tiers, base.jumps, base.fitted_from)
    rows = [{**row, "reason": _joined(crossed.words if crossed else None, caution)} for row in rows]
    if revise is not None and home is not None and curve.algorithm is None and curve.offered:
        rows = revise(rows, curve.op, base.largest, target, home)
    advice = next_measurement(rows, curve, target)
    if not (points.message_bytes.astype(float) > 0).any():        # sizes are tokens, whose bytes are not stated
        rows = [{**row, "message_bytes": 0} for row in rows]
    once = {row["message_bytes"] or -row["size"]: {**row, "reason": _reason(row, advice)} for row in reversed(rows)}
    return sorted(once.values(), key=lambda row: (row["message_bytes"], row["size"]))


def _beyond_home(key: dict[str, object], base: _Base, target: int, sizes: Floats,
                 home: Home | None) -> Published | None:
    """What the library's published tables say of a target beyond the domain, where measurements say too little.

    All of them are inside it, or they cover one or two rank counts: then the tables give the change from the largest.
    """
    if home is None or home[1].accelerators is None:
        return None
    size, curve = int(home[1].accelerators.value), base.trials.curve.until(base.largest)
    if target <= size or (base.largest > size and base.counts > _FEW_COUNTS):
        return None
    op, library = curve.op, _text(key["library"])
    there = published_times(op, library, home[1], target, sizes, curve.algorithm)
    if there is None or base.largest <= size:
        return there
    here = published_times(op, library, home[1], base.largest, curve.payload_bytes[:, -1], curve.algorithm)
    return here and there._replace(middle=curve.level + there.middle - here.middle)


def _base(trials: Trials, target: int) -> _Base:
    """Data for a forecast of `target`: the rank counts below it, after the last jump."""
    whole = trials.curve
    counts = max(1, int(np.searchsorted(whole.counts, target)))
    found, after = jump_counts(trials, counts), after_last_jump(trials, counts)
    if after is None:
        return _Base(whole, trials, counts, found, None)
    first = int(after.counts[0])
    return _Base(whole, hold_trials(whole.since(first)), len(after.counts), found, first)


def _times(base: _Base, estimate: Forecast, target: int, tiers: Tiers, known: Calibration) -> _Times:
    """The calibrated interval, widened by errors that the calibration data do not contain."""
    curve = base.trials.curve
    doublings = abs(math.log2(target / base.largest))
    low, high = interval(estimate, max(doublings, 0.25), base.counts, known.widths_for(base.counts))
    extra: float | Floats = _extra_log(curve, target, bool(tiers.words))
    if tiers.words and curve.algorithm is None:      # the trials cannot tell which candidate runs there
        extra = np.hypot(extra, _Z90 * estimate.spread)
    middle = estimate.log_time_s
    below, above = (np.hypot(np.maximum(side, 0.0), extra) for side in (middle - low, high - middle))
    return _Times(middle, below, above)


def _rows(base: _Base, estimate: Forecast, times: _Times, target: int, sizes: Floats, asked: Ints,
          home: Home | None, traffic: str | None) -> list[Row]:
    """Rows without warnings; no time is below the lower bound."""
    link = home[1].tiers[-1].rate_Bps if home and home[1].tiers else None
    names, parameters = describe(base.trials, estimate, link.value if link else None)
    curve = base.trials.curve
    bound_s = faster_than_s(curve, target, sizes)
    if home:
        bound_s = np.maximum(bound_s, wire_time_s(curve.op, target, sizes, home[1], _seen(base.whole), traffic))
    time_s = np.maximum(np.exp(times.middle), np.maximum(bound_s, _no_faster_s(curve, target, sizes)))
    high_s = np.maximum(np.exp(times.middle + times.above), time_s * np.exp(np.minimum(times.above, _LEAST_LOG)))
    columns: dict[str, Any] = {
        "size": curve.sizes, "message_bytes": sizes.astype(np.int64), "asked_bytes": asked, "time_s": time_s,
        "time_lo_s": np.maximum(time_s * np.exp(-times.below), bound_s), "time_hi_s": high_s,
        "bound_s": bound_s, "algorithm": np.array(names, object), "parameters": np.array(parameters, object)}
    known = np.isfinite(times.middle)
    return _table({"kind": "extrapolated", "level": PREDICTION_LEVEL, "domain": home[0] if home else None,
                   "holdout_error": _holdout_error(base.trials, estimate)},
                  {name: values[known].tolist() for name, values in columns.items()})


def _seen(curve: Curve) -> list[tuple[int, Floats, Floats]]:
    """What was measured, as `wire_time_s` takes it."""
    return [(int(count), curve.payload_bytes[:, at], np.exp(curve.log_time_s[:, at]))
            for at, count in enumerate(curve.counts)]


def _no_faster_s(curve: Curve, target: int, sizes: Floats) -> Floats:
    """[size] the time measured at the largest rank count, for an all-reduce over more ranks; 0 otherwise.

    More ranks never make it faster unless the library changes its algorithm, which `revise` states by name.
    """
    if curve.op != "all_reduce" or target <= curve.counts[-1]:
        return np.zeros(len(sizes))
    with np.errstate(all="ignore"):
        grown = sizes / curve.payload_bytes[:, -1]
    measured: Floats = np.nan_to_num(np.exp(curve.level) * np.minimum(np.nan_to_num(grown, nan=1.0), 1.0))
    return measured


def _reason(row: Row, advice: str | None) -> str | None:
    """Warnings, and what to measure next; that comes first where the interval is too wide for more than a magnitude."""
    ratio = row["time_hi_s"] / row["time_lo_s"]
    if ratio <= _MAGNITUDE:
        return _joined(row["reason"], advice)
    return _joined(f"order of magnitude only, within a factor of {ratio:.0f}", advice, row["reason"])


def _joined(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _extra_log(curve: Curve, target: int, new_level: bool) -> float:
    """Log half width of the 90 % interval for errors that the calibration data do not contain.

    These are the noise of this measurement, and each level that was not crossed.
    """
    new = max(int(new_level), sum(int(curve.counts[-1]) <= size < target for size in curve.levels))
    return _Z90 * math.sqrt(curve.noise_log**2 + new * _NEW_LEVEL**2)


def _holdout_error(trials: Trials, estimate: Forecast) -> float | None:
    """Median relative error over sizes when the largest rank count is held out, with the weights of the forecast.

    The trial uses one rank count fewer, or two if the largest two are less than a factor of 2 apart, which would be too
    easy.
    """
    counts = trials.curve.counts
    last = len(counts) - 1
    if last < 2:
        return None
    used = last - 1 if counts[-2] > counts[-1] / 2 and last > 2 else last
    held_out = trials.log_time_s[:, used, :, last]          # [candidate][size]
    weight = np.where(np.isfinite(held_out), estimate.weights, 0.0)
    with np.errstate(all="ignore"):
        middle = (weight * np.nan_to_num(held_out)).sum(axis=0) / weight.sum(axis=0)
        errors = np.abs(np.expm1(middle - trials.curve.log_time_s[:, last]))
    return float(np.nanmedian(errors)) if np.isfinite(errors).any() else None
