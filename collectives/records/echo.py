"""A journal within a log: what a rank prints so that results survive where no volume does, as in `kubectl logs`.

Each line of the journal is compressed and printed as numbered parts, which find each other again among the output of
other ranks, behind prefixes and time stamps of any log collector, and in any order. Records leave their samples out and
keep the digests, which every reader of statistics uses: a log is cut at some 10 MiB on many clusters.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator

import msgspec

from .journal import Line, seal
from .record import Record

__all__ = ["MARK", "echoed", "rebuilt"]

MARK = "collbench-journal"

_PART_CHARACTERS = 1000     # well below what collectors split lines at
_MOST_PARTS = 100_000
_MOST_BYTES = 256 << 20     # of a line of a journal: a short text may expand to any length
_PART = re.compile(rf"\b{MARK} ([0-9a-f]{{8}}) ([0-9]{{1,6}})/([0-9]{{1,6}}) ([A-Za-z0-9+/=]+)")


def echoed(line: Line) -> Iterator[str]:
    """The lines to print for a line of a journal."""
    if isinstance(line, Record) and line.digests:
        line = msgspec.structs.replace(line, timings=())
    raw = seal(line)
    text = base64.b64encode(zlib.compress(raw, 9)).decode()
    parts = [text[at:at + _PART_CHARACTERS] for at in range(0, len(text), _PART_CHARACTERS)]
    for number, part in enumerate(parts, 1):
        yield f"{MARK} {zlib.crc32(raw):08x} {number}/{len(parts)} {part}"


def rebuilt(text: str) -> tuple[bytes, list[str]]:
    """The journal in a log, its lines in the order in which they were first seen; and a sentence for each that is lost.

    A log may hold one line several times, for example if it was collected twice.
    """
    found: dict[str, tuple[int, dict[int, str]]] = {}
    for number, row in enumerate(text.splitlines(), 1):
        if MARK not in row:
            continue
        for match in _PART.finditer(row):
            key, part, parts = match[1], int(match[2]), int(match[3])
            if 1 <= part <= parts <= _MOST_PARTS:
                found.setdefault(f"{key}/{parts}", (number, {}))[1].setdefault(part, match[4])
    lines: list[bytes] = []
    lost: list[str] = []
    for key, (number, have) in found.items():
        parts = int(key.partition("/")[2])
        raw = _joined([have.get(part, "") for part in range(1, parts + 1)], key[:8]) if len(have) == parts else None
        if raw is None:
            why = f"{parts - len(have)} of its {parts} parts are missing" if len(have) < parts else "it is damaged"
            lost.append(f"{number}: a line of the journal is lost: {why}")
        else:
            lines.append(raw)
    return b"".join(lines), lost


def _joined(parts: list[str], checksum: str) -> bytes | None:
    """The line of which these are the parts; None if they are damaged."""
    try:
        inflate = zlib.decompressobj()
        raw = inflate.decompress(base64.b64decode("".join(parts), validate=True), _MOST_BYTES)
    except (zlib.error, binascii.Error):
        return None
    return raw if inflate.eof and f"{zlib.crc32(raw):08x}" == checksum else None
