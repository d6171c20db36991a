"""A few cases that answer "is my number normal?", as values: measured, expected, and the likely reasons."""

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..frames.columns import SHOWN
from ..frames.record_id import record_ids
from ..frames.representative import HEADLINE_OPS
from .rank_changepoint import RankChangepoint, find_rank_changepoint
from .verdicts import LOW, NO_REFERENCE

__all__ = ["CHANGEPOINT", "HOSTS", "AssessedCase", "StragglerNames", "assessed_case", "headline_cases"]

StragglerNames = Mapping[tuple[str, int], str]      # (run, ranks) -> the rank that delays the others, in words
HOSTS, CHANGEPOINT = "several hosts", "rank switch"
_OPS = (*HEADLINE_OPS, "send_recv", "bandwidth")
_WORST = 3          # cases beyond the headline ones: those furthest below what is expected
_BEFORE_IT = ("oversubscription", "late rank", HOSTS)       # reasons that may cause a jump over rank counts
_TEXTS = (*SHOWN, "ceiling_kind", "ceiling_assumes", "basis", "reference", "verdict")
_NUMBERS = ("time_s", "time_lo_s", "time_hi_s", "busbw_Bps", "ceiling_Bps", "ceiling_rate_Bps", "wire_Bps", "share",
            "expected_Bps", "expected_lo_Bps", "expected_hi_Bps", "expected_s", "of_expected", "percentile",
            "reference_runs", "reference_sources", "latency_share")
_EVIDENCE = ("ranks_per_node", "peak_Bps", "peak_bytes", "overhead_s")


@dataclass(frozen=True)
class AssessedCase:
    """One assessed point; the fields are columns of `assess_points` unless listed here, None where unknown.

    Args:
        record: id of the record.
        reasons: keys of `diagnosis.REASONS` and CHANGEPOINT, in the order in which one masks the next.
        changepoint: where time jumps over rank counts, if that explains the point.
        straggler: the rank that delays the others, in words; empty where none does.
    """

    record: str
    run: str
    label: str
    ranks: int
    message_bytes: int
    texts: Mapping[str, str | None]
    numbers: Mapping[str, float | None]
    flags: str
    reasons: tuple[str, ...]
    changepoint: RankChangepoint | None
    straggler: str

    def text(self, name: str) -> str:
        """A text column; empty where unknown."""
        return self.texts[name] or ""

    def number(self, name: str) -> float:
        """A column of numbers; NaN where unknown."""
        value = self.numbers[name]
        return math.nan if value is None else value

    def knows(self, name: str) -> bool:
        """Whether a column has a value."""
        return (self.texts[name] if name in self.texts else self.numbers[name]) is not None

    def as_json(self, why: str) -> dict[str, Any]:
        """The case for the JSON document; `why` is the explanation in words."""
        return {"record": self.record, "run": self.run, "label": self.label, **self.texts, "ranks": self.ranks,
                "message_bytes": self.message_bytes, **{name: self.numbers[name] for name in _NUMBERS},
                "reasons": list(self.reasons),
                "rank_switch": self.changepoint._asdict() if self.changepoint else None, "why": why or None}


def headline_cases(shown: pd.DataFrame, stragglers: StragglerNames) -> list[AssessedCase]:
    """Cases from the assessed representative points.

    For each fabric and operation the largest message at the most ranks, and the smallest one for which there is an
    expectation; then the few that are furthest below expectation.
    """
    usable = shown[(shown["busbw_Bps"] > 0) & (shown["ranks"] > 1)]
    asked_for = usable["op"].isin(_OPS)
    usable = usable[asked_for] if asked_for.any() else usable
    if usable.empty:
        return []
    chosen = [label for _, rows in usable.groupby(["fabric", "op"], sort=False) for label in _ends(rows)]
    far = usable[usable["verdict"].eq(LOW) & usable["of_expected"].notna()].sort_values("of_expected")
    chosen += [label for label in far.index if label not in chosen][:_WORST]
    return [assessed_case(usable, label, stragglers) for label in chosen]


def _ends(rows: pd.DataFrame) -> Iterator[Hashable]:
    most = rows[rows["ranks"].eq(rows["ranks"].max())]
    streamed = most[most["mode"].eq("streamed")]
    most = (streamed if len(streamed) else most).sort_values("message_bytes", kind="stable")
    yield most.index[-1]
    least = most[most["of_expected"].notna()]
    if len(least) and least.index[0] != most.index[-1]:
        yield least.index[0]


def assessed_case(points: pd.DataFrame, label: Hashable, stragglers: StragglerNames) -> AssessedCase:
    """The row `label` of `points` as a case; unless it is fast enough, with a jump over rank counts in `points`."""
    rows = points.loc[[label]]
    row = rows.iloc[0]
    jump = find_rank_changepoint(points, row) if row["verdict"] in (LOW, NO_REFERENCE) else None
    (record,) = record_ids(rows)
    return AssessedCase(
        record, str(row["run"]), str(row["label"]), int(row["ranks"]), int(row["message_bytes"]),
        {name: None if pd.isna(row[name]) else str(row[name]) for name in _TEXTS},
        {name: _number(row[name]) for name in (*_NUMBERS, *_EVIDENCE)}, str(row["flags"]),
        _reasons(str(row["why"]), jump), jump, stragglers.get((str(row["run"]), int(row["ranks"])), ""))


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _reasons(named: str, jump: RankChangepoint | None) -> tuple[str, ...]:
    """Names of reasons, in the order in which one masks the next."""
    names = [name for name in named.split(", ") if name]
    at = sum(name in _BEFORE_IT for name in names)
    return (*names[:at], CHANGEPOINT, *names[at:]) if jump else tuple(names)
