"""What a finding is."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """One sentence a reader should know, and the labels of records that show it (some of them).

    `error`: the run is not to be trusted as a whole; `warning`: these numbers mean less than they seem to;
    `note`: what was not looked at.
    """

    severity: Literal["error", "warning", "note"]
    words: str
    evidence: tuple[str, ...] = ()
