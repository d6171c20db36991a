"""What a finding is, and which goes first."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ..frames.record_id import record_ids

__all__ = ["Finding", "as_json", "evidence_of", "in_order"]

_ORDER = ("error", "warning", "note")
_SHOWN = 5      # records named as evidence


@dataclass(frozen=True)
class Finding:
    """One sentence a reader should know, and the records that show it (some of them).

    Args:
        severity: `error`: the run is not to be trusted as a whole; `warning`: these numbers mean less than they seem
            to; `note`: what was not looked at, or what explains a number.
        evidence: labels of records.
        records: their ids, in the same order, where they are records of a journal; see `identity`.
        effect: how much it touches, as a share: of the cases, the points, or the time; None where that means nothing.
    """

    severity: Literal["error", "warning", "note"]
    words: str
    evidence: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    effect: float | None = None


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The most important first: by severity, then by effect; those of unknown effect last in the order given."""
    return sorted(findings, key=lambda found: (_ORDER.index(found.severity), found.effect is None,
                                               -(found.effect or 0.0)))


def evidence_of(rows: pd.DataFrame, which: Sequence[Hashable] | pd.Index | None = None) -> dict[str, tuple[str, ...]]:
    """The first few records of `rows`, each once, as the fields `evidence` and `records` of a finding.

    Args:
        which: labels of the rows meant, in order; None: all of them.
    """
    few = rows.head(4 * _SHOWN) if which is None else rows.loc[which[:4 * _SHOWN]]
    named = dict(zip(record_ids(few), few["label"], strict=True))
    return {"evidence": tuple(named.values())[:_SHOWN], "records": tuple(named)[:_SHOWN]}


def as_json(finding: Finding) -> dict[str, object]:
    """The finding with its evidence as pairs of id and label; the id is None where no record stands behind it."""
    ids = (*finding.records, *(None,) * (len(finding.evidence) - len(finding.records)))
    return {"severity": finding.severity, "words": finding.words, "effect": finding.effect,
            "evidence": [{"record": record, "label": label}
                         for record, label in zip(ids, finding.evidence, strict=True)]}
