"""The expected range from published runs of the same operation on the same accelerators, hosts and message size.

The range is that of the runs (see `reference_runs`), from the 10th to the 90th percentile where there are ten or more,
widened by how much two tables of one accelerator differ. Runs of the source that a point itself comes from are left
out, or it would be normal against itself. nccl-tests and the like time calls back to back, so only streamed points are
compared with them; OSU and IMB logs have no such pair of modes.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..domains.facts import Domain
from ..frames.bandwidth import bus_factor
from .ceilings import on_cpu
from .reference_runs import (
    CPU,
    Place,
    PublishedRun,
    accelerator_named,
    comparable,
    library_family,
    published_runs,
    readable,
)
from .table_spread import widths

__all__ = ["COLUMNS", "Range", "add_published", "hosts_of", "own_sources", "range_of"]

COLUMNS = ("expected_lo_Bps", "expected_Bps", "expected_hi_Bps", "basis", "percentile", "reference_runs",
           "reference_sources", "reference")
_TEXTS = ("basis", "reference")
_TAIL = 0.1             # of the runs at either end, which are beyond the range where there are at least _MANY
_MANY = 10
_ENOUGH = 3             # sources; between hosts and on CPUs, which differ, the range of fewer is widened by _FEW
_FEW = 2.0
_EQUAL = 6e-4           # relative: times as far apart as printing rounds them are the same figure
_OWN_SHARE = 0.6        # of the sizes in common that must be equal for a run to be from the same source
_ANY_MODE = ("osu", "imb", "gpu-benchmarks")
_GROUP = ("transport", "library", "device", "system", "op", "ranks", "ranks_per_node")
Floats = NDArray[np.float64]


class Range(NamedTuple):
    """What published runs say: [size] ends and median of busbw in bytes/s, runs and sources; NaN and 0 without any.

    Args:
        rates: [run, size] busbw of each run; NaN where it has none near.
    """

    low: Floats
    median: Floats
    high: Floats
    runs: NDArray[np.int64]
    sources: NDArray[np.int64]
    rates: Floats


def range_of(runs: Sequence[PublishedRun], sizes: Floats, place: Place | None = None) -> Range:
    """The range of `runs` at `sizes` in bytes; with `place`, wider where few sources speak for it."""
    if not runs:
        nothing, none = np.full(len(sizes), np.nan), np.zeros(len(sizes), dtype=np.int64)
        return Range(nothing, nothing, nothing, none, none, np.empty((0, len(sizes))))
    rates = np.array([run.busbw_Bps(sizes) for run in runs])
    known = ~np.isnan(rates)
    names = np.array([run.source for run in runs])
    sources = np.array([len(set(names[some])) for some in known.T], dtype=np.int64)
    ends = np.full((3, len(sizes)), np.nan)
    count = known.sum(axis=0)
    for some, tail in ((count >= _MANY, _TAIL), ((count > 0) & (count < _MANY), 0.0)):
        if some.any():
            ends[:, some] = np.nanquantile(rates[:, some], (tail, 0.5, 1 - tail), axis=0)
    width = widths(sizes)
    if place is not None and (place.hosts != 1 or place.accelerator == CPU):
        width = np.where(sources < _ENOUGH, _FEW, 1.0) * width
    return Range(ends[0] / width, ends[1], ends[2] * width, count, sources, rates)


def add_published(points: pd.DataFrame, home: tuple[str, Domain] | None) -> pd.DataFrame:
    """A frame of COLUMNS beside `points`: the published range of busbw; NaN where nothing comparable is published.

    `percentile` is the share of runs that are slower, `reference` what the runs have in common.
    """
    found = pd.DataFrame(np.nan, index=points.index, columns=list(COLUMNS)).astype(dict.fromkeys(_TEXTS, object))
    found[list(_TEXTS)] = None
    timed = points["mode"].eq("streamed") | points["transport"].isin(_ANY_MODE)
    usable = points[timed & (points["busbw_Bps"] > 0) & ~points["oversubscribed"].fillna(False).astype(bool)]
    groups = [(place, rows) for key, rows in usable.groupby(list(_GROUP), dropna=False, sort=False)
              if (place := _place(key, home, bool(on_cpu(rows).all()))) is not None]
    without = own_sources(groups)
    for place, rows in groups:
        runs = comparable(place, without) or _plateaus(place, home, without)
        if runs:
            _compare(place, runs, rows, found)
    return found


def _place(key: tuple[object, ...], home: tuple[str, Domain] | None, cpu: bool) -> Place | None:
    """Where a group was measured; None if its accelerator or library is not known."""
    transport, library, device, system, op, ranks, node = key
    accelerator = CPU if cpu else accelerator_named(f"{device}") or accelerator_named(f"{system}") or \
        (accelerator_named(str(home[1].accelerator)) if home else None)
    family = library_family(f"{library} {transport}", accelerator) if accelerator else None
    if accelerator is None or family is None:
        return None
    count = int(cast(int, ranks))
    hosts = hosts_of(count, float(cast(float, node)), None if cpu else home)
    return Place(accelerator, family, str(op), count, hosts)


def _plateaus(place: Place, home: tuple[str, Domain] | None, without: frozenset[str]) -> list[PublishedRun]:
    """Published bandwidths of the domain for large messages, as runs; where a source states no size, of 4 GiB."""
    if home is None or place.hosts not in (1, None) or place.accelerator == CPU:
        return []
    domain, found = home[1], []
    known = {"all_reduce": (domain.all_reduce_ring_busbw_Bps, domain.all_reduce_in_network_busbw_Bps),
             "all_to_all": (domain.all_to_all_busbw_Bps,), "bandwidth": (domain.point_to_point_Bps,)}
    for value in known.get(place.op, ()):
        if value is not None and value.ranks == place.ranks and not any(name in value.source for name in without):
            size = np.array([float(value.message_bytes or 4 << 30)])
            found.append(PublishedRun(place, value.source, "", "", size,
                                      size * bus_factor(place.op, place.ranks) / value.value))
    return found


def hosts_of(ranks: int, ranks_per_node: float, home: tuple[str, Domain] | None) -> int | None:
    """How many hosts the ranks are on, as the data say; 1 if one host of the domain has as many; otherwise None."""
    if not np.isnan(ranks_per_node):
        return -(-ranks // int(ranks_per_node))
    each = home[1].accelerators_per_host if home else None
    return 1 if home and each and ranks <= each.value * home[1].dies else None


def own_sources(groups: list[tuple[Place, pd.DataFrame]]) -> frozenset[str]:
    """Sources that the data themselves come from: named by them, or with the same figures."""
    found: set[str] = set()
    names = {run.source for run in published_runs()}
    for place, rows in groups:
        if "source" in rows:
            told = [str(text) for text in rows["source"].dropna().unique()]
            found |= {name for name in names if any(name in text for text in told)}
        found |= {run.source for run in comparable(place, frozenset(found)) if _same_figures(run, place, rows)}
    return frozenset(found)


def _same_figures(run: PublishedRun, place: Place, rows: pd.DataFrame) -> bool:
    if run.place.ranks != place.ranks:
        return False
    size, time = rows["message_bytes"].to_numpy(float), rows["time_s"].to_numpy(float)
    at = np.minimum(np.searchsorted(run.sizes, size), len(run.sizes) - 1)
    common = run.sizes[at] == size
    equal = common & (np.abs(time / run.times_s[at] - 1) < _EQUAL)
    sizes = len(set(size[common]))
    return bool(sizes) and len(set(size[equal])) >= max(1.0, _OWN_SHARE * sizes)


def _compare(place: Place, runs: list[PublishedRun], rows: pd.DataFrame, found: pd.DataFrame) -> None:
    sizes = rows["message_bytes"].to_numpy(float)
    known = range_of(runs, sizes, place)
    some = known.runs > 0
    at = rows.index[some]
    for column, values in zip(COLUMNS, (known.low, known.median, known.high), strict=False):
        found.loc[at, column] = values[some]
    found.loc[at, "basis"] = "published"
    ours = rows["busbw_Bps"].to_numpy(float)
    with np.errstate(invalid="ignore"):
        slower = (known.rates < ours).sum(axis=0) + (known.rates == ours).sum(axis=0) / 2
        found.loc[at, "percentile"] = (100 * slower / np.maximum(known.runs, 1))[some]
    found.loc[at, "reference_runs"] = known.runs[some].astype(float)
    found.loc[at, "reference_sources"] = known.sources[some].astype(float)
    found.loc[at, "reference"] = readable(runs)
