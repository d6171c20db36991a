"""The launches of a tuning run as arrays: cases, variants and rounds."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.record import Run
from collbench.collectives.records.tuning import RULES, Launch, Tuning, read_launches, read_tuning

from ..compare.rank_tests import Floats
from ..compare.sides import KEY, Side, points_of
from ..frames.load import Loaded, load
from ..frames.pool import pool

__all__ = ["CELL", "Measured", "Table"]

CELL = ("op", "ranks", "message_bytes")     # of one tuning run, which has one element type, mode and so on
_BAD = ("wrong", "failed", "timeout")


@dataclass(frozen=True)
class Table:
    """Times of all cases.

    Args:
        cells: a row per case: `CELL`, `asked_bytes`, `label`.
        variants: names, the reference first.
        log_s: [cell, variant, round] logarithm of the time; not a number where there is none.
    """

    cells: pd.DataFrame
    variants: tuple[str, ...]
    log_s: Floats

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[cell, variant] whether there is any launch of it."""
        return np.asarray(np.isfinite(self.log_s).any(axis=2))

    def time_s(self, cell: int, variant: int) -> float:
        """Geometric mean of the times of all launches."""
        return float(np.exp(np.nanmean(self.log_s[cell, variant])))


@dataclass
class Measured:
    """What the launches in a directory measured; `update` reads those that have been added."""

    out: Path
    tuning: Tuning
    launches: list[Launch] = field(default_factory=list)
    loaded: dict[int, Loaded] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _parts: dict[int, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def read(cls, out: Path) -> "Measured":
        """All launches in `out`. UsageError if no tuning run is there."""
        found = cls(out, read_tuning(out))
        found.update()
        return found

    def update(self) -> None:
        """Read the launches that ended since the last call; one that left nothing to read is a warning."""
        for launch in read_launches(self.out)[len(self.launches):]:
            self.launches.append(launch)
            try:
                loaded = load(launch.directory(self.out))
            except CollbenchError as error:
                self.warnings.append(f"launch {launch.number} ({', '.join(sorted(set(launch.variants.values())))}): "
                                     f"{error}")
                continue
            self.loaded[launch.number] = loaded
            if not loaded.points.empty:
                points = points_of(Side("", (loaded,)), "a")
                points = points[points["mode"] == self.tuning.mode]
                self._parts[launch.number] = points.assign(variant=points["op"].map(launch.variants),
                                                           round=launch.round).dropna(subset=["variant"])

    @property
    def rounds(self) -> int:
        """Rounds of the race in which something was measured."""
        return max((launch.round for launch in self.launches if not launch.proof), default=0)

    def points(self, proof: str = "") -> pd.DataFrame:
        """A row per case and launch of the race, or of the second measurement of some rules."""
        parts = [self._parts[launch.number] for launch in self.launches
                 if launch.proof == proof and launch.number in self._parts]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KEY, "variant", "round"])

    def table(self, proof: str = "") -> Table | None:
        """The times of the race, or of the second measurement of some rules; None if there are none.

        Variants that were never measured are left out. One that gave a wrong result in a case has no times there.
        """
        points = self.points(proof)
        if points.empty:
            return None
        points = points.assign(place=points["place"].fillna(""))
        kinds = points.groupby(["op", "place"])["variant"].nunique().reset_index()     # some launches have both places
        kept = kinds.sort_values(["variant", "place"], ascending=False).drop_duplicates("op")
        points = points.merge(kept[["op", "place"]], on=["op", "place"])
        order = [*(variant.name for variant in self.tuning.variants), RULES]
        variants = tuple(name for name in order if name in set(points["variant"]))
        cells = points.drop_duplicates(list(CELL)).sort_values(list(CELL))[[*CELL, "asked_bytes", "label"]]
        cells = cells.reset_index(drop=True)
        where = points.merge(cells[list(CELL)].assign(cell=cells.index), on=list(CELL))
        log_s = np.full((len(cells), len(variants), int(where["round"].max())), np.nan)
        log_s[where["cell"], where["variant"].map(variants.index), where["round"] - 1] = np.log(
            where["time_s"].astype(float))
        for launch in self.launches:
            for row in self._bad(launch, ("wrong",)).to_dict("records"):
                if (name := launch.variants.get(row["op"])) in variants:
                    same = np.all([cells[column].eq(row[column]) for column in CELL], axis=0)
                    log_s[same, variants.index(name)] = np.nan
        return Table(cells, variants, log_s)

    def _bad(self, launch: Launch, statuses: tuple[str, ...] = _BAD) -> pd.DataFrame:
        """The records of a launch with one of these statuses."""
        records = self.loaded[launch.number].records if launch.number in self.loaded else pd.DataFrame({"status": []})
        return records[records["status"].isin(statuses)]

    def failures(self) -> dict[str, list[str]]:
        """By variant: cases that were wrong or failed, and starts that left nothing, each once."""
        found: dict[str, list[str]] = {}
        for launch in self.launches:
            if launch.number not in self.loaded:
                for name in set(launch.variants.values()):
                    found.setdefault(name, []).append(f"a start ended with status {launch.status}, nothing measured")
                continue
            bad = self._bad(launch)
            for op, label, status in zip(bad["op"], bad["label"], bad["status"], strict=True):
                if op in launch.variants:
                    found.setdefault(launch.variants[op], []).append(f"{label}: {status}")
        return {name: list(dict.fromkeys(words)) for name, words in found.items()}

    def runs(self, variant: str) -> list[Run]:
        """Provenance of the launches of a variant, one run of each."""
        return [run for launch in self.launches if variant in launch.variants.values() and launch.number in self.loaded
                for run in self.loaded[launch.number].runs.values()]

    def pooled(self, op: str, variant: str) -> pd.DataFrame:
        """The points of all launches of a variant of one operation, as `frames.load` returns them."""
        parts = [self.loaded[launch.number] for launch in self.launches
                 if launch.variants.get(op) == variant and not launch.proof and launch.number in self.loaded]
        points = pool(parts).points
        return points[(points["op"] == op) & (points["mode"] == self.tuning.mode)]
