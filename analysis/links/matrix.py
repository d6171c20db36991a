"""Build the link matrix from a journal: a row for every pair of ranks and direction, with findings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from collbench.collectives.cases.link_rounds import pairs_of
from collbench.collectives.records.journal import read_lines
from collbench.collectives.records.record import Imported, Record, Run
from collbench.collectives.statistics.stability import spread

from ..findings.finding import Finding
from ..frames.safe import safe_run
from .link_findings import QUANTITIES, LinkQuantity, Measured, findings, tier_numbers, tier_rows
from .pair_kinds import Places
from .structure import Structure, find_structure

__all__ = ["CELLS", "LinkMatrix", "read_links"]

_FIGURES = ("", "_lo", "_hi")
CELLS = ("src", "dst", *(f"{quantity.name}{end}_{quantity.unit}" for quantity in QUANTITIES for end in _FIGURES),
         *(f"{quantity.name}_n" for quantity in QUANTITIES), "alone",
         *(f"{quantity.name}_in_round_{quantity.unit}" for quantity in QUANTITIES), "place",
         *(f"{quantity.name}_tier" for quantity in QUANTITIES))
_QUANTITY_OF = {quantity.op: quantity for quantity in QUANTITIES}
Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class LinkMatrix:
    """All links of one library on one machine.

    Args:
        cells: a row for each ordered pair (src sends to dst), columns `CELLS`: median and ends of its 95 % interval
            (NaN for fewer than 6 samples), number of samples; `alone` if measured while all other ranks were idle,
            with `*_in_round_*` then the value measured with other pairs active; `place` of the pair in words; `*_tier`
            is a row of `tiers`. Latency is half a round trip and two-way bandwidth a sum, so both are the same for
            both directions of a pair.
        tiers: quantity, tier (0 is the fastest), cells, typical, lowest, highest, places (words).
        message_bytes: by quantity.
    """

    transport: str
    library: str
    device: str
    ranks: int
    hosts: tuple[str, ...]
    message_bytes: dict[str, int]
    cells: pd.DataFrame
    tiers: pd.DataFrame
    findings: tuple[Finding, ...] = field(default=())

    def square(self, column: str) -> pd.DataFrame:
        """One column of `cells` as a matrix: rows send, columns receive."""
        return self.cells.pivot(index="src", columns="dst", values=column)


def read_links(path: Path, warnings: list[str] | None = None) -> list[LinkMatrix]:
    """The link matrices in a journal or run directory; none if no links were measured.

    Raises:
        JournalError: it is not a journal.
    """
    journal = path / "journal.jsonl" if path.is_dir() else path
    gathered: dict[Key, _Cells] = {}
    runs: dict[str, Run] = {}
    for line in read_lines(journal, [] if warnings is None else warnings):
        if isinstance(line, Run):
            runs[line.id] = safe_run(line)
        elif isinstance(line, Record) and line.case.operation.linked and line.status == "ok":
            run = runs[line.run]
            key = run.transport, run.library, run.device, line.case.ranks
            gathered.setdefault(key, _Cells(run, line.case.ranks)).add(line)
        elif isinstance(line, Imported) and line.status == "ok" and line.op in _QUANTITY_OF:
            run = runs[line.run]
            key = run.transport, run.library, run.device, line.ranks
            gathered.setdefault(key, _Cells(run, line.ranks)).add_imported(line)
    return [cells.matrix() for cells in gathered.values()]


class _Cells:
    """Collects the samples of one matrix; the latest measurement counts."""

    def __init__(self, run: Run, ranks: int) -> None:
        self.run, self.ranks = run, ranks
        self.places = Places(run.provenance, ranks)
        self.message_bytes: dict[str, int] = {}
        self.figures: dict[tuple[bool, str, int, int], tuple[float, float, float, int]] = {}
        self.measured_in: dict[tuple[bool, str, int, int], Measured] = {}
        self.imported = False

    def add(self, record: Record) -> None:
        quantity = _QUANTITY_OF[record.case.op]
        self.message_bytes[quantity.name] = record.case.bytes
        alone = (record.case.traffic or "").startswith("pair-")
        for (source, target), samples in record.timings[-1].pair_s(record.case).items():
            if not samples:
                continue
            found = spread(np.array(samples))
            values = [quantity.of(time_s, record.case.bytes) for time_s in (found.median, found.lo, found.hi)]
            figure = values[0], min(values[1:]), max(values[1:]), len(samples)
            for pair in ((source, target), (target, source)) if quantity.symmetric else ((source, target),):
                self.figures[(alone, quantity.name, *pair)] = figure
                self.measured_in[(alone, quantity.name, *pair)] = record.run, record.case

    def add_imported(self, result: Imported) -> None:
        """A pair that another tool measured while all others were idle: one figure, without samples."""
        self.imported = True
        quantity = _QUANTITY_OF[result.op]
        self.message_bytes[quantity.name] = result.message_bytes
        for source, target in pairs_of(result.traffic or "", self.ranks) or ():
            figure = quantity.of(result.time_s or math.nan, result.message_bytes), math.nan, math.nan, 1
            for pair in ((source, target), (target, source)) if quantity.symmetric else ((source, target),):
                self.figures[(True, quantity.name, *pair)] = figure

    def matrix(self) -> LinkMatrix:
        """The matrix with tiers and findings."""
        cells = pd.DataFrame(list(self._rows()))
        structures: dict[str, Structure] = {}
        for quantity in QUANTITIES:
            column = f"{quantity.name}_tier"
            cells[column] = -1
            if not cells[f"{quantity.name}_{quantity.unit}"].notna().any():
                continue
            structures[quantity.name] = structure = self._structure(cells, quantity)
            numbers = np.array([*tier_numbers(structure), -1])      # group -1 (not measured) indexes the last entry
            cells[column] = numbers[structure.group[cells["src"], cells["dst"]]]
        tiers = tier_rows(cells, structures, self.places)
        cells = cells[list(CELLS)]
        return LinkMatrix(self.run.transport, self.run.library, self.run.device, self.ranks, self.places.hosts,
                          self.message_bytes, cells, tiers,
                          tuple(findings(self.run, cells, structures, tiers, self.places, self._shown_in)))

    def _shown_in(self, quantity: str, source: int, target: int) -> Measured | None:
        """The record behind the value shown for a link."""
        key = quantity, source, target
        return self.measured_in.get((True, *key)) or self.measured_in.get((False, *key))

    def _rows(self) -> Iterator[dict[str, object]]:
        pairs = sorted({key[2:] for key in self.figures})
        for source, target in pairs:
            row: dict[str, object] = {"src": source, "dst": target, "alone": False,
                                      "place": self.places.words(source, target)}
            for quantity in QUANTITIES:
                in_round = self.figures.get((False, quantity.name, source, target))
                by_itself = self.figures.get((True, quantity.name, source, target))
                shown = by_itself or in_round or (math.nan, math.nan, math.nan, 0)
                row["alone"] = row["alone"] or by_itself is not None
                row.update(zip((f"{quantity.name}{end}_{quantity.unit}" for end in _FIGURES), shown, strict=False))
                row[f"{quantity.name}_n"] = shown[3]
                row[f"{quantity.name}_in_round_{quantity.unit}"] = in_round[0] if in_round else math.nan
            yield row

    def _structure(self, cells: pd.DataFrame, quantity: LinkQuantity) -> Structure:
        middle, best = np.full((2, self.ranks, self.ranks), np.nan)
        at = cells["src"], cells["dst"]
        fast = "_lo" if quantity.name == "latency" else "_hi"
        for matrix, column in ((middle, ""), (best, fast)):
            values = cells[f"{quantity.name}{column}_{quantity.unit}"].to_numpy(float)
            matrix[at] = np.log(values) if quantity.name == "latency" else -np.log(values)
        halves = middle - best
        if self.imported:       # the tool's own median, taken as it is: it prints no interval
            halves = np.where(np.isfinite(middle) & ~np.isfinite(best), 0.0, halves)
        return find_structure(np.where(np.isfinite(best), best, middle), halves, self.places.kinds)
