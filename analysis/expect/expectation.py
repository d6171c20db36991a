"""The expected time of an operation at a rank count and message size, from the best source there is.

In this order: published runs of the same operation, accelerator and hosts; a projection within the domain, or an
extrapolation of published runs of one host over its cards; the bound that links and cards set. With measurements of the
system at fewer ranks, their extrapolation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.catalog import OPERATIONS, round_up
from collbench.collectives.errors import UsageError

from ..assess.published import range_of
from ..assess.reference_runs import Place, accelerator_named, comparable, library_family, readable
from ..cost.algorithms import ALGORITHMS
from ..cost.cards import cards_in_words
from ..cost.wires import wire_time_s
from ..domains.facts import Domain
from ..forecast import extrapolate
from ..frames.bandwidth import bus_factor
from ..frames.load import load
from ..projection.monte_carlo import Target, sample_times
from ..projection.references import measured, shipped
from ..text.units import counted

__all__ = ["BOUND", "EXTRAPOLATED", "MEASURED", "PROJECTED", "PUBLISHED", "Expectation", "expect", "expect_from"]

MEASURED, PUBLISHED, EXTRAPOLATED, PROJECTED, BOUND = "measured", "published", "extrapolated", "projected", "bound"
_LEVEL = 0.9
_ENDS = ((1 - _LEVEL) / 2, 0.5, (1 + _LEVEL) / 2)
_DTYPE = "float32"
_ALIKE = 0.1        # relative difference of card rates

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expectation:
    """One operation, rank count and message size.

    Args:
        domain: its key; None where only measurements are known.
        hosts: how many the ranks are on; None if unknown.
        kind: where the figure comes from: `published`, `extrapolated`, `projected`, `measured`, or `bound`, which is a
            limit and no expectation.
        time_s, busbw_Bps: the figure; `_lo` and `_hi` its interval, None where there is none. `level`: its
            coverage; None for the range of published runs.
        bound_s: least time that links and cards allow; None if unknown.
        source: what it rests on. `reason`: why that and nothing better. `assumption`: what is assumed of the hosts.
    """

    op: str
    ranks: int
    hosts: int | None
    message_bytes: int
    domain: str | None
    kind: str
    time_s: float
    time_lo_s: float | None
    time_hi_s: float | None
    level: float | None
    bound_s: float | None
    source: str
    reason: str
    assumption: str | None

    def busbw_Bps(self, time_s: float | None) -> float | None:
        """Bus bandwidth if the call takes `time_s`; None if that is unknown or the operation has no payload."""
        factor = bus_factor(self.op, self.ranks)
        return self.message_bytes * factor / time_s if time_s and self.message_bytes else None

    def as_json(self) -> dict[str, Any]:
        """For the JSON document."""
        return {**asdict(self), "algbw_Bps": self.message_bytes / self.time_s if self.message_bytes else None,
                "busbw_Bps": self.busbw_Bps(self.time_s), "busbw_lo_Bps": self.busbw_Bps(self.time_hi_s),
                "busbw_hi_Bps": self.busbw_Bps(self.time_lo_s)}


def expect(ops: Sequence[str], key: str, domain: Domain, ranks: Sequence[int], sizes: Sequence[int],
           facts: Domain | None = None) -> list[Expectation]:
    """Expectations for every combination, without any measurement of the user's.

    Args:
        key, domain: where; `domain` has the cards that the user states (`cost.cards.with_cards`).
        facts: the domain with the cards that its facts assume; None: the same.

    Raises:
        UsageError: an operation is none of the catalog that a model knows, or nothing at all is known of the domain.
    """
    for op in ops:
        if op not in ALGORITHMS or op not in OPERATIONS:
            raise UsageError(f"{op}: nothing to expect of it: known are "
                             f"{', '.join(name for name in ALGORITHMS if name in OPERATIONS)}")
    usual = _same_cards(domain, facts or domain)
    return [one for op in ops for count in ranks for one in _expect(op, key, domain, count, sizes, usual)]


def _same_cards(stated: Domain, facts: Domain) -> bool:
    """Whether the cards are those of the facts; published runs seldom state theirs, and most have these."""
    mine, usual = stated.scaleout_Bps, facts.scaleout_Bps
    return mine is None or (usual is not None and abs(mine.value / usual.value - 1) < _ALIKE)


def _expect(op: str, key: str, domain: Domain, ranks: int, sizes: Sequence[int],
            usual_cards: bool) -> Iterator[Expectation]:
    payloads = np.array(_payloads(op, ranks, sizes), float)
    hosts = _hosts(domain, ranks)
    assumption = _assumption(key, domain, ranks, hosts)
    bounds = wire_time_s(op, ranks, payloads, domain, []) if domain.tiers else np.zeros(len(payloads))
    published, unpublished = _published(op, domain, ranks, hosts, payloads) if usual_cards or hosts == 1 else \
        ([], "published runs mostly have other cards than those stated")
    modelled: list[_Figure] | None = None
    for at, payload in enumerate(payloads):
        figure = published[at] if published else None
        if figure is None:
            modelled = _modelled(op, key, domain, ranks, payloads) if modelled is None else modelled
            figure = modelled[at] if modelled else None
        if figure is None:
            if not bounds[at]:
                raise UsageError(f"{key}: no published run, no model and no rate of links or cards is known for {op} "
                                 f"at {ranks} ranks (collbench domains {key} shows what is)")
            figure = _Figure(BOUND, float(bounds[at]), None, None, "rates of links and cards",
                             "nothing better is known; a bound is a limit, and no expectation")
        reason = figure.reason if figure.kind == PUBLISHED else f"{unpublished}; {figure.reason}".strip("; ")
        least = min(float(bounds[at]), figure.time_s)       # no interval promises more than links and cards carry
        low = None if figure.low_s is None else max(figure.low_s, least)
        yield Expectation(op, ranks, hosts, int(payload), key, figure.kind, figure.time_s, low, figure.high_s,
                          figure.level, float(bounds[at]) or None, figure.source, reason, assumption)


@dataclass(frozen=True)
class _Figure:
    kind: str
    time_s: float
    low_s: float | None
    high_s: float | None
    source: str
    reason: str
    level: float | None = None


def _payloads(op: str, ranks: int, sizes: Sequence[int]) -> list[int]:
    """The message sizes nearest above those asked for that the operation can divide; one 0 if it has none."""
    return [round_up(op, size, ranks, _DTYPE) for size in sizes] if OPERATIONS[op].has_payload else [0]


def _hosts(domain: Domain, ranks: int) -> int | None:
    each = domain.accelerators_per_host
    return -(-ranks // (int(each.value) * (domain.dies if _on_dies(domain, ranks) else 1))) if each else None


def _on_dies(domain: Domain, ranks: int) -> bool:
    """Whether there are more ranks than accelerators, so that a rank is a die."""
    return domain.dies > 1 and domain.accelerators is not None and ranks > domain.accelerators.value


def _assumption(key: str, domain: Domain, ranks: int, hosts: int | None) -> str | None:
    """The hosts and, where ranks leave the domain, the cards."""
    inside = domain.accelerators is not None and ranks <= domain.accelerators.value * domain.dies
    cards = None if inside else cards_in_words(key, domain)
    parts = [counted(hosts, "host") if hosts else None, cards]
    return ", ".join(part for part in parts if part) or None


def _published(op: str, domain: Domain, ranks: int, hosts: int | None,
               payloads: Floats) -> tuple[list[_Figure | None], str]:
    """A figure for each size that published runs cover; and why there is none for the others."""
    accelerator = accelerator_named(str(domain.accelerator))
    library = library_family(domain.library or "", accelerator) if accelerator else None
    if accelerator is None or library is None:
        return [], "no published runs of its accelerator"
    place = Place(accelerator, library, op, ranks, hosts)
    runs = comparable(place)
    found = range_of(runs, payloads, place)
    if not found.runs.any():
        return [], f"no published run of {op} at {ranks} ranks of {accelerator}"
    factor = bus_factor(op, ranks)
    figures: list[_Figure | None] = []
    for at, payload in enumerate(payloads):
        if not found.runs[at] or not payload:
            figures.append(None)
            continue
        low, high = payload * factor / found.high[at], payload * factor / found.low[at]
        sources = sorted({run.source for run, rate in zip(runs, found.rates[:, at], strict=True) if not np.isnan(rate)})
        figures.append(_Figure(
            PUBLISHED, payload * factor / found.median[at], low, high, "; ".join(sources),
            f"median of {counted(int(found.runs[at]), 'published run')} from {counted(len(sources), 'source')}: "
            f"{readable(runs)}"))
    return figures, f"no published run of this size: {readable(runs)}"


def _modelled(op: str, key: str, domain: Domain, ranks: int, payloads: Floats) -> list[_Figure] | None:
    """Within the domain a projection, beyond it an extrapolation of published runs inside; None if there is neither."""
    if domain.accelerators is not None and ranks <= domain.accelerators.value * domain.dies:
        target = Target(key, domain, ranks, _on_dies(domain, ranks))
        drawn = [sample_times(target, op, float(payload), shipped(), ()) for payload in payloads]
        if any(one is None for one in drawn):
            return None
        figures = []
        for one in drawn:
            assert one is not None
            low, middle, high = (float(end) for end in np.quantile(one.time_s, _ENDS))
            figures.append(_Figure(PROJECTED, middle, low, high, one.basis, f"projected with the {one.algorithm} "
                                   f"algorithm: facts of {key} times published efficiencies", _LEVEL))
        return figures
    systems = measured().loc[measured()["domain"].eq(key), "system"].unique()
    if not len(systems) or domain.scaleout_Bps is None:
        return None
    table = resources.files("collbench.analysis").joinpath("data", "validation", "aiconfigurator_nccl_single_node.csv")
    with resources.as_file(table) as path:
        points = load(path).points
    points = points[points["system"].isin(systems) & points["op"].eq(op)]
    return _forecast(points, op, ranks, payloads, (key, domain), "ai-dynamo/aiconfigurator, one host") if len(points) \
        else None


def _forecast(points: pd.DataFrame, op: str, ranks: int, payloads: Floats, home: tuple[str, Domain] | None,
              source: str) -> list[_Figure] | None:
    """The extrapolation of `points` at message sizes; the median over series, and the widest interval."""
    found = extrapolate(points, [ranks], home)
    found = found[found["kind"].isin([MEASURED, EXTRAPOLATED]) & (found["time_s"] > 0)]
    if found.empty:
        return None
    curve = found.groupby("message_bytes").agg(
        time_s=("time_s", "median"), low_s=("time_lo_s", "min"), high_s=("time_hi_s", "max"),
        kind=("kind", "first"), reason=("reason", "first")).sort_index()
    sizes = curve.index.to_numpy(float)
    figures = []
    for payload in payloads:
        size = min(max(payload, sizes[0]), sizes[-1])
        beyond = max(1.0, payload / sizes[-1])     # larger than any measured message: the same bandwidth
        middle, low, high = (float(np.exp(np.interp(math.log(max(size, 1)), np.log(np.maximum(sizes, 1)),
                                                    np.log(curve[name])))) * beyond
                             if curve[name].notna().all() else None for name in ("time_s", "low_s", "high_s"))
        assert middle is not None
        nearest = curve.iloc[int(np.abs(sizes - payload).argmin())]
        why = str(nearest["reason"]) if isinstance(nearest["reason"], str) else "from fewer ranks"
        figures.append(_Figure(str(nearest["kind"]), middle, low, high, source, why, _LEVEL))
    return figures


def expect_from(data: Path, points: pd.DataFrame, ops: Sequence[str], home: tuple[str, Domain] | None,
                ranks: Sequence[int], sizes: Sequence[int] | None) -> list[Expectation]:
    """Expectations at `ranks` ranks of the system that `points` were measured on.

    Args:
        home: key and facts of its domain, if known.
        sizes: message sizes; None: those measured.

    Raises:
        UsageError: `points` have none of the operations.
    """
    found = []
    for op in ops:
        mine = points[points["op"].eq(op) & (points["time_s"] > 0)]
        if mine.empty:
            raise UsageError(f"{data}: no measurement of {op} to extrapolate")
        streamed = mine["mode"].eq("streamed")
        mine = mine[streamed] if streamed.any() else mine
        asked = sorted({int(size) for size in mine["message_bytes"]}) if sizes is None else sizes
        for count in ranks:
            payloads = np.array(_payloads(op, count, asked), float)
            figures = _forecast(mine, op, count, payloads, home, str(data)) or []
            known = home is not None and home[1].tiers
            bounds = wire_time_s(op, count, payloads, home[1], []) if home and known else np.zeros(len(payloads))
            hosts = _hosts(home[1], count) if home else None
            found += [Expectation(op, count, hosts, int(payload), home[0] if home else None, one.kind, one.time_s,
                                  one.low_s, one.high_s, one.level, float(bound) or None, one.source, one.reason,
                                  _assumption(*home, count, hosts) if home else None)
                      for payload, one, bound in zip(payloads, figures, bounds, strict=False)]
    if not found:
        raise UsageError(f"{data}: cannot be extrapolated to {', '.join(map(str, ranks))} ranks: measure at more rank "
                         "counts")
    return found
