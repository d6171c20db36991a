"""What one launch of the rank program is to do."""

from pathlib import Path

import msgspec

from .cases import Sweep
from .records import Policy

__all__ = ["Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep, how to measure it, where results go. `sweep.ranks` empty stands for the whole curve of rank counts."""

    transport: str
    device: str = "auto"
    sweep: Sweep
    policy: Policy
    journal: Path
    budget_s: float | None = None
    command: tuple[str, ...] = ()
    display: str = "auto"
