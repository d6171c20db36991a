"""Findings from a link matrix: tiers, slow ranks and hosts, slow links, links that contend."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.case import Case
from collbench.collectives.records.record import Run

from ..findings.finding import Evidence, Finding, Severity, evidence_of
from ..text.units import counted, rate, seconds
from .pair_kinds import Places
from .structure import Group, SlowRank, Structure

__all__ = ["QUANTITIES", "TIERS", "LinkQuantity", "findings", "tier_numbers", "tier_rows"]

_HINDERED = 1.5         # a link that is this much faster alone contends with others
_NAMED = 5              # links named in a finding
Pair = tuple[int, int]
Measured = tuple[str, Case]     # run and case: what identifies a record
TIERS = ("quantity", "tier", "cells", "typical", "lowest", "highest", "places")


class LinkQuantity(NamedTuple):
    """A property of a link: the operation that measures it, its unit, and how it follows from the time of a message."""

    name: str
    unit: str
    op: str
    of: Callable[[float, int], float]
    symmetric: bool
    words: str
    show: Callable[[float], str]

    @property
    def column(self) -> str:
        """Its column in the cells."""
        return f"{self.name}_{self.unit}"


QUANTITIES = (
    LinkQuantity("latency", "s", "link_latency", lambda time_s, size: time_s, True, "latency", seconds),
    LinkQuantity("bandwidth", "Bps", "link_bandwidth", lambda time_s, size: size / time_s, False, "bandwidth", rate),
    LinkQuantity("bi_bandwidth", "Bps", "link_bi_bandwidth", lambda time_s, size: 2 * size / time_s, True,
             "two-way bandwidth", rate),
)


Factor = tuple[LinkQuantity, float]     # how much worse than usual


def tier_numbers(structure: Structure) -> list[int]:
    """The tier of each group of links; groups of similar speed form one tier, 0 is the fastest."""
    typical = [float(np.nanmedian(structure.expected[structure.group == index]))
               for index in range(len(structure.groups))]
    order = sorted(range(len(typical)), key=typical.__getitem__)
    numbers, tier = [0] * len(typical), 0
    for before, index in itertools.pairwise(order):
        tier += typical[index] - typical[before] > structure.apart
        numbers[index] = int(tier)
    return numbers


def tier_rows(cells: pd.DataFrame, structures: Mapping[str, Structure], places: Places) -> pd.DataFrame:
    """A row for every tier of every quantity, columns `TIERS`, without slow ranks and odd links."""
    rows = []
    for quantity in QUANTITIES:
        if quantity.name not in structures:
            continue
        structure = structures[quantity.name]
        usual = cells[~_unusual(structure)[cells["src"], cells["dst"]]]
        for tier, some in usual[usual[quantity.column].notna()].groupby(f"{quantity.name}_tier"):
            values = some[quantity.column]
            which = [group for group, number in zip(structure.groups, tier_numbers(structure), strict=True)
                     if number == tier]
            rows.append((quantity.name, int(cast(float, tier)), len(some), values.median(), values.min(), values.max(),
                         " and ".join(dict.fromkeys(_group_words(group, places) for group in which))))
    return pd.DataFrame(rows, columns=list(TIERS))


def _unusual(structure: Structure) -> NDArray[np.bool_]:
    unusual = structure.odd.copy()
    for slow in structure.slow:
        unusual[slow.rank, :] |= slow.out
        unusual[:, slow.rank] |= slow.into
    return unusual


def _group_words(group: Group, places: Places) -> str:
    words = places.kind_words(group.kind)
    if not group.blocks:
        return words
    blocks = " | ".join(map(_ranks, group.blocks))
    return f"{words}, {'between' if group.between else 'within'} ranks {blocks}"


def findings(run: Run, cells: pd.DataFrame, structures: Mapping[str, Structure], tiers: pd.DataFrame,
             places: Places, shown_in: Callable[[str, int, int], Measured | None]) -> Iterator[Finding]:
    """Every finding about the links of a run, faults first.

    Args:
        shown_in: the record behind the value of a quantity, source and target.
    """
    where = f"links of {run.transport} ({run.device})"
    found = _Faults(cells, structures, places)
    kinds: list[tuple[Severity, Iterator[_LinkFault]]] = [("warning", found.certain()), ("note", found.seeming())]
    for severity, faults in kinds:
        for words, quantities, pairs in faults:
            records = [*filter(None, dict.fromkeys(shown_in(name, *pair) for pair in pairs for name in quantities))]
            evidence = evidence_of(_identities(records)) if records else Evidence(evidence=(), records=())
            yield Finding(severity, f"{where}: {words}", kind="link", advice="measure it again (collbench links); if "
                          "it stays, look at its cable, port and host", **evidence)
    yield from (Finding("note", f"{where}: {words}") for words in _tier_words(tiers))


def _identities(records: Sequence[Measured]) -> pd.DataFrame:
    """The columns that identify records, with their labels."""
    return pd.DataFrame([{"run": run, "op": case.op, "dtype": case.dtype, "traffic": case.traffic, "ranks": case.ranks,
                          "message_bytes": case.bytes, "label": case.label()} for run, case in records])


class _LinkFault(NamedTuple):
    """A sentence, and the names of quantities and the pairs that show it."""

    words: str
    quantities: tuple[str, ...]
    pairs: list[Pair]


class _Faults:
    """Slow ranks and links over all quantities, each reported once with every quantity that shows it."""

    def __init__(self, cells: pd.DataFrame, structures: Mapping[str, Structure], places: Places) -> None:
        self.cells, self.structures, self.places = cells, structures, places
        self.by_pair: dict[Pair, Any] = {(int(row.src), int(row.dst)): row for row in _rows(cells)}
        odd = self._odd()
        self._blocks = list(self._between_hosts(odd))
        self._links = list(self._single(odd))

    def certain(self) -> Iterator[_LinkFault]:
        """Faults that many links show, or one that was measured alone."""
        yield from self._hosts_and_ranks()
        yield from self._blocks
        yield from (fault for alone, fault in self._links if alone)

    def seeming(self) -> Iterator[_LinkFault]:
        """Possible faults: not measured alone, or due to contention."""
        yield from (fault for alone, fault in self._links if not alone)
        yield from self._hindered()

    def _hosts_and_ranks(self) -> Iterator[_LinkFault]:
        """A host is named if all its ranks are slow and there are several hosts."""
        slow: dict[int, list[tuple[LinkQuantity, SlowRank]]] = {}
        for quantity in self._known():
            for one in self.structures[quantity.name].slow:
                slow.setdefault(one.rank, []).append((quantity, one))
        done: set[int] = set()
        for rank in sorted(slow):
            mates = self.places.host_ranks(rank)
            if rank in done:
                continue
            whole = all(mate in slow for mate in mates) and len(set(self.places.hosts)) > 1
            done |= set(mates) if whole else {rank}
            subject = f"host {self.places.hosts[rank]} ({_plural(mates)})" if whole else self.places.name(rank)
            cause = "that host, its port or its path to the switch" if whole else "that device, its core or its port"
            if whole and len(mates) == 1:
                cause = "that host, its device, its port or its path to the switch"
            yield _LinkFault(f"{subject} is slow with every partner: {_slow_words(slow[rank])}: {cause}",
                         _names(quantity for quantity, _ in slow[rank]), self._pairs_of(slow[rank]))

    def _pairs_of(self, slow: list[tuple[LinkQuantity, SlowRank]]) -> list[Pair]:
        return [pair for pair in self.by_pair
                if any((one.out and pair[0] == one.rank) or (one.into and pair[1] == one.rank) for _, one in slow)]

    def _odd(self) -> dict[Pair, list[Factor]]:
        odd: dict[Pair, list[Factor]] = {}
        for quantity in self._known():
            structure = self.structures[quantity.name]
            for source, target in np.argwhere(structure.odd).tolist():
                factor = float(np.exp(structure.excess[source, target]))
                odd.setdefault((source, target), []).append((quantity, factor))
        return odd

    def _between_hosts(self, odd: dict[Pair, list[Factor]]) -> Iterator[_LinkFault]:
        """If every link between two hosts is slow, the fault is what those links share."""
        hosts = self.places.hosts
        if len(set(hosts)) < 2:
            return
        for one, other in sorted({tuple(sorted((hosts[a], hosts[b]))) for a, b in odd if hosts[a] != hosts[b]}):
            block = [(a, b) for a, b in self.by_pair if {hosts[a], hosts[b]} == {one, other}]
            bad = [pair for pair in block if pair in odd]
            if len(block) < 4 or len(bad) < 0.9 * len(block):
                continue
            figures = [figure for pair in bad for figure in odd.pop(pair)]
            yield _LinkFault(f"all links between host {one} and host {other} are slow: {_factors(figures)}: "
                         "the link or switch between these two hosts", _names(quantity for quantity, _ in figures), bad)

    def _single(self, odd: dict[Pair, list[Factor]]) -> Iterator[tuple[bool, _LinkFault]]:
        """Slow links, and whether each was measured alone; one fault if both directions are slow."""
        for (source, target), figures in sorted(odd.items()):
            back = odd.get((target, source), [])
            if back and source > target and not _one_way_only(figures, back):
                continue
            if back and _one_way_only(back, figures):
                continue        # everything known about the other direction is shared with this one
            both = bool(back) and not _one_way_only(figures, back)
            ways = "in both directions" if both else "in this direction" if any(
                not quantity.symmetric for quantity, _ in figures) else "either way"
            row = self.by_pair[source, target]
            link = f"the link from {self.places.name(source)} to {self.places.name(target)}"
            worse = _factors([*figures, *(back if both else [])])
            words = (f"{link} is slow {ways}, even while all other ranks were idle: {worse}: that link, since both "
                     "ranks are as fast as others with every other partner") if row.alone else (
                     f"{link} looked slow {ways} with other pairs active: {worse}; it was not measured alone, so "
                     "contention may be the cause")
            yield bool(row.alone), _LinkFault(words, _names(quantity for quantity, _ in [*figures, *back]),
                                          [(source, target), *([(target, source)] if both else [])])

    def _hindered(self) -> Iterator[_LinkFault]:
        for quantity in self._known():
            some = self.cells[self.cells["alone"] & self.cells[quantity.column].notna()]
            if quantity.symmetric:
                continue
            surely = some[f"{quantity.name}_lo_{quantity.unit}"].astype(float)
            ratio = surely / some[f"{quantity.name}_in_round_{quantity.unit}"].astype(float)
            hindered = some[ratio > max(_HINDERED, np.exp(self.structures[quantity.name].apart))]
            if len(hindered):
                worst = float(ratio.max())
                pairs = [(row.src, row.dst) for row in hindered.itertuples()]
                names = ", ".join(f"{source} -> {target}" for source, target in pairs[:_NAMED])
                yield _LinkFault(f"{counted(len(hindered), 'link')} that looked slow in "
                             f"{quantity.words} {'are' if len(hindered) > 1 else 'is'} up to {worst:.3g} times as "
                             f"fast while all other ranks are idle ({names}): the link itself is healthy, but contends "
                             "with others",
                             (quantity.name,), pairs)

    def _known(self) -> Iterator[LinkQuantity]:
        return (quantity for quantity in QUANTITIES if quantity.name in self.structures)


def _names(quantities: Iterable[LinkQuantity]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(quantity.name for quantity in quantities))


def _one_way_only(figures: list[Factor], back: list[Factor]) -> bool:
    """Whether only one direction shows it, among the quantities that have a direction."""
    return (any(not quantity.symmetric for quantity, _ in figures)
            and not any(not quantity.symmetric for quantity, _ in back))


def _slow_words(found: list[tuple[LinkQuantity, SlowRank]]) -> str:
    parts = []
    for quantity, one in found:
        ways = {(True, True): "in and out", (True, False): "out", (False, True): "in"}[one.out, one.into]
        parts.append(f"{quantity.words} {one.factor:.3g} times worse than the others'"
                     + (f" {ways}" if not quantity.symmetric else ""))
    return ", ".join(parts)


def _factors(figures: list[Factor]) -> str:
    parts = []
    for quantity in QUANTITIES:
        factors = [factor for one, factor in figures if one is quantity]
        if factors:
            parts.append(f"{quantity.words} {float(np.median(factors)):.3g} times worse than usual")
    return ", ".join(parts)


def _rows(frame: pd.DataFrame) -> Iterable[Any]:
    """The rows with columns as attributes, whose types pandas does not know."""
    return frame.itertuples()


def _tier_words(tiers: pd.DataFrame) -> Iterator[str]:
    for quantity in QUANTITIES:
        own = tiers[tiers["quantity"] == quantity.name]
        parts = [f"{quantity.show(row.typical)} ({row.places}; {row.cells} links)" for row in _rows(own)]
        if len(own) == 1:
            known = own.iloc[0]["places"]
            same = f", though they are of the {known.count(' and ') + 1} kinds {known}" if " and " in known else ""
            yield f"one tier of {quantity.words}: {quantity.show(own.iloc[0]['typical'])}{same}"
        elif len(own):
            yield f"{len(own)} tiers of {quantity.words}: {', '.join(parts)}"


def _ranks(ranks: tuple[int, ...]) -> str:
    """`0-3, 7`."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _plural(ranks: tuple[int, ...]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {_ranks(ranks)}"
