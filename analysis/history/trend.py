"""The cases of a history: one value a run, where they change, what else changed there, and the runs of a baseline."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.record import Run

from ..frames.load import load
from .changes import Change, Floats, chance_of_change, changes_of, discoveries
from .store import write_journal

__all__ = ["History", "Trend", "read_history"]

# What makes two runs of a cluster comparable. Versions, hosts and the system's name may change: that is the question.
_CASE = ("transport", "device", "op", "dtype", "redop", "place", "traffic", "mode", "ranks", "message_bytes",
         "algorithm", "protocol", "variant")
_RATE = 0.05            # of the cases named, this share is expected to be wrong
_SHARE = 0.5            # of all changes, for a place in time after which a baseline begins
_MOST_RUNS = 20         # of a baseline
_FEWEST_RUNS = 3


@dataclass(frozen=True)
class Trend:
    """One case over time.

    Args:
        label: the case in words, with transport and mode.
        runs: ids of the runs that have it, the earliest first.
        time_s: median time of a call in each of them.
        busbw_Bps: bus bandwidth in each of them; NaN without a message.
        chance: how likely a series without a change looks as much like one.
        changes: where it changes; empty for most.
    """

    label: str
    runs: tuple[str, ...]
    time_s: Floats
    busbw_Bps: Floats
    chance: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class History:
    """All cases of a history.

    Args:
        runs: every run by id, the earliest first.
        trends: the cases that changed last come first, the largest change first; then the others.
    """

    runs: dict[str, Run]
    trends: tuple[Trend, ...]

    @property
    def changed(self) -> tuple[Trend, ...]:
        """The cases with a change."""
        return tuple(trend for trend in self.trends if trend.changes)

    def baseline(self) -> tuple[str, ...]:
        """The latest runs since the last change that most changed cases share, without the newest run.

        CollbenchError if these are too few.
        """
        order = list(self.runs)
        firsts = [order.index(trend.runs[trend.changes[-1].at]) for trend in self.changed]
        counts = pd.Series(firsts, dtype=int).value_counts()
        shared = counts[counts >= max(1.0, _SHARE * len(firsts))]
        begin = int(shared.index.max()) if len(shared) else 0
        found = tuple(order[begin:-1][-_MOST_RUNS:])
        if len(found) < _FEWEST_RUNS:
            raise CollbenchError(f"a baseline needs {_FEWEST_RUNS} runs before the newest one and since the last "
                                 f"change, but there {'is' if len(found) == 1 else 'are'} {len(found)}")
        return found

    def also_changed(self, trend: Trend, change: Change) -> tuple[str, ...]:
        """What is different in the first run after a change: library, versions, number of hosts."""
        before, after = (self.runs[trend.runs[index]] for index in (change.at - 1, change.at))
        found = [f"{before.library} -> {after.library}"] if before.library != after.library else []
        old, new = (run.provenance.get("versions") or {} for run in (before, after))
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f"{name} {old.get(name)} -> {new[name]}" for name in new if old.get(name) != new[name]]
        hosts = [len(set(map(str, names))) if isinstance(names := run.provenance.get("hosts"), list) else None
                 for run in (before, after)]
        if hosts[0] != hosts[1]:
            found.append(f"{hosts[0]} -> {hosts[1]} hosts")
        return tuple(found)


def read_history(path: Path, ops: tuple[str, ...] = (), least_effect: float = 0.05) -> History:
    """The cases of a history and their changes.

    Args:
        path: file of a history.
        ops: only these operations; empty for all.
        least_effect: a smaller relative difference is no change.

    Raises:
        UsageError: there is no such file.
        CollbenchError: it has no such measurements.
    """
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        write_journal(path, journal)
        loaded = load(journal)
    points = loaded.points[loaded.points["op"].ne("noop")]
    if ops:
        points = points[points["op"].isin(ops)]
    if points.empty:
        raise CollbenchError(f"{path}: no measurements{' of ' + ', '.join(ops) if ops else ''}")
    runs = dict(sorted(loaded.runs.items(), key=lambda item: item[1].started))
    order = {run: number for number, run in enumerate(runs)}
    points = points.assign(order=points["run"].map(order)).sort_values("order")
    found = [(rows, chance_of_change(np.log(rows["time_s"].to_numpy(float))))
             for _, rows in points.groupby(list(_CASE), dropna=False, sort=False)]
    named = discoveries(np.array([chance for _, chance in found]), _RATE)
    trends = [_trend(rows, chance, is_named, least_effect)
              for (rows, chance), is_named in zip(found, named, strict=True)]
    return History(runs, tuple(sorted(trends, key=lambda trend: _rank(trend, order))))


def _trend(rows: pd.DataFrame, chance: float, is_named: bool, least_effect: float) -> Trend:
    first = rows.iloc[0]
    times = rows["time_s"].to_numpy(float)
    changes = changes_of(np.log(times), least_effect) if is_named else []
    return Trend(f"{first['label']} {first['transport']} {first['mode']}", tuple(rows["run"]), times,
                 rows["busbw_Bps"].to_numpy(float), chance, tuple(changes))


def _rank(trend: Trend, order: dict[str, int]) -> tuple[float, float]:
    if not trend.changes:
        return 0.0, 0.0
    last = trend.changes[-1]
    return -float(order[trend.runs[last.at]]), -abs(float(np.log(last.factor)))
