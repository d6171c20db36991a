"""Runs of one case that disagree: an average of them stands for none, and the slow ones may share a host."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pandas as pd

from collbench.collectives.records.record import Run

from ..frames.columns import BY_SOURCE, CASE, FABRIC
from ..text.units import payload, rate, seconds
from .finding import Finding, evidence_of

__all__ = ["find_disagreement"]

_APART = 2.5        # times; runs of one case on a quiet system stay well below
_SLOW = 1.5         # times the lower quartile of the runs: two slow hosts make most pairs of a few slow
_NAMED = 5
_SAME = [*FABRIC, *CASE, "mode", "time_kind", *BY_SOURCE]


def find_disagreement(points: pd.DataFrame, runs: Mapping[str, Run]) -> Iterator[Finding]:
    """A finding if runs of one case differ more than 2.5 times: the worst case, and how many others there are."""
    if len(runs) < 2 or points.empty:
        return
    timed = points[points["op"] != "noop"]
    same = timed.groupby(_SAME, dropna=False, sort=False)
    spread = same["time_s"].transform("max") / same["time_s"].transform("min")
    wide = spread >= _APART
    if wide.any():
        wide &= same["run"].transform("nunique") > 1
    if wide.any():
        yield _finding(timed[wide].assign(spread=spread[wide]), runs, len(points))


def _finding(rows: pd.DataFrame, runs: Mapping[str, Run], points: int) -> Finding:
    """What differs most, the slow runs of that case, and the hosts that all of them have in common."""
    worst = rows.loc[cast(Any, rows["spread"].idxmax())]
    same = rows[(rows[_SAME].fillna("") == worst[_SAME].fillna("")).all(axis=1)].sort_values("time_s")
    fast, slow = same.iloc[0], same.iloc[-1]
    figures = f"{rate(slow['busbw_Bps'])} to {rate(fast['busbw_Bps'])}" if pd.notna(fast["busbw_Bps"]) \
        else f"{seconds(fast['time_s'])} to {seconds(slow['time_s'])}"
    limit = _SLOW * float(same["time_s"].quantile(0.25) if len(same) > 2 else fast["time_s"])
    culprits = same[same["time_s"] > limit].iloc[::-1] if (same["time_s"] > limit).any() else same.tail(1)
    named = [_name(row, runs) for _, row in culprits.head(_NAMED).iterrows()]
    more = f" and {len(culprits) - _NAMED} more" if len(culprits) > _NAMED else ""
    cases = len(rows[_SAME].drop_duplicates())
    others = f" (and {cases - 1} more case{'' if cases == 2 else 's'})" if cases > 1 else ""
    size = f"at {payload(worst['message_bytes'])} " if worst["message_bytes"] > 0 else ""
    words = (f"{same['run'].nunique()} runs of {worst['op']} over {worst['ranks']} ranks do not agree: "
             f"{size}they give {figures}; slow: {', '.join(named)}{more}"
             + _culprits(same, culprits, runs) + others)
    return Finding("warning", words, effect=len(rows) / points, kind="runs of one case disagree",
                   advice="do not average them; measure the slow hosts and links again, one pair at a time (collbench "
                   "links)", **evidence_of(rows, culprits.index))


def _name(row: pd.Series, runs: Mapping[str, Run]) -> str:
    """Where a figure comes from: the file and line of a log, else the run; and the hosts, if they are few."""
    place = row["source"] if isinstance(row["source"], str) else row["run"]
    hosts = _hosts(runs.get(row["run"]))
    return str(place) + (f" ({', '.join(hosts)})" if 1 < len(hosts) <= _NAMED else "")


def _hosts(run: Run | None) -> list[str]:
    listed = run.provenance.get("hosts") if run else None
    return list(dict.fromkeys(map(str, listed))) if isinstance(listed, list | tuple) else []


def _culprits(same: pd.DataFrame, slow: pd.DataFrame, runs: Mapping[str, Run]) -> str:
    """Hosts all of whose runs are slow, if they have several; else the link, if one pair of hosts is slow."""
    slow_of, all_of = (Counter(host for run in rows["run"].unique() for host in _hosts(runs.get(run)))
                       for rows in (slow, same))
    hosts = sorted(host for host, count in slow_of.items() if count == all_of[host] and count > 1)
    if hosts and len(hosts) < len(all_of):
        return f"; every run with {' or '.join(hosts[:_NAMED])} is slow"
    pairs = {tuple(_hosts(runs.get(run))) for run in slow["run"]}
    if len(pairs) == 1 and len(pair := pairs.pop()) == 2 and all(all_of[host] > slow_of[host] for host in pair):
        return "; both hosts are fast with others, so it is the link between them"
    return ""
