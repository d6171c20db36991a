"""Input and output of the checks."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["LEVELS", "CheckRequest", "CheckResult"]

LEVELS = ("ok", "note", "warning", "error")     # from harmless to fatal


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What collbench is to be used for on this machine.

    Args:
        ranks: number of ranks on this host.
        transports: those that have to work; empty if any one is enough.
        accelerators: type and number of the devices that torch can use; None if there are none.
        environment: environment variables.
    """

    ranks: int
    transports: tuple[str, ...] = ()
    accelerators: tuple[str, int] | None = None
    environment: Mapping[str, str] = os.environ

    def lack(self, transport: str) -> str:
        """The level of a finding that `transport` does not work."""
        return "error" if transport in self.transports else "warning" if not self.transports else "note"


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of one check.

    Args:
        what: short name of what was checked.
        found: the result in words.
        do: advice; required for a warning or an error.
        works: whether a transport works, by its name, as far as this check can tell.
        facts: the result for programs.
    """

    level: str
    what: str
    found: str
    do: str | None = None
    works: dict[str, bool] = {}
    facts: Mapping[str, Any] = {}

    def __post_init__(self) -> None:
        if self.level not in LEVELS or (self.level in LEVELS[2:] and not self.do):
            raise ValueError(f"check {self.what}: level {self.level!r} with advice {self.do!r}")
