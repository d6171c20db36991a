"""The estimate behind a forecast: which data it is fitted to, what the candidates say, and what lies in between."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS

from ..cost.algorithms import canonical_name, involves_others
from ..cost.expert_parallel import KNOWN_TO_RUN, Routing, busiest_bytes, kernel_named, routing_of
from ..cost.fabric import fabric_of
from ..cost.levels import Tiers, tiers_of
from ..cost.selection import constants, knows, offered, runs
from ..domains.facts import Domain
from .calibration import Calibration
from .changepoints import after_last_jump, jump_counts
from .curve import Curve, Floats, Ints, gridded
from .ensemble import Forecast, forecast
from .holdout import Trials, hold_trials
from .message_sizes import sizes_at
from .published import Published, published_times
from .regime import Category, bucket, counts_class, is_switched, kind_of, regime_of
from .series import Points

__all__ = ["Estimate", "Home", "Refused", "estimates", "text_of", "whole_series"]

_FEW_COUNTS = 2              # of which a trend is worth less than what is known of the library and its links
_Z95 = 1.96

Home = tuple[str, Domain]               # key and facts of the domain that the data were measured in


class Base(NamedTuple):
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


class Refused(NamedTuple):
    """Why there is no forecast for a rank count."""

    target: int
    reason: str


class Estimate(NamedTuple):
    """What is known of one series at one rank count.

    Args:
        sizes: [size] message sizes there, in bytes; `asked` as requested by the user of a benchmark.
        payload: [size] the bytes that models take as size: of an expert-parallel exchange those of the busiest rank.
        tiers: the levels of the machine, and assumptions about those that no measurement crossed.
        published: what the library's published tables say where measurements say too little; None if nothing.
        category: decides drift, width and track record.
    """

    target: int
    base: Base
    combined: Forecast
    sizes: Floats
    asked: Ints
    payload: Floats
    tiers: Tiers
    published: Published | None
    category: Category

    @property
    def distance(self) -> float:
        """Target ranks over the largest fitted, or the inverse if the target is smaller."""
        away = self.target / self.base.largest
        return max(away, 1 / away)


def estimates(key: dict[str, object], usable: Points, targets: Sequence[int], home: Home | None,
              known: Calibration) -> Iterator[Estimate | Refused]:
    """One for each target that was not measured.

    Args:
        key: key columns of the series.
        usable: its points with at least 2 ranks and a time above 0.
    """
    home = _consistent(home, key)
    why_not = _why_not(str(key["op"]), usable)
    held: dict[tuple[Tiers, bool], Trials] = {}
    for target in targets:
        tiers = Tiers((), refused=why_not) if why_not else _tiers(key, usable, target, home)
        if tiers.refused:
            yield Refused(target, tiers.refused)
            continue
        switched = is_switched(home[1] if home else None, max(target, int(usable.ranks.max())))
        if (tiers, switched) not in held:
            curve = replace(_curve(key, usable, tiers, target, home), switched=switched)
            held[tiers, switched] = hold_trials(known.curve(curve, kind_of(text_of(key["library"]), curve.op)))
        yield _estimate(key, usable, held[tiers, switched], target, tiers, home, known)


def whole_series(key: dict[str, object], usable: Points, home: Home | None) -> Curve:
    """The curve of all rank counts of a series, with what is known of its levels and library."""
    home, largest = _consistent(home, key), int(usable.ranks.max())
    tiers = _tiers(key, usable, largest, home)
    curve = _curve(key, usable, tiers._replace(beyond=()), largest, home)
    return replace(curve, switched=is_switched(home[1] if home else None, largest))


def _estimate(key: dict[str, object], points: Points, trials: Trials, target: int, tiers: Tiers, home: Home | None,
              known: Calibration) -> Estimate:
    base = _base(trials, target)
    curve = base.trials.curve
    kind = kind_of(text_of(key["library"]), curve.op)
    stated = curve if curve.routing is None else _stated(curve, points)
    sizes, asked = sizes_at(curve.op, str(key["dtype"]), text_of(key["traffic"]), points, stated, target,
                            text_of(key.get("variant")))
    payload = sizes if curve.routing is None else np.array(
        [busiest_bytes(curve.routing, target, tokens) for tokens in curve.sizes.tolist()])
    published = _beyond_home(key, base, target, sizes, home)
    away = max(target / base.largest, base.largest / target)
    regime = "tables" if published else regime_of(curve.until(base.largest), target, bool(tiers.words),
                                                  bool(points.one_node.all()))
    category = Category(counts_class(base.counts, base.largest), bucket(away), regime, kind, curve.op)
    combined = forecast(base.trials, base.counts, target, payload, kind, known.history,
                        algorithms_only=bool(tiers.beyond and tiers.words),
                        steady=category.same_path and category.bucket > 0 and 0 < category.counts <= _FEW_COUNTS)
    return Estimate(target, base, combined, sizes, asked, payload, tiers, published, category)


def _consistent(home: Home | None, key: dict[str, object]) -> Home | None:
    """The domain, unless the data state another number of ranks a node than its only host has."""
    node = key.get("ranks_per_node")
    if home is None or home[1].accelerators is None or not isinstance(node, (int, float)) or pd.isna(node):
        return home
    domain, size = home[1], int(home[1].accelerators.value)
    each = int(domain.accelerators_per_host.value) if domain.accelerators_per_host else size
    return home if node <= 1 or int(node) in (each, size) or (each < size and node < each) else None


def _tiers(key: dict[str, object], points: Points, target: int, home: Home | None) -> Tiers:
    node = key.get("ranks_per_node")
    known = int(node) if isinstance(node, (int, float)) and not pd.isna(node) else None
    return tiers_of(known, bool(points.one_node.all()), int(points.ranks.max()), target, home)


def _why_not(op: str, points: Points) -> str | None:
    """Why this series cannot be extrapolated to more ranks, or None."""
    if op in OPERATIONS and OPERATIONS[op].pairs:
        return "involves pairs of ranks; more were not measured"
    if not involves_others(op):
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
    names, sliced = _offered(str(key["op"]), text_of(key["library"]), target, home, tiers.levels)
    op, payload = str(key["op"]), points.message_bytes.astype(float)
    routing = _routing(key, points)
    if routing is not None:
        payload = np.array([busiest_bytes(routing, int(ranks), tokens)
                            for tokens, ranks in zip(points.tokens.tolist(), points.ranks, strict=True)])
        names = KNOWN_TO_RUN.get(routing.via or "", ())
    # Where a table of tokens states no bytes, these are proportional to the tokens.
    name = text_of(key.get("algorithm"))
    curve = gridded(op, kernel_named(name) if routing else canonical_name(op, name), points.size,
                    points.ranks.astype(float), np.where(payload > 0, payload, points.size), points.time_s,
                    tiers.levels, _noise_log(points))
    return replace(curve, beyond=tiers.beyond, offered=names, sliced=sliced, routing=routing)


def _routing(key: dict[str, object], points: Points) -> Routing | None:
    """The routing of an expert-parallel exchange whose sizes are tokens; None for everything else."""
    if np.isnan(points.tokens).any():
        return None
    return routing_of(str(key["op"]), *(text_of(key.get(name)) for name in ("traffic", "variant", "dtype")))


def _stated(curve: Curve, points: Points) -> Curve:
    """The curve with the message sizes that the data state."""
    payload = points.message_bytes.astype(float)
    grid = gridded(curve.op, None, points.size, points.ranks.astype(float),
                   np.where(payload > 0, payload, points.size), points.time_s)
    return replace(curve, payload_bytes=grid.payload_bytes[:, np.isin(grid.counts, curve.counts)])


def _noise_log(points: Points) -> float:
    """Standard deviation of log median time at the largest rank count, from its 95 % interval; 0 if unknown."""
    top = points.ranks == points.ranks.max()
    with np.errstate(all="ignore"):
        widths = np.log(points.high_s[top] / points.low_s[top])
    known = widths[~np.isnan(widths)]
    found = float(np.median(known)) / 2 / _Z95 if len(known) else 0.0
    return found if math.isfinite(found) else 0.0


def _beyond_home(key: dict[str, object], base: Base, target: int, sizes: Floats,
                 home: Home | None) -> Published | None:
    """What the library's published tables say of a target beyond the domain, where measurements say too little.

    All of them are inside it, or they cover one or two rank counts: then the tables give the change from the largest.
    """
    if home is None or home[1].accelerators is None:
        return None
    size, curve = int(home[1].accelerators.value), base.trials.curve.until(base.largest)
    if target <= size or (base.largest > size and base.counts > _FEW_COUNTS):
        return None
    op, library = curve.op, text_of(key["library"])
    there = published_times(op, library, home[1], target, sizes, curve.algorithm)
    if there is None or base.largest <= size:
        return there
    here = published_times(op, library, home[1], base.largest, curve.payload_bytes[:, -1], curve.algorithm)
    return here and there._replace(middle=curve.level + there.middle - here.middle)


def _base(trials: Trials, target: int) -> Base:
    """Data for a forecast of `target`: the rank counts below it, after the last jump."""
    whole = trials.curve
    counts = max(1, int(np.searchsorted(whole.counts, target)))
    found, after = jump_counts(trials, counts), after_last_jump(trials, counts)
    if after is None:
        return Base(whole, trials, counts, found, None)
    first = int(after.counts[0])
    return Base(whole, hold_trials(whole.since(first)), len(after.counts), found, first)


def text_of(value: object) -> str | None:
    """The value if it is text, else None: missing text in a frame is NaN."""
    return value if isinstance(value, str) else None
