"""What one launch of the rank program is to do."""

from pathlib import Path
from typing import Literal

import msgspec

from .cases.case import Sweep
from .records.record import Policy

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep, how to measure it, where results go. `sweep.ranks` empty stands for the whole curve of rank counts.

    Args:
        case_limit_s: a case that takes longer ends the job; None for what `limit_s` says.
        settled: runs that this one goes on for after a fault; their cases that hung or failed are not tried again.
        resume: leave out what the journal holds already: never, if it was taken the same way, or anyway.
    """

    transport: str
    device: str = "auto"
    sweep: Sweep
    policy: Policy
    journal: Path
    budget_s: float | None = None
    command: tuple[str, ...] = ()
    display: str = "auto"
    case_limit_s: float | None = None
    rendezvous_s: float | None = None
    settled: tuple[str, ...] = ()
    resume: Literal["never", "same", "anyway"] = "never"

    @property
    def limit_s(self) -> float:
        """Seconds that a case may take: as asked, else generous, and no longer than the whole run may take."""
        if self.case_limit_s is not None:
            return self.case_limit_s
        return 300.0 if self.budget_s is None else min(300.0, max(60.0, self.budget_s))

    @property
    def meeting_s(self) -> float:
        """Seconds that ranks wait for each other to come: as asked, else about as long as a case may take."""
        return max(20.0, self.limit_s) if self.rendezvous_s is None else self.rendezvous_s
