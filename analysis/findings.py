"""Findings: what a reader should know first, as values, most important first; nothing when there is nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from collectives.catalog import OPERATIONS

from .tidy import Loaded
from .units import percent

__all__ = ["Finding", "find"]

_ORDER = ("error", "warning", "note")
_EVIDENCE = 5            # labels shown with a finding
_OFTEN = 0.6             # share of points from where a rank is persistently last
_OVERHEAD = 0.2          # share of a time from where the harness is part of the answer
_ENOUGH = 8              # points before a rank is accused


@dataclass(frozen=True)
class Finding:
    """One sentence a reader should know, and the labels of records that show it (some of them).

    `error`: the run is not to be trusted as a whole; `warning`: these numbers mean less than they seem to;
    `note`: what was not looked at.
    """

    severity: Literal["error", "warning", "note"]
    words: str
    evidence: tuple[str, ...] = ()


def find(loaded: Loaded) -> list[Finding]:
    """Everything that can be said truly about `loaded`."""
    found = [*_wrong(loaded.records), *_failed(loaded.records), *_crowded(loaded.points), *_last(loaded.points),
             *_flagged(loaded.points), *_overhead(loaded.points), *_unreadable(loaded), *_not_measured(loaded.records)]
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


def _wrong(records: pd.DataFrame) -> Iterator[Finding]:
    wrong = records[records["status"] == "wrong"]
    if len(wrong):
        first = wrong["fault"].iloc[0]
        yield Finding("error", f"{_cases(len(wrong))} of {len(records)} gave wrong results; no time is shown for them"
                      + (f" (first: {first})" if pd.notna(first) else ""), _labels(wrong))


def _failed(records: pd.DataFrame) -> Iterator[Finding]:
    for status, words in (("timeout", "did not end in time"), ("failed", "failed")):
        some = records[records["status"] == status]
        if len(some):
            yield Finding("error", f"{_cases(len(some))} {words}{_reasons(some)}", _labels(some))


def _crowded(points: pd.DataFrame) -> Iterator[Finding]:
    crowded = points[points["oversubscribed"].fillna(False)]
    if len(crowded):
        counts = ", ".join(str(count) for count in sorted(crowded["ranks"].unique()))
        yield Finding("warning", f"with {counts} ranks there were more ranks on a host than cores: {len(crowded)} of "
                      f"{len(points)} points show the software path and the scheduler, and not a fabric",
                      _points(crowded))


def _last(points: pd.DataFrame) -> Iterator[Finding]:
    """Only symmetric operations: in a rooted one the same rank is last by design."""
    symmetric = [name for name, row in OPERATIONS.items() if not row.rooted and not row.pairs and name != "noop"]
    among = points[points["op"].isin(symmetric) & (points["ranks"] > 2) & points["last_rank"].notna()]
    for (transport, ranks), group in among.groupby(["transport", "ranks"]):
        counts = group["last_rank"].value_counts()
        share = counts.iloc[0] / len(group)
        if len(group) >= _ENOUGH and share >= _OFTEN:
            own = group[group["last_rank"] == counts.index[0]]
            yield Finding("warning", f"rank {counts.index[0]} of {ranks} ended last most often in {percent(share)} of "
                          f"{len(group)} points over {transport}: look at its host, core or link", _points(own))


def _flagged(points: pd.DataFrame) -> Iterator[Finding]:
    meanings = {"precision missed": "missed the precision asked for before their time was up",
                "too few samples": "have too few samples for an interval",
                "drift": "drifted while they were measured", "bimodal": "have two modes, so their median is neither"}
    for flag, meaning in meanings.items():
        some = points[points["flags"].str.split(", ").map(lambda said, flag=flag: flag in said)]
        if len(some):
            worst = some["precision"].max()
            detail = f" (worst: ±{percent(worst)})" if flag == "precision missed" else ""
            yield Finding("warning", f"{len(some)} of {len(points)} points {meaning}{detail}",
                          _points(some.sort_values("precision", ascending=False)))


def _overhead(points: pd.DataFrame) -> Iterator[Finding]:
    some = points[(points["op"] != "noop") & (points["overhead_s"] > _OVERHEAD * points["time_s"])]
    if len(some):
        yield Finding("warning", f"in {len(some)} of {len(points)} points an empty call takes over "
                      f"{percent(_OVERHEAD)} of the time: the harness is part of these numbers", _points(some))


def _unreadable(loaded: Loaded) -> Iterator[Finding]:
    if loaded.warnings:
        count = len(loaded.warnings)
        yield Finding("warning", f"{count} line{'s' if count > 1 else ''} or timing{'s' if count > 1 else ''} of the "
                      f"data could not be used (first: {loaded.warnings[0]})")


def _not_measured(records: pd.DataFrame) -> Iterator[Finding]:
    for status, words in (("unsupported", "not supported here"), ("skipped-memory", "skipped for lack of memory")):
        some = records[records["status"] == status]
        if len(some):
            yield Finding("note", f"{_cases(len(some))} of {len(records)} {words}{_reasons(some)}", _labels(some))


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'}"


def _reasons(records: pd.DataFrame) -> str:
    """The most frequent reason given."""
    given = records["reason"].dropna().value_counts()
    return f" ({given.index[0]}{', and other reasons' if len(given) > 1 else ''})" if len(given) else ""


def _labels(records: pd.DataFrame) -> tuple[str, ...]:
    return tuple(records["label"].head(_EVIDENCE))


def _points(points: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(points["label"]))[:_EVIDENCE]
