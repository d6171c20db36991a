"""Times at other rank counts of the fabric that was measured, with intervals that grow with the distance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectives.catalog import OPERATIONS, round_up
from collectives.errors import UsageError

from ..metrics import busbw_Bps
from ..selection import constants, knows, offered
from ..stats import LEVEL
from ..tidy import with_text
from ..units import payload as payload_words
from .bounds import faster_than_s
from .contest import Forecast, forecast, interval
from .curve import Curve, Floats, Ints, curve_of
from .describe import describe
from .exact import exact
from .experience import experience, kind_of
from .registry import ALGORITHMS
from .rule import follow_rule
from .switches import jumps, since_switch
from .tiers import Tiers, tiers_of
from .trials import Trials, hold_trials

if TYPE_CHECKING:
    from ..domains import Domain

__all__ = ["COLUMNS", "SERIES", "TARGETS", "as_json", "extrapolate"]

TARGETS = (72, 384)      # accelerators of one NVL72 and of one CloudMatrix 384
PREDICTION_LEVEL = 0.9

# Points that differ in any of these are never fitted together.
SERIES = ("system", "transport", "library", "device", "op", "dtype", "redop", "place", "traffic", "mode")
COLUMNS = (*SERIES, "algorithm", "message_bytes", "asked_bytes", "ranks", "kind", "time_s", "time_lo_s", "time_hi_s",
           "level", "busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps", "distance", "holdout_error", "bound_s", "domain",
           "reason", "parameters")
# Where a source says more than a journal does, that separates series too.
_MORE = ("algorithm", "variant", "ranks_per_node")

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
    more = [name for name in _MORE if name in points.columns]
    tables = [table for key, series in _with_levels(points, more).groupby([*SERIES, *more], dropna=False, sort=False)
              for table in _tables(dict(zip([*SERIES, *more], key, strict=True)), series, ranks, home)]
    frame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    frame = with_text(frame.reindex(columns=list(COLUMNS)), [*SERIES, "algorithm", "domain", "reason", "parameters"])
    known = (frame["op"], frame["ranks"], frame["message_bytes"].astype(float))
    for rate, time in (("busbw_Bps", "time_s"), ("busbw_lo_Bps", "time_hi_s"), ("busbw_hi_Bps", "time_lo_s")):
        frame[rate] = busbw_Bps(*known, frame[time].astype(float))
    return frame


def _with_levels(points: pd.DataFrame, more: list[str]) -> pd.DataFrame:
    """`ranks_per_node` as the size of a node where nodes were filled one after the other, and unknown within one node.

    A source that counts the ranks on a node says 2, 4, 8, 8 for 2, 4, 8, 16 ranks on nodes of 8: one series, not three.
    `one_node` says where all ranks of a series were on one.
    """
    if "ranks_per_node" not in more or points["ranks_per_node"].isna().all():
        return points.assign(one_node=False)
    keys = [*SERIES, *(name for name in more if name != "ranks_per_node")]
    node = points.groupby(keys, dropna=False)["ranks_per_node"].transform("max")
    filled = points["ranks_per_node"].eq(np.minimum(node, points["ranks"]))
    largest = points["ranks"].groupby([points[key] for key in keys], dropna=False).transform("max")
    all_filled = filled.groupby([points[key] for key in keys], dropna=False).transform("all")
    levels = points["ranks_per_node"].where(~all_filled, node.where(largest > node))
    return points.assign(ranks_per_node=levels, one_node=all_filled & (largest <= node))


def as_json(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as objects with None for what is unknown, and whole numbers as whole numbers."""
    whole = ("message_bytes", "asked_bytes", "ranks")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{name: int(value) if name in whole and value is not None else value for name, value in row.items()}
            for row in rows]


def _tables(key: dict[str, object], points: pd.DataFrame, targets: Sequence[int],
            home: tuple[str, Domain] | None) -> Iterator[pd.DataFrame]:
    """One table per target of one series."""
    usable = points[(points["ranks"] >= 2) & (points["time_s"] > 0)]
    largest = int(usable["ranks"].max()) if len(usable) else None
    why_not = _why_not(str(key["op"]), usable)
    held: dict[Tiers, Trials] = {}
    for target in targets:
        there = usable[usable["ranks"] == target]
        below = usable.loc[usable["ranks"] < target, "ranks"]
        start = int(below.max()) if len(below) else largest
        common = {**{name: key[name] for name in SERIES}, "ranks": target,
                  "distance": target / start if start else None}
        if len(there):
            yield _measured(there).assign(**common)
            continue
        tiers = None if why_not else _tiers(key, usable, target, home)
        if tiers is None or tiers.refused:
            yield pd.DataFrame([{**common, "kind": "refused", "reason": why_not or tiers.refused}])
            continue
        if tiers not in held:
            names, sliced = _offered(str(key["op"]), _text(key["library"]), target, home)
            held[tiers] = hold_trials(_curve(key, usable, tiers, names, sliced))
        yield _predicted(key, usable, held[tiers], target, tiers, home).assign(**common)


def _tiers(key: dict[str, object], points: pd.DataFrame, target: int, home: tuple[str, Domain] | None) -> Tiers:
    node = key.get("ranks_per_node")
    known = int(node) if node is not None and not pd.isna(node) else None
    return tiers_of(known, bool(points["one_node"].all()), int(points["ranks"].max()), target, home)


def _why_not(op: str, points: pd.DataFrame) -> str | None:
    """Why this series says nothing about more ranks, or None."""
    if op in OPERATIONS and OPERATIONS[op].pairs:
        return "involves pairs of ranks: more ranks means more pairs at once, which was not measured"
    if op in OPERATIONS and op not in ALGORITHMS:
        return "involves no other rank"
    if points.empty:
        return "no time above zero over at least 2 ranks was measured"
    kinds = sorted(points["time_kind"].dropna().unique())
    if len(kinds) > 1:
        return f"mixes two definitions of time, {' and '.join(kinds)}, which must not be pooled"
    return None


def _offered(op: str, library: str | None, target: int,
             home: tuple[str, Domain] | None) -> tuple[tuple[str, ...], bool]:
    """Algorithms that the library at home has, and whether it slices rings; switches reduce within a domain only."""
    from ..projection.fabric import fabric_of
    if home is None or kind_of(library, op) != home[1].library or not knows(home[1].library) \
            or (fabric := fabric_of(home[1])) is None:
        return (), False
    outside = home[1].accelerators is not None and target > home[1].accelerators.value
    names = offered(home[1].library, op, target, fabric._replace(in_network=fabric.in_network and not outside))
    return names, bool(constants(home[1].library).get("sliced_rings"))


def _curve(key: dict[str, object], points: pd.DataFrame, tiers: Tiers, names: tuple[str, ...],
           sliced: bool) -> Curve:
    algorithm = key.get("algorithm")
    rows = pd.DataFrame({"size": _size(points), "ranks": points["ranks"], "time_s": points["time_s"],
                         "payload_bytes": points["message_bytes"]})
    curve = curve_of(rows, str(key["op"]), algorithm if isinstance(algorithm, str) else None, tiers.levels,
                     _noise_log(points))
    return replace(curve, beyond=tiers.beyond, offered=names, sliced=sliced)


def _size(points: pd.DataFrame) -> pd.Series:
    """What a size is followed by: the tool's own size where it is given, else the size asked for."""
    if "native_size_bytes" not in points.columns:
        return points["asked_bytes"]
    return points["native_size_bytes"].fillna(points["asked_bytes"])


def _noise_log(points: pd.DataFrame) -> float:
    """Standard deviation of the log of a median at the largest rank count, from its 95 % interval; 0 where unknown.

    Where there are too few samples for an interval, the samples themselves, p5 to p95, stand in for it.
    """
    top = points[points["ranks"] == points["ranks"].max()]
    low, high = top["time_lo_s"].fillna(top["p5_s"]), top["time_hi_s"].fillna(top["p95_s"])
    found = np.log((high / low).astype(float)).median() / 2 / _Z95
    return float(found) if np.isfinite(found) else 0.0


def _measured(points: pd.DataFrame) -> pd.DataFrame:
    columns = ["message_bytes", "asked_bytes", "time_s", "time_lo_s", "time_hi_s"]
    return points[columns].sort_values("message_bytes").assign(kind="measured", level=LEVEL)


def _predicted(key: dict[str, object], points: pd.DataFrame, trials: Trials, target: int, tiers: Tiers,
               home: tuple[str, Domain] | None) -> pd.DataFrame:
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
    caution = _caution(points, whole, target, tiers, found, after)
    table = pd.DataFrame({
        "message_bytes": payload.astype(np.int64), "asked_bytes": asked, "time_s": time_s,
        "time_lo_s": np.maximum(time_s * np.exp(-below), bound_s), "time_hi_s": time_s * np.exp(above),
        "bound_s": bound_s, "level": PREDICTION_LEVEL, "kind": "extrapolated", "holdout_error": _holdout(trials, says),
        "domain": home[0] if home else None, "reason": caution, "algorithm": names, "parameters": words})
    table = table[np.isfinite(middle)]
    if home is not None and curve.algorithm is None and curve.offered:
        table = follow_rule(table, str(key["op"]), largest, target, home)
    advice = _next(table, curve, target)
    table["reason"] = [_join(reason, advice) for reason in table["reason"]]
    return table.drop_duplicates("message_bytes").sort_values("message_bytes", ignore_index=True)


def _join(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _payloads(key: dict[str, object], points: pd.DataFrame, curve: Curve, target: int) -> tuple[Floats, Ints]:
    """[size] payload at the target, and the size asked for that it stands for.

    A payload that grew with the ranks goes on growing; one that stayed is rounded up to divide among the target.
    """
    rows = pd.DataFrame({"size": _size(points), "asked": points["asked_bytes"]}).groupby("size")["asked"].min()
    asked = rows.reindex(curve.sizes).to_numpy().astype(np.int64)
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


def _caution(points: pd.DataFrame, curve: Curve, target: int, tiers: Tiers, found: list[tuple[int, int]],
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
    crowded = sorted(points.loc[points["oversubscribed"].fillna(False).astype(bool), "ranks"].unique())
    if crowded:
        said.append(f"ranks shared cores at {', '.join(map(str, crowded))} ranks")
    return "; ".join(said) or None


def _next(table: pd.DataFrame, curve: Curve, target: int) -> str | None:
    """What to measure to narrow the interval most: the next rank count, and the sizes that are the least sure."""
    largest = int(curve.counts[-1])
    if len(curve.counts) < 2 or target / largest <= 2 or table.empty:
        return None
    width = np.log(table["time_hi_s"] / table["time_lo_s"])
    wide = table.loc[width > _WIDE * width.median(), "message_bytes"]
    sizes = f", above all {payload_words(wide.min())} to {payload_words(wide.max())}" if len(wide) > 1 else \
        f", above all {payload_words(wide.iloc[0])}" if len(wide) else ""
    return f"to narrow this most, measure {min(2 * largest, target)} ranks{sizes}"
