"""Join lines that a terminal, a mail program or a pager broke at its width."""

import re
from collections.abc import Sequence

from .prefixes import without_prefix

__all__ = ["unwrapped"]

_NARROWEST, _WIDEST = 60, 300
_NUMBERS = re.compile(r"(?:\s*(?:N/A|[-+]?[\d.]+(?:[eE][-+]?\d+)?)(?!\S))+\s*")
_ROW = re.compile(r"\s*\d+\s+\S")
_REST = re.compile(r"\s*[^\s#(\d-]\S*(?:\s+\S+)*\s+(?:time|algbw|busbw|#wrong|error|\S+\[usec\])(?:\s|$)|\S*\[?usec\]$")
_BEGINS = re.compile(r"#(?:\s|$)|\s*\d+\s+\d+\s+[A-Za-z]|\{\"")    # a comment, a row of nccl-tests, an object
_HEADING = re.compile(r"[#\s]*(?:size\s+count\s+type\b|size\(B\)\s|#bytes\s)", re.IGNORECASE)


def unwrapped(lines: list[str]) -> list[str]:
    """`lines` with broken ones joined onto their first line and blank where the rest stood; unchanged if none is.

    A text counts as broken if no line is longer than those that are followed by the rest of a row or heading.
    """
    width = max(map(len, lines), default=0)
    if not _NARROWEST <= width <= _WIDEST or not _is_broken(lines, width):
        return lines
    joined, at = list(lines), 0
    while at < len(lines):
        last = at
        while last + 1 < len(lines) and len(lines[last]) == width and not _begins(lines[last + 1]) \
                and len(set(lines[last].strip())) > 1:
            last += 1
        if last > at:
            joined[at] = "".join(lines[at:last + 1])
            joined[at + 1:last + 1] = [""] * (last - at)
        at = last + 1
    return joined


def _begins(line: str) -> bool:
    """Whether a line is the first part of one: a launcher's prefix, a comment, a row, an object."""
    bare = without_prefix(0, line).text
    return bool(_BEGINS.match(bare)) or bare != line


def _is_broken(lines: Sequence[str], width: int) -> bool:
    """Whether lines of full width are followed by the rest of a row, or of a heading."""
    full = [at for at, line in enumerate(lines[:-1]) if len(line) == width]
    rows = [at for at in full if _ROW.match(without_prefix(0, lines[at]).text)]
    behind = {at + 1 for at in full}
    whole = {len(line.split()) for at, line in enumerate(lines) if at not in behind and _NUMBERS.fullmatch(line)}
    rests = [at for at in rows if _NUMBERS.fullmatch(lines[at + 1]) and len(lines[at + 1]) < width
             and len(lines[at + 1].split()) not in {len(lines[at].split()), *whole}]
    if rows and 2 * len(rests) > len(rows):
        return True
    objects = [at for at in full if lines[at].startswith('{"') and not lines[at].endswith("}")]
    if objects and all(lines[at + 1].endswith("}") or len(lines[at + 1]) == width for at in objects):
        return True
    return any(_HEADING.match(without_prefix(0, lines[at]).text) and _REST.match(lines[at + 1]) for at in full)
