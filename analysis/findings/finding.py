"""A finding, and the order of findings."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import pandas as pd

from ..frames.record_id import record_ids

__all__ = ["Evidence", "Finding", "Severity", "as_json", "evidence_of", "sort_findings"]

Severity = Literal["error", "warning", "note"]

_ORDER = ("error", "warning", "note")
_SHOWN = 5      # records named as evidence


class Evidence(TypedDict):
    """Two fields of a finding."""

    evidence: tuple[str, ...]
    records: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One sentence that a reader should know, and some of the records that show it.

    Args:
        severity: `error`: the run as a whole cannot be trusted; `warning`: some numbers mean less than they seem to;
            `note`: what was not measured, or what explains a number.
        evidence: labels of records.
        records: their ids in the same order, for records of a journal; see `frames.record_id`.
        effect: the share of the cases, the points or the time that it affects; None if that is undefined.
        kind: what it is, in the terms of the glossary: straggler, bimodal, guideline violation; empty for a remark.
        advice: what to do about it; empty where nothing is to be done.
    """

    severity: Severity
    words: str
    evidence: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    effect: float | None = None
    kind: str = ""
    advice: str = ""


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """By severity, then by effect; findings without an effect come last, in the given order."""
    return sorted(findings, key=lambda found: (_ORDER.index(found.severity), found.effect is None,
                                               -(found.effect or 0.0)))


def evidence_of(rows: pd.DataFrame, which: Sequence[Hashable] | pd.Index | None = None) -> Evidence:
    """The first few distinct records of `rows`, as the fields `evidence` and `records` of a finding.

    Args:
        which: labels of the rows to use, in order; None: all rows.
    """
    few = rows.head(4 * _SHOWN) if which is None else rows.loc[list(which[:4 * _SHOWN])]
    named = dict(zip(record_ids(few), few["label"], strict=True))
    return {"evidence": tuple(map(str, named.values()))[:_SHOWN], "records": tuple(named)[:_SHOWN]}


def as_json(finding: Finding) -> dict[str, object]:
    """The finding with its evidence as pairs of id and label; the id is None for evidence that is no record."""
    ids = (*finding.records, *(None,) * (len(finding.evidence) - len(finding.records)))
    return {"severity": finding.severity, "kind": finding.kind or None, "words": finding.words,
            "advice": finding.advice or None, "effect": finding.effect,
            "evidence": [{"record": record, "label": label}
                         for record, label in zip(ids, finding.evidence, strict=True)]}
