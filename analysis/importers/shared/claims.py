"""The lines of tables that look like those of another tool."""

import re
from collections.abc import Iterable

from .log import LogLine

__all__ = ["is_heading", "table_lines"]

_HEADING = re.compile(r"\s*#+\s*[A-Za-z]")


def is_heading(text: str) -> bool:
    """Whether a line is a comment in words: unless the tool's own, another tool has begun to print."""
    return bool(_HEADING.match(text))


def table_lines(lines: Iterable[LogLine], begin: re.Pattern[str], own: re.Pattern[str]) -> set[int]:
    """Numbers of the lines that `begin` a table, and of those after them up to a heading but the tool's `own`."""
    claimed: set[int] = set()
    within = False
    for line in lines:
        within = bool(begin.search(line.text)) or (within and (bool(own.match(line.text)) or not is_heading(line.text)))
        if within:
            claimed.add(line.number)
    return claimed
