"""What a check is asked, and what it answers."""

import os
from collections.abc import Mapping

import msgspec

__all__ = ["LEVELS", "Asked", "Finding"]

LEVELS = ("ok", "note", "warning", "error")     # from harmless to what stops a run


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks are made for.

    Args:
        ranks: on this host.
        transports: those that have to work; empty when one, whichever, is enough.
        accelerators: kind and number of the devices that torch can use; None when there are none.
        environment: variables in force.
    """

    ranks: int
    transports: tuple[str, ...] = ()
    accelerators: tuple[str, int] | None = None
    environment: Mapping[str, str] = os.environ

    def lack(self, transport: str) -> str:
        """How bad it is when `transport` does not work."""
        return "error" if transport in self.transports else "warning" if not self.transports else "note"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was looked at.

    Args:
        what: short name of the thing.
        found: what is there, in words.
        do: what a person can do about it; always there for a warning or an error.
        works: the transport that this says works (True) or does not (False), by name.
        facts: the same for programs.
    """

    level: str
    what: str
    found: str
    do: str | None = None
    works: dict[str, bool] = {}
    facts: dict[str, object] = {}

    def __post_init__(self) -> None:
        if self.level not in LEVELS or (self.level in LEVELS[2:] and not self.do):
            raise ValueError(f"finding {self.what}: level {self.level!r} with advice {self.do!r}")
