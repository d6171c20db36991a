"""Runs of one case that disagree: an average of them stands for none, and the slow ones may share a host."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pandas as pd

from collbench.collectives.records.record import Run

from ..frames.columns import BY_SOURCE, CASE, FABRIC
from ..text.units import payload, rate, seconds
from .finding import Finding, evidence_of

__all__ = ["find_disagreement"]

_APART = 2.5        # times; runs of one case on a quiet system stay well below
_SLOW = 1.5         # times the median run
_NAMED = 5
_SAME = [*FABRIC, *CASE, "mode", "time_kind", *BY_SOURCE]


def find_disagreement(points: pd.DataFrame, runs: Mapping[str, Run]) -> Iterator[Finding]:
    """One finding for each operation and rank count whose runs differ more than 2.5 times at some size."""
    if len(runs) < 2 or points.empty:
        return
    timed = points[points["op"] != "noop"]
    groups = timed.groupby(_SAME, dropna=False, sort=False)["time_s"]
    spread = groups.transform("max") / groups.transform("min")
    several = timed.groupby(_SAME, dropna=False, sort=False)["run"].transform("nunique") > 1
    apart = timed[several & (spread >= _APART)].assign(spread=spread)
    for (op, ranks), rows in apart.groupby(["op", "ranks"], sort=False):
        yield _finding(str(op), int(cast(Any, ranks)), rows, runs, len(points))


def _finding(op: str, ranks: int, rows: pd.DataFrame, runs: Mapping[str, Run], points: int) -> Finding:
    """What differs most, the slow runs of that case, and the hosts that all of them have in common."""
    worst = rows.loc[cast(Any, rows["spread"].idxmax())]
    same = rows[(rows[_SAME].fillna("") == worst[_SAME].fillna("")).all(axis=1)].sort_values("time_s")
    fast, slow = same.iloc[0], same.iloc[-1]
    figures = f"{rate(slow['busbw_Bps'])} to {rate(fast['busbw_Bps'])}" if pd.notna(fast["busbw_Bps"]) \
        else f"{seconds(fast['time_s'])} to {seconds(slow['time_s'])}"
    limit = _SLOW * float(same["time_s"].median()) if len(same) > 2 else float(fast["time_s"]) * _SLOW
    culprits = same[same["time_s"] > limit].iloc[::-1] if (same["time_s"] > limit).any() else same.tail(1)
    named = [_name(row, runs) for _, row in culprits.head(_NAMED).iterrows()]
    more = f" and {len(culprits) - _NAMED} more" if len(culprits) > _NAMED else ""
    words = (f"{same['run'].nunique()} runs of {op} over {ranks} ranks do not agree: at "
             f"{payload(int(worst['message_bytes']))} they give {figures}; slow: {', '.join(named)}{more}"
             + _shared([runs.get(run) for run in culprits["run"]]))
    return Finding("warning", words, effect=len(rows) / points, **evidence_of(rows, culprits.index))


def _name(row: pd.Series, runs: Mapping[str, Run]) -> str:
    """Where a figure comes from: the file and line of a log, else the run; and the hosts, if they are few."""
    place = row["source"] if isinstance(row["source"], str) else row["run"]
    hosts = _hosts(runs.get(row["run"]))
    return str(place) + (f" ({', '.join(hosts)})" if 1 < len(hosts) <= _NAMED else "")


def _hosts(run: Run | None) -> list[str]:
    listed = run.provenance.get("hosts") if run else None
    return list(dict.fromkeys(map(str, listed))) if isinstance(listed, list | tuple) else []


def _shared(slow: Sequence[Run | None]) -> str:
    """The hosts that all of several slow runs have in common."""
    if len(slow) < 2:
        return ""
    common = [host for host in _hosts(slow[0]) if all(host in _hosts(run) for run in slow[1:])]
    return f"; all of them on {', '.join(common[:_NAMED])}" if common else ""
