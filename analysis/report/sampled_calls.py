"""Raw samples of a few selected cases: the distribution of call times, and the lateness of each rank.

A large journal does not fit in memory, so a line is decoded only if the case at its front is a selected one.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.journal import BUFFER_BYTES, unseal
from collbench.collectives.records.record import Record, Timing

from ..findings.finding import Finding
from ..frames.representative import HEADLINE_OPS
from ..importers.collbench import is_journal

__all__ = ["Calls", "Choice", "choose", "read_calls"]

_MOST_FABRICS, _MOST_FINDINGS = 3, 3
_MOST_SHOWN = 300               # points of a distribution; a screen resolves no more
_SHARES = (0.05, 0.5, 0.95)
_CASE, _CASE_END = b'"case":', b"}"
_FRONT = 4096                   # the case is within so many bytes of the start of a line
_DECODER = msgspec.json.Decoder(Case)
Floats = NDArray[np.float64]
Key = tuple[str, Case]


@dataclass(frozen=True)
class Choice:
    """One case in one mode, and why it was selected; `point` is its row in the frame of points."""

    why: str
    point: pd.Series

    @property
    def key(self) -> Key:
        """Run and case of its record. UsageError if the case belongs to another tool."""
        row = self.point
        return row["run"], Case(op=row["op"], ranks=int(row["ranks"]), bytes=int(row["message_bytes"]),
                                dtype=_text(row["dtype"]), redop=_text(row["redop"]), traffic=_text(row["traffic"]),
                                in_place=row["place"] == "in-place")


@dataclass(frozen=True)
class Calls:
    """The counted samples of one selected case.

    Args:
        times: seconds per message and the cumulative share of calls, thinned to what a chart resolves.
        samples: how many samples there were before thinning.
        lateness: per rank and kind (`begin`, `end`), the delay after the first rank: `lo_s`, `mid_s`, `hi_s` are the
            5, 50 and 95 % quantiles over samples; None where the clocks of the ranks cannot be compared.
    """

    choice: Choice
    times: pd.DataFrame
    samples: int
    lateness: pd.DataFrame | None


def choose(shown: pd.DataFrame, points: pd.DataFrame, findings: Sequence[Finding]) -> list[Choice]:
    """Select cases for a closer look: the headline cases, those of the first findings, and the longest tail.

    Args:
        shown: representative points, with `fabric`.
        points: all points; a finding may concern any of them.
    """
    wanted = [*_headline(shown), *_found(points, findings), *_longest_tail(shown)]
    seen: set[tuple[object, ...]] = set()
    kept = []
    for choice in wanted:
        identity = (choice.point["run"], choice.point["label"], choice.point["mode"])
        if identity not in seen:
            seen.add(identity)
            kept.append(choice)
    return kept


def read_calls(data: Path, choices: Sequence[Choice]) -> list[Calls]:
    """The samples of `choices` from the journal at `data`; logs of other tools have no samples."""
    journal = data / "journal.jsonl" if data.is_dir() else data
    if not choices or not is_journal(journal):
        return []
    ours = [choice for choice in choices if choice.point["op"] in OPERATIONS and pd.isna(choice.point["source"])]
    records = dict(_records(journal, {choice.key for choice in ours}))
    found = []
    for choice in ours:
        record = records.get(choice.key)
        timing = next((one for one in record.timings if one.mode == choice.point["mode"]), None) if record else None
        if record is not None and timing is not None:
            found.append(_calls(choice, record.case, timing))
    return found


def _headline(shown: pd.DataFrame) -> Iterator[Choice]:
    """Per fabric, the first headline operation at the largest rank count: smallest, middle and largest message."""
    ops = [op for op in HEADLINE_OPS if op in set(shown["op"])] or [op for op in shown["op"].unique() if op != "noop"]
    for _, rows in list(shown[shown["op"].isin(ops)].groupby("fabric", sort=False))[:_MOST_FABRICS]:
        op = next(op for op in ops if op in set(rows["op"]))
        rows = rows[(rows["op"] == op) & (rows["ranks"] == rows["ranks"].max())].sort_values("message_bytes")
        for mode, places in (("isolated", {"smallest message": 0, "middle message size": 0.5}),
                             ("streamed", {"largest message": 1})):
            mine = rows[rows["mode"] == mode]
            for why, place in places.items() if len(mine) else ():
                yield Choice(f"headline, {why}", mine.iloc[round(place * (len(mine) - 1))])


def _found(points: pd.DataFrame, findings: Sequence[Finding]) -> Iterator[Choice]:
    """The first case named by each of the first findings."""
    named = 0
    for finding in findings:
        for words in finding.evidence:
            label, _, mode = words.rpartition(", ")
            rows = points[points["label"].eq(words) | (points["label"].eq(label) & points["mode"].eq(mode))]
            if len(rows):
                named += 1
                yield Choice(f"{finding.severity} {named} names it", rows.iloc[0])
                break
        if named == _MOST_FINDINGS:
            return


def _longest_tail(shown: pd.DataFrame) -> Iterator[Choice]:
    alone = shown[(shown["mode"] == "isolated") & (shown["ranks"] >= 2) & (shown["op"] != "noop")]
    tail = (alone["p99_s"] / alone["time_s"]).to_numpy(float)
    if np.isfinite(tail).any():
        yield Choice("longest tail", alone.iloc[int(np.nanargmax(tail))])


def _records(journal: Path, wanted: set[Key]) -> Iterator[tuple[Key, Record]]:
    """Records of the wanted cases, in the order of the journal."""
    cases, chosen = {case for _, case in wanted}, {}
    with journal.open("rb", buffering=BUFFER_BYTES) as lines:
        for raw in lines:
            start = raw.find(_CASE, 0, _FRONT)
            case = raw[start + len(_CASE):raw.find(_CASE_END, start) + 1] if start >= 0 else b""
            if case not in chosen:
                chosen[case] = _decoded(case) in cases      # decoded once, since cases repeat in every run
            if not chosen[case]:
                continue
            try:
                record = unseal(raw.rstrip(b"\n") + b"\n")
            except ValueError:
                continue            # already a warning when the points were loaded
            if isinstance(record, Record) and (record.run, record.case) in wanted and record.status == "ok":
                yield (record.run, record.case), record


def _decoded(case: bytes) -> Case | None:
    """The case, or None if it cannot be decoded."""
    with suppress(ValueError, CollbenchError):
        return _DECODER.decode(case)
    return None


def _calls(choice: Choice, case: Case, timing: Timing) -> Calls:
    ordered = np.sort(np.array(timing.message_s(case)))
    share = np.arange(1, len(ordered) + 1) / len(ordered)
    shown = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MOST_SHOWN)).round().astype(int))
    times = pd.DataFrame({"time_s": ordered[shown], "share": share[shown]})
    return Calls(choice, times, len(ordered), _lateness(case, timing))


def _lateness(case: Case, timing: Timing) -> pd.DataFrame | None:
    """Delays of each timed rank after the first one, at begin and end."""
    if timing.begin_ns is None or case.ranks < 2:
        return None
    ranks, counted = case.operation.timed(case), timing.counted()
    if len(ranks) < 2:
        return None
    begin, elapsed = (np.array([rows[rank] for rank in ranks], dtype=np.int64)[:, counted]
                      for rows in (timing.begin_ns, timing.elapsed_ns))
    tables = []
    for kind, moments in (("begin", begin), ("end", begin + elapsed)):
        low, middle, high = np.quantile((moments - moments.min(axis=0)) / 1e9, _SHARES, axis=1)
        tables.append(pd.DataFrame({"rank": list(ranks), "kind": kind, "lo_s": low, "mid_s": middle,
                                    "hi_s": high}))
    return pd.concat(tables, ignore_index=True)


def _text(value: Any) -> str | None:
    return None if pd.isna(value) else str(value)
