"""A file of rules, before it has been proved."""

import hashlib
from typing import NamedTuple

from collbench.collectives.records.tuning import Tuning

__all__ = ["PATH", "RuleFile", "origin"]

PATH = "{path}"     # in a setting: where the file is


class RuleFile(NamedTuple):
    """Text and use of a file.

    Args:
        name: of the file.
        text: its content.
        settings: environment variables that put it into force, with PATH for its path.
        ops: operations that it changes.
        words: how to use it, in one line, with PATH.
        needs: what this process lacks to measure under it; empty if nothing.
    """

    name: str
    text: str
    settings: dict[str, str]
    ops: tuple[str, ...]
    words: str
    needs: str = ""

    @property
    def digest(self) -> str:
        """Tells these rules from others."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def origin(tuning: Tuning) -> str:
    """Where a file comes from, for a comment in it."""
    counts = ", ".join(map(str, tuning.ranks))
    return f"collbench tune: {', '.join(tuning.ops)} over {counts} ranks, {tuning.dtype}, {tuning.mode}"
