"""Frozen predictions against what contributed runs measured."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Run

from ..frames.load import load
from .frozen import Frozen, frozen
from .identity import named_domain

__all__ = ["Score", "scores"]

_ROUNDING = 0.01        # pages round payloads, and runs round them up to what divides among the ranks


class Score(NamedTuple):
    """A frozen prediction and one measurement of it.

    Args:
        measured_s: median of the streamed time of a call, which is what nccl-tests and OSU print.
        samples: behind the median.
    """

    file: str
    run: str
    device: str
    prediction: Frozen
    measured_s: float
    samples: int

    @property
    def inside(self) -> bool:
        """Whether the measured time lies in the predicted 90 % interval."""
        return self.prediction.time_lo_s <= self.measured_s <= self.prediction.time_hi_s


def scores(paths: Iterable[Path]) -> list[Score]:
    """Every frozen prediction that the journals measured, once for each run, in the order of the pages.

    Raises:
        CollbenchError: a file cannot be read.
    """
    found: list[Score] = []
    for path in paths:
        loaded = load(path)
        for identity, points in loaded.points.groupby("run", sort=False):
            found += _of_run(path, loaded.runs[str(identity)], points)
    order = {one: place for place, one in enumerate(frozen())}
    return sorted(found, key=lambda score: (order[score.prediction], score.file, score.run))


def _of_run(path: Path, run: Run, points: pd.DataFrame) -> Iterator[Score]:
    streamed = points[points["mode"].eq("streamed") & points["traffic"].isna()]
    for one in frozen():
        if one.message_bytes is None or not _is_of(one, run):
            continue
        same = streamed[streamed["op"].eq(one.op) & streamed["ranks"].eq(one.ranks) & _near(streamed, one)]
        if OPERATIONS[one.op].reduces:      # others move bytes, of whatever type
            same = same[same["dtype"].eq(one.dtype) & same["redop"].eq("sum")]
        # nccl-tests and OSU use separate buffers unless asked otherwise
        same = same.sort_values("place", key=lambda place: place.eq("in-place"), kind="stable")
        if len(same):
            first = same.iloc[0]
            yield Score(path.name, run.id, run.device, one, float(first["time_s"]), int(first["samples"]))


def _is_of(one: Frozen, run: Run) -> bool:
    """Whether a run was measured with the library, and on the machine or in the domain, of a prediction."""
    if one.library_says not in run.library.lower():
        return False
    if one.domain:
        return named_domain(run) == one.domain and _in_one_domain(run, one.ranks)
    return str(run.provenance.get("cluster", "")).casefold() == one.system.casefold()


def _in_one_domain(run: Run, ranks: int) -> bool:
    """Whether the first ranks are known to share one scale-up domain."""
    topology = run.provenance.get("topology")
    names = topology.get("domains") if isinstance(topology, dict) else None
    return isinstance(names, list) and len(names) >= ranks and None not in names[:ranks] and len({*names[:ranks]}) == 1


def _near(points: pd.DataFrame, one: Frozen) -> pd.Series:
    """Which points have the payload of a prediction, as asked for or as measured."""
    size = one.message_bytes or 0
    near: pd.Series = ((points["asked_bytes"] - size).abs() <= _ROUNDING * size) | (
        (points["message_bytes"] - size).abs() <= _ROUNDING * size)
    return near
