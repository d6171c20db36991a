"""Forecasts of one series at other rank counts of the measured fabric, with intervals that grow with distance."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from collbench.collectives.records.figures import FIGURES
from collbench.collectives.statistics.stability import LEVEL

from ..cost.expert_parallel import received_bytes
from ..cost.wires import receive_time_s, wire_time_s
from ..frames.columns import SERIES
from .advice import next_measurement, warnings
from .bounds import faster_than_s
from .calibration import Calibration, load_calibration
from .curve import Curve, Floats
from .describe import describe
from .ensemble import Forecast
from .estimate import Base, Estimate, Home, Refused, estimates, text_of
from .holdout import Trials
from .offsets import within_score
from .regime import BANDS_BYTES
from .series import Points
from .single_algorithm import exact
from .widths import log_ends

__all__ = ["PREDICTION_LEVEL", "Home", "Revise", "Row", "predict_series"]

PREDICTION_LEVEL = 0.9

_MAGNITUDE = 10              # high over low end of an interval beyond which a forecast gives an order of magnitude
_LEAST_LOG = 0.02            # of an interval above a time that was raised to a bound
_NEW_LEVEL = 0.45            # log error of a machine level that was not crossed, which no hold-out shows
_TO_ALL = ("all_reduce", "broadcast", "reduce")      # operations in which each rank takes part in the whole message
_TRUSTING = 2                # class of rank counts from which the width follows the hold-outs
_Z90 = 1.645
_CONTENDED = "calls beside other traffic or compute: what others cost at that rank count is not known"

Row = dict[str, Any]                    # one forecast, by column of `forecast.COLUMNS`
# What a library's selection rule does to rows: (rows, operation, largest rank count fitted, target, home) -> rows.
Revise = Callable[[list[Row], str, int, int, Home], list[Row]]


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
    usable = points.where((points.ranks >= 2) & (points.time_s > 0))
    largest = int(usable.ranks.max()) if len(usable.ranks) else None
    named = {name: key[name] for name in SERIES}
    missing = [target for target in targets if not (usable.ranks == target).any()]
    found: dict[int, Refused | Estimate] = {target: Refused(target, _CONTENDED) for target in missing}
    if key["op"] not in FIGURES:
        found = {one.target: one for one in estimates(key, usable, missing, home, known)}
    for target in targets:
        below = usable.ranks[usable.ranks < target]
        start = int(below.max()) if len(below) else largest
        common: Row = {**named, "ranks": target, "distance": target / start if start else None}
        one = found.get(target)
        if one is None:
            yield from _table({**common, "kind": "measured", "level": LEVEL}, _measured(usable, target))
        elif isinstance(one, Refused):
            yield {**common, "kind": "refused", "reason": one.reason}
        else:
            for row in _predicted(key, usable, one, home, revise, known):
                yield {**row, **common}


def _table(common: Row, columns: dict[str, list[Any]]) -> list[Row]:
    """Rows from columns, each with the fields of `common`."""
    return [{**common, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]


def _measured(points: Points, ranks: int) -> dict[str, list[Any]]:
    there = points.where(points.ranks == ranks)
    there = there.where(np.argsort(there.message_bytes, kind="stable"))
    return {name: getattr(there, name).tolist()
            for name in ("message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s")}


def _predicted(key: dict[str, object], points: Points, estimate: Estimate, home: Home | None, revise: Revise | None,
               known: Calibration) -> list[Row]:
    """One row per message size, ascending."""
    base, target, tiers, published = estimate.base, estimate.target, estimate.tiers, estimate.published
    curve = base.trials.curve
    times = _times(estimate, known)
    sure = exact(base.whole.until(base.largest), target, estimate.payload) if tiers.beyond or not tiers.words else None
    if sure is not None:        # a curve fully explained by its named algorithm has no jump
        base, times = base._replace(jumps=[], fitted_from=None), _Times(sure[0], sure[1], sure[1])
    if published is not None:
        stated = np.isfinite(published.middle)
        times = _Times(*(np.where(stated, there, here) for there, here in zip(published[:3], times, strict=True)))
    rows = _rows(base, estimate, times, home, text_of(key["traffic"]))
    caution = warnings(points, base.whole, target, tiers, base.jumps, base.fitted_from)
    record = known.record.of(estimate.category)
    rows = [{**row, "reason": _joined(published.words if published else None, caution), "track_record": record,
             "category": estimate.category} for row in rows]
    if revise is not None and home is not None and curve.algorithm is None and curve.offered:
        rows = revise(rows, curve.op, base.largest, target, home)
    advice = next_measurement(rows, curve, target)
    if not (points.message_bytes.astype(float) > 0).any():        # sizes are tokens, whose bytes are not stated
        rows = [{**row, "message_bytes": 0} for row in rows]
    once = {row["message_bytes"] or -row["size"]: {**row, "reason": _reason(row, advice)} for row in reversed(rows)}
    return sorted(once.values(), key=lambda row: (row["message_bytes"], row["size"]))


def _times(estimate: Estimate, known: Calibration) -> _Times:
    """The estimate moved by its typical drift, with the calibrated interval and the noise of this measurement.

    Beyond a level that was not crossed, hold-outs inside it promise too much: the error of the level is added, and the
    disagreement of the candidates if the algorithm is not known.
    """
    category, combined = estimate.category, estimate.combined
    widths = known.widths[category.counts]
    typical = [known.offsets.typical(category._replace(bucket=at)) for at in range(category.bucket + 1)]
    below, above = log_ends(combined, estimate.distance, estimate.base.counts, typical, widths)
    if category.same_path:
        near = log_ends(combined, estimate.distance, estimate.base.counts, [max(typical)], widths)
        large = estimate.payload > BANDS_BYTES[-1]
        below, above = np.where(large, near[0], below), np.where(large, near[1], above)
    noise: float | Floats = _Z90 * estimate.base.trials.curve.noise_log
    if category.regime == "crossing" and category.counts >= _TRUSTING:
        unseen = 0.0 if estimate.base.trials.curve.algorithm else combined.spread
        noise = np.hypot(noise, _Z90 * np.hypot(_NEW_LEVEL, unseen))
    drift = within_score(known.offsets.drift(category, estimate.payload), combined.score)
    return _Times(combined.log_time_s + widths.drift[category.bucket] * drift,
                  np.hypot(below, noise), np.hypot(above, noise))


def _rows(base: Base, estimate: Estimate, times: _Times, home: Home | None, traffic: str | None) -> list[Row]:
    """Rows without warnings; no time is below the lower bound."""
    link = home[1].tiers[-1].rate_Bps if home and home[1].tiers else None
    names, parameters = describe(base.trials, estimate.combined, link.value if link else None)
    curve, target, sizes = base.trials.curve, estimate.target, estimate.sizes
    bound_s = faster_than_s(curve, target, estimate.payload)
    if home:
        bound_s = np.maximum(bound_s, wire_time_s(curve.op, target, sizes, home[1], _seen(base.whole), traffic))
        bound_s = np.maximum(bound_s, _received_s(base.whole, target, home))
    time_s = np.maximum(np.exp(times.middle), np.maximum(bound_s, _no_faster_s(curve, target, sizes)))
    high_s = np.maximum(np.exp(times.middle + times.above), time_s * np.exp(np.minimum(times.above, _LEAST_LOG)))
    columns: dict[str, Any] = {
        "size": curve.sizes, "message_bytes": sizes.astype(np.int64), "asked_bytes": estimate.asked, "time_s": time_s,
        "time_lo_s": np.maximum(time_s * np.exp(-times.below), bound_s), "time_hi_s": high_s,
        "bound_s": bound_s, "algorithm": np.array(names, object), "parameters": np.array(parameters, object)}
    known = np.isfinite(times.middle)
    return _table({"kind": "extrapolated", "level": PREDICTION_LEVEL, "domain": home[0] if home else None,
                   "holdout_error": _holdout_error(base.trials, estimate.combined)},
                  {name: values[known].tolist() for name, values in columns.items()})


def _received_s(curve: Curve, target: int, home: Home) -> Floats:
    """[size] the least time of an exchange whose routing is known, by what some rank must receive; 0 otherwise."""
    routing = curve.routing
    if routing is None or routing.known is None:
        return np.zeros(len(curve.sizes))

    def least(ranks: int) -> Floats:
        return np.array([received_bytes(routing, ranks, tokens) for tokens in curve.sizes.tolist()])
    seen = [(least(int(count)), np.exp(curve.log_time_s[:, at])) for at, count in enumerate(curve.counts)]
    return receive_time_s(least(target), home[1], seen)


def _seen(curve: Curve) -> list[tuple[int, Floats, Floats]]:
    """What was measured, as `wire_time_s` takes it."""
    return [(int(count), curve.payload_bytes[:, at], np.exp(curve.log_time_s[:, at]))
            for at, count in enumerate(curve.counts)]


def _no_faster_s(curve: Curve, target: int, sizes: Floats) -> Floats:
    """[size] the time measured at the largest rank count, where more ranks take part in the same message; 0 otherwise.

    More ranks never make it faster unless the library changes its algorithm, which `revise` states by name.
    """
    if curve.op not in _TO_ALL or target <= curve.counts[-1]:
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
