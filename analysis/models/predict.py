"""Times at other rank counts of the fabric that was measured, with intervals that grow with the distance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS, round_up
from collbench.collectives.errors import UsageError

from ..cost.algorithms import ALGORITHMS
from ..cost.levels import Tiers, tiers_of
from ..cost.selection import constants, knows, offered
from ..frames.bandwidth import busbw_Bps
from ..frames.load import with_text
from ..projection.library_switch import follow_rule
from ..stats import LEVEL
from ..text.units import payload as payload_words
from .bounds import faster_than_s
from .calibration import experience, kind_of
from .changepoints import jumps, since_switch
from .curve import Curve, Floats, Ints, gridded
from .describe import describe
from .ensemble import Forecast, forecast, interval
from .holdout import Trials, hold_trials
from .series import SERIES, Points, series_of
from .single_algorithm import exact

if TYPE_CHECKING:
    from ..domains.facts import Domain

__all__ = ["COLUMNS", "SERIES", "TARGETS", "as_json", "extrapolate"]

TARGETS = (72, 384)      # accelerators of one NVL72 and of one CloudMatrix 384
PREDICTION_LEVEL = 0.9

COLUMNS = (*SERIES, "algorithm", "message_bytes", "asked_bytes", "ranks", "kind", "time_s", "time_lo_s", "time_hi_s",
           "level", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "distance", "holdout_error", "bound_s", "domain",
           "reason", "parameters")
_TEXT = (*SERIES, "algorithm", "domain", "reason", "parameters")
_NUMBERS = ("time_s", "time_lo_s", "time_hi_s", "level", "distance", "holdout_error", "bound_s")

_PRIOR_PER_DOUBLING = 0.4    # log error a doubling of ranks, where none could be held out
_NEW_LEVEL = 0.45            # log error of a level of the machine that was never crossed
_WIDE = 1.25                 # times the usual width of a log interval, from where a size is worth measuring first
_FAR = 8                     # times the largest measured rank count, from where a prediction is speculative
_Z90 = 1.645
_Z95 = 1.96


def extrapolate(points: pd.DataFrame, ranks: Sequence[int] = TARGETS,
                home: tuple[str, Domain] | None = None) -> pd.DataFrame:
    """What each measured series would take at `ranks` ranks of the same fabric.

    Args:
        points: the frame of `tidy.load`.
        ranks: rank counts wanted.
        home: key and facts of the domain that it was measured in; its levels and its library's own choice of algorithm
            are then known. None: only what the data say of nodes.

    Returns:
        A frame of COLUMNS, one row per series, payload and rank count. `kind` is `measured` where that rank count
        was, `extrapolated` where a model says so, `refused` (one row a series and rank count, no times) where none
        can; `reason` says why, or what to beware of. `bound_s` is the time that nothing at that rank count beats; no
        prediction is below it. The interval covers `level` of cases like those that the tool has learned from.
        `distance` is ranks over the largest rank count measured below, `holdout_error` the median relative error of the
        latest trial in which the largest was held out.

    Raises:
        UsageError: fewer than 2 ranks were asked for.
    """
    if any(target < 2 for target in ranks):
        raise UsageError(f"cannot extrapolate to {min(ranks)} ranks: at least 2 are needed")
    rows = [row for key, series in series_of(points) for row in _rows(key, series, ranks, home)]
    frame = with_text(pd.DataFrame(rows, columns=list(COLUMNS)), _TEXT).astype(dict.fromkeys(_NUMBERS, float))
    known = (frame["op"], frame["ranks"], frame["message_bytes"].astype(float))
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(*known, frame[time])
    return frame


def as_json(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as objects with None for what is unknown, and whole numbers as whole numbers."""
    whole = ("message_bytes", "asked_bytes", "ranks")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{name: int(value) if name in whole and value is not None else value for name, value in row.items()}
            for row in rows]


def _rows(key: dict[str, object], points: Points, targets: Sequence[int],
          home: tuple[str, Domain] | None) -> Iterator[dict[str, object]]:
    """Rows of one series, target by target."""
    usable = points.where((points.ranks >= 2) & (points.time_s > 0))
    largest = int(usable.ranks.max()) if len(usable.ranks) else None
    why_not = _why_not(str(key["op"]), usable)
    named = {name: key[name] for name in SERIES}
    held: dict[Tiers, Trials] = {}
    for target in targets:
        below = usable.ranks[usable.ranks < target]
        start = int(below.max()) if len(below) else largest
        common = {**named, "ranks": target, "distance": target / start if start else None}
        if (usable.ranks == target).any():
            yield from _table({**common, "kind": "measured", "level": LEVEL}, _measured(usable, target))
            continue
        tiers = None if why_not else _tiers(key, usable, target, home)
        if tiers is None or tiers.refused:
            yield {**common, "kind": "refused", "reason": why_not or tiers.refused}
            continue
        if tiers not in held:
            names, sliced = _offered(str(key["op"]), _text(key["library"]), target, home)
            held[tiers] = hold_trials(_curve(key, usable, tiers, names, sliced))
        for row in _predicted(key, usable, held[tiers], target, tiers, home):
            yield {**row, **common}


def _table(common: dict[str, object], columns: dict[str, Iterable[object]]) -> list[dict[str, object]]:
    """Rows of columns, each with what all have in common."""
    return [{**common, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)]


def _tiers(key: dict[str, object], points: Points, target: int, home: tuple[str, Domain] | None) -> Tiers:
    node = key.get("ranks_per_node")
    known = int(node) if node is not None and not pd.isna(node) else None
    return tiers_of(known, bool(points.one_node.all()), int(points.ranks.max()), target, home)


def _why_not(op: str, points: Points) -> str | None:
    """Why this series says nothing about more ranks, or None."""
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


def _offered(op: str, library: str | None, target: int,
             home: tuple[str, Domain] | None) -> tuple[tuple[str, ...], bool]:
    """Algorithms that the library at home has, and whether it slices rings; switches reduce within a domain only."""
    from ..cost.fabric import fabric_of
    if home is None or kind_of(library, op) != home[1].library or not knows(home[1].library) \
            or (fabric := fabric_of(home[1])) is None:
        return (), False
    outside = home[1].accelerators is not None and target > home[1].accelerators.value
    names = offered(home[1].library, op, target, fabric._replace(in_network=fabric.in_network and not outside))
    return names, bool(constants(home[1].library).get("sliced_rings"))


def _curve(key: dict[str, object], points: Points, tiers: Tiers, names: tuple[str, ...], sliced: bool) -> Curve:
    curve = gridded(str(key["op"]), _text(key.get("algorithm")), points.size, points.ranks.astype(float),
                    points.message_bytes.astype(float), points.time_s, tiers.levels, _noise_log(points))
    return replace(curve, beyond=tiers.beyond, offered=names, sliced=sliced)


def _noise_log(points: Points) -> float:
    """Standard deviation of the log of a median at the largest rank count, from its 95 % interval; 0 where unknown."""
    top = points.ranks == points.ranks.max()
    with np.errstate(all="ignore"):
        widths = np.log(points.high_s[top] / points.low_s[top])
    known = widths[~np.isnan(widths)]
    found = float(np.median(known)) / 2 / _Z95 if len(known) else 0.0
    return found if math.isfinite(found) else 0.0


def _measured(points: Points, ranks: int) -> dict[str, list[object]]:
    there = points.where(points.ranks == ranks)
    there = there.where(np.argsort(there.message_bytes, kind="stable"))
    return {name: getattr(there, name).tolist()
            for name in ("message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s")}


def _predicted(key: dict[str, object], points: Points, trials: Trials, target: int, tiers: Tiers,
               home: tuple[str, Domain] | None) -> list[dict[str, object]]:
    """One row per payload, ascending."""
    whole = trials.curve
    known = experience()
    counts = max(1, int(np.searchsorted(whole.counts, target)))       # between two, only what is below speaks
    found, after = jumps(trials, counts), since_switch(trials, counts)
    if after is not None:
        counts, trials = len(after.counts), hold_trials(whole.since(int(after.counts[0])))
    curve = trials.curve
    largest = int(curve.counts[counts - 1])
    payload, asked = _payloads(key, points, curve, target)
    says = forecast(trials, counts, target, payload, kind_of(_text(key["library"]), curve.op), known,
                    algorithms_only=bool(tiers.beyond and tiers.words))
    doublings = abs(math.log2(target / largest))
    low, high = interval(says, max(doublings, 0.25), counts, known.widths)
    extra = _extra_log(curve, counts, target, doublings, bool(tiers.words))
    if tiers.words and curve.algorithm is None:      # any of the candidates may run there, and trials cannot tell
        extra = np.hypot(extra, _Z90 * says.spread)
    middle = says.log_time_s
    below, above = (np.hypot(np.maximum(side, 0.0), extra) for side in (middle - low, high - middle))
    sure = exact(whole.until(largest), target, payload) if tiers.beyond or not tiers.words else None
    if sure is not None:       # a curve that its named algorithm explains as a whole has no switch
        found, after = [], None
        middle, below = sure
        above = below
    bound_s = faster_than_s(curve, target, payload)
    time_s = np.maximum(np.exp(middle), bound_s)
    names, words = describe(trials, says, home[1].tiers[-1].rate_Bps.value if home and home[1].tiers else None)
    columns = {"message_bytes": payload.astype(np.int64), "asked_bytes": asked, "time_s": time_s,
               "time_lo_s": np.maximum(time_s * np.exp(-below), bound_s), "time_hi_s": time_s * np.exp(above),
               "bound_s": bound_s, "algorithm": np.array(names, object), "parameters": np.array(words, object)}
    sayable = np.isfinite(middle)
    rows = _table({"kind": "extrapolated", "level": PREDICTION_LEVEL, "holdout_error": _holdout(trials, says),
                   "domain": home[0] if home else None, "reason": _caution(points, whole, target, tiers, found, after)},
                  {name: values[sayable].tolist() for name, values in columns.items()})
    if home is not None and curve.algorithm is None and curve.offered:
        rows = follow_rule(rows, str(key["op"]), largest, target, home)
    advice = _next(rows, curve, target)
    once = {row["message_bytes"]: {**row, "reason": _join(row["reason"], advice)} for row in reversed(rows)}
    return sorted(once.values(), key=lambda row: row["message_bytes"])


def _join(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _payloads(key: dict[str, object], points: Points, curve: Curve, target: int) -> tuple[Floats, Ints]:
    """[size] payload at the target, and the size asked for that it stands for.

    A payload that grew with the ranks goes on growing; one that stayed is rounded up to divide among the target.
    """
    asked = np.full(len(curve.sizes), np.iinfo(np.int64).max)
    np.minimum.at(asked, np.searchsorted(curve.sizes, points.size), points.asked_bytes.astype(np.int64))
    first, last = curve.payload_bytes[:, 0], curve.payload_bytes[:, -1]
    grows = np.abs(last - first) > 0.5 * np.abs(first * curve.counts[-1] / curve.counts[0] - first)
    grows &= (len(curve.counts) > 1) & (curve.sizes != asked)
    op = str(key["op"])
    if op not in OPERATIONS or not OPERATIONS[op].has_payload:
        return np.where(grows, last * target / curve.counts[-1], last), asked
    unit = _unit(op, target, str(key["dtype"]), _text(key["traffic"]) if OPERATIONS[op].uneven else None)
    rounded = np.maximum(1, -(-asked // unit)) * unit
    return np.where(grows, last * target / curve.counts[-1], rounded).astype(float), asked


@cache
def _unit(op: str, ranks: int, dtype: str, traffic: str | None) -> int:
    """The payload that every other is a multiple of; cached, since weighing the traffic of 384 ranks takes time."""
    try:
        return round_up(op, 1, ranks, dtype, traffic)
    except KeyError:      # an element type of another tool
        return ranks


def _extra_log(curve: Curve, counts: int, target: int, doublings: float, new_level: bool) -> float:
    """Half width of the 90 % interval, as a logarithm, that earlier measurements do not stand for.

    Noise of this very measurement; a prior where nothing could be held out; and every level never crossed.
    """
    new = max(int(new_level), sum(int(curve.counts[-1]) <= size < target for size in curve.levels))
    untried = _PRIOR_PER_DOUBLING * max(doublings, 0.25) if counts < 3 else 0.0
    return _Z90 * math.sqrt(curve.noise_log**2 + untried**2 + new * _NEW_LEVEL**2)


def _holdout(trials: Trials, says: Forecast) -> float | None:
    """Median over sizes of the relative error at the largest rank count, had it not been measured; weights as now."""
    many = len(trials.curve.counts)
    if many < 3:
        return None
    before = trials.log_time_s[:, many - 2 if trials.curve.counts[-2] > trials.curve.counts[-1] / 2 and many > 3
                               else many - 1, :, many - 1]
    weight = np.where(np.isfinite(before), says.weights, 0.0)
    with np.errstate(all="ignore"):
        middle = (weight * np.nan_to_num(before)).sum(axis=0) / weight.sum(axis=0)
        errors = np.abs(np.expm1(middle - trials.curve.log_time_s[:, -1]))
    return float(np.nanmedian(errors)) if np.isfinite(errors).any() else None


def _caution(points: Points, curve: Curve, target: int, tiers: Tiers, found: list[tuple[int, int]],
             after: Curve | None) -> str | None:
    """What to beware of, most important first; None when there is nothing."""
    said = [tiers.words] if tiers.words else []
    counts, largest = len(curve.counts), int(curve.counts[-1])
    if target / largest > _FAR:
        said.append(f"speculative: {target / largest:.3g} times the largest measured rank count")
    if counts < 3:
        said.append(f"only {counts} rank count{'s' if counts > 1 else ''} measured, so nothing could be held out: "
                    f"width contains a prior, {_PRIOR_PER_DOUBLING:g} in log a doubling")
    for at, sizes in found:
        fitted = "; fitted from there on only" if after is not None and at == after.counts[0] else ""
        said.append(f"time jumps at {at} ranks as if another algorithm took over there "
                    f"({sizes} of {len(curve.sizes)} sizes){fitted}")
    crowded = np.unique(points.ranks[points.crowded]).tolist()
    if crowded:
        said.append(f"ranks shared cores at {', '.join(map(str, crowded))} ranks")
    return "; ".join(said) or None


def _next(rows: list[dict[str, object]], curve: Curve, target: int) -> str | None:
    """What to measure to narrow the interval most: the next rank count, and the sizes that are the least sure."""
    largest = int(curve.counts[-1])
    if len(curve.counts) < 2 or target / largest <= 2 or not rows:
        return None
    width = np.log([row["time_hi_s"] / row["time_lo_s"] for row in rows])
    unsure = np.nonzero(width > _WIDE * np.median(width))[0]
    wide = [rows[at]["message_bytes"] for at in unsure]
    sizes = f", above all {payload_words(min(wide))} to {payload_words(max(wide))}" if len(wide) > 1 else \
        f", above all {payload_words(wide[0])}" if wide else ""
    return f"to narrow this most, measure {min(2 * largest, target)} ranks{sizes}"
