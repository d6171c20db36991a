"""The published runs that ship with the tool, and which of them are comparable with a measurement.

A run is one operation at one rank count, from one source: times over message size. `tools/published_runs.py` makes the
files in `data/published` from the raw results.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames.bandwidth import bus_factor

__all__ = ["CPU", "Place", "PublishedRun", "accelerator_named", "comparable", "library_family", "published_runs",
           "readable"]

Floats = NDArray[np.float64]
CPU = "CPU"
# Accelerators whose links and cards are of one generation: compared where too few runs of the same one are known.
_RELATED = (("H100", "H200"), ("B200", "B300"), ("GB200", "GB300"), ("MI300X", "MI325X"), ("MI350X", "MI355X"))
_ACCELERATOR = re.compile(r"\b(GB\d00|GH200|H100|H200|H800|H20|B200|B300|A100|A800|V100|P100|L40S|L40|K80"
                          r"|MI\d{2,3}[AX]?|910[ABC]|TRAINIUM|GAUDI\d?|RTX (?:PRO )?\d{4}(?: ?TI)?)", re.IGNORECASE)
_LIBRARIES = (("MSCCL", "MSCCL++"), ("RCCL", "NCCL"), ("NCCL", "NCCL"), ("HCCL", "HCCL"), ("GLOO", "gloo"),
              ("MPI", "MPI"), ("MPT", "MPI"))
_REPLACES = MappingProxyType({"MSCCL++": "NCCL"})       # compared with the library it replaces, if with no other run
_PLATEAU = 256 << 20    # from here on the bandwidth of a run counts as constant beyond its largest message
_LATENCY = 64           # bytes: a run that begins at most here takes as long for smaller messages
_BELOW = 4              # and of a run of large messages down to a message this much smaller
_FEW = 16               # ranks up to which counts must agree where hosts are not stated
_NEAR = 1.5             # host counts above 2, and rank counts of CPU runs, that differ by at most this are one class


@dataclass(frozen=True)
class Place:
    """Where an operation runs; None: not known.

    Args:
        library: as `library_family` names it; `hosts`: how many the ranks are spread over.
    """

    accelerator: str
    library: str
    op: str
    ranks: int
    hosts: int | None


@dataclass(frozen=True)
class PublishedRun:
    """One published run: [size] message sizes in bytes, ascending, and times in seconds."""

    place: Place
    source: str
    licence: str
    detail: str
    sizes: Floats
    times_s: Floats

    def busbw_Bps(self, sizes: Floats) -> Floats:
        """[size] bus bandwidth at `sizes`, interpolated over their logarithm; NaN where the run has none near."""
        factor, first, last = bus_factor(self.place.op, self.place.ranks), self.sizes[0], self.sizes[-1]
        inside = (sizes >= first) & (sizes <= last)
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.exp(np.interp(np.log(sizes), np.log(self.sizes), np.log(self.times_s)))
            rates = factor * sizes / time
        flat = ~inside & (sizes >= _PLATEAU) & (last >= _PLATEAU) & (sizes >= first / _BELOW)
        rates[flat] = factor * np.where(sizes > last, last / self.times_s[-1], first / self.times_s[0])[flat]
        return np.where(inside | flat | ((sizes < first) & (first <= _LATENCY)), rates, np.nan)


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    """All published runs that ship with the tool."""
    folder = resources.files("collbench.analysis").joinpath("data", "published")
    times: dict[str, list[tuple[float, float]]] = {}
    for row in _rows(folder.joinpath("points.csv")):
        times.setdefault(row["run"], []).append((float(row["message_bytes"]), float(row["time_us"]) / 1e6))
    found = []
    for row in _rows(folder.joinpath("runs.csv")):
        sizes, seconds = np.array(sorted(times[row["run"]])).T
        place = Place(row["accelerator"], row["library"], row["op"], int(row["ranks"]),
                      int(row["hosts"]) if row["hosts"] else None)
        found.append(PublishedRun(place, row["source"], row["licence"], row["detail"], sizes, seconds))
    return tuple(found)


def _rows(file: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def accelerator_named(text: str) -> str | None:
    """The accelerator that a device name or a sentence names; None if it names none or several."""
    found = {name.upper() for name in _ACCELERATOR.findall(text)}
    return found.pop() if len(found) == 1 else None


def library_family(text: str, accelerator: str) -> str | None:
    """The kind of library that `text` names: libraries of one kind are compared with each other; None if unknown.

    RCCL has the interface and the algorithms of NCCL, and the accelerator tells them apart.
    """
    upper = text.upper()
    kind = next((kind for name, kind in _LIBRARIES if name in upper), None)
    return "MPI on device buffers" if kind == "MPI" and accelerator != CPU else kind


def comparable(place: Place, without: frozenset[str] = frozenset(), least_sources: int = 2) -> list[PublishedRun]:
    """Published runs like `place`: the same accelerator or, where too few are known, a related one.

    Args:
        without: sources to leave out.
        least_sources: with fewer sources, runs of related accelerators are added.
    """
    alike = [run for run in _by_kind().get((place.library, place.op), ()) if run.source not in without
             and _same_class(place, run.place)]
    if not alike and place.library in _REPLACES:
        return comparable(replace(place, library=_REPLACES[place.library]), without, least_sources)
    same = [run for run in alike if run.place.accelerator == place.accelerator]
    if len({run.source for run in same}) >= least_sources:
        return same
    family = next((names for names in _RELATED if place.accelerator in names), (place.accelerator,))
    return [run for run in alike if run.place.accelerator in family]


@cache
def _by_kind() -> dict[tuple[str, str], list[PublishedRun]]:
    found: dict[tuple[str, str], list[PublishedRun]] = {}
    for run in published_runs():
        found.setdefault((run.place.library, run.place.op), []).append(run)
    return found


def _same_class(ours: Place, theirs: Place) -> bool:
    """Whether rank and host counts are comparable.

    On one host, and on two, where an all-reduce over a tree sends half of what it sends over more, the counts must
    agree; beyond, close ones do. Of CPUs, whose hosts differ more than this, the rank counts must be close.
    """
    if (ours.accelerator == CPU) != (theirs.accelerator == CPU):
        return False
    cpu = ours.accelerator == CPU
    if cpu:
        unknown = ours.hosts is None or theirs.hosts is None
        return (unknown or (ours.hosts == 1) == (theirs.hosts == 1)) and _near(ours.ranks, theirs.ranks)
    if ours.hosts is None or theirs.hosts is None:
        few = min(ours.ranks, theirs.ranks) <= _FEW
        return ours.ranks == theirs.ranks if few else _near(ours.ranks, theirs.ranks)
    if min(ours.hosts, theirs.hosts) <= 2:
        if ours.hosts != theirs.hosts:
            return False
    elif not _near(ours.hosts, theirs.hosts):
        return False
    return ours.ranks * theirs.hosts == theirs.ranks * ours.hosts     # as many ranks on each host


def _near(one: float, other: float) -> bool:
    return abs(math.log(one / other)) <= math.log(_NEAR) + 1e-9


def readable(runs: Sequence[PublishedRun]) -> str:
    """What the runs have in common, in words: "H100 and H200, 2 hosts, NCCL"."""
    names = " and ".join(sorted({run.place.accelerator for run in runs}))
    hosts = {run.place.hosts for run in runs}
    ranks = {run.place.ranks for run in runs}
    many = f"{min(ranks)} ranks" if len(ranks) == 1 else f"{min(ranks)} to {max(ranks)} ranks"
    known = sorted(count for count in hosts if count is not None)
    spread = "" if not known or None in hosts else f" on {known[0]} host" + ("s" if known[0] > 1 else "") \
        if len(known) == 1 else f" on {known[0]} to {known[-1]} hosts"
    libraries = " and ".join(sorted({run.place.library for run in runs}))
    return f"{names}, {many}{spread}, {libraries}"
