"""Recorded popularity of experts: tables of counts, one row for each layer or step, one column for each expert.

Tables in `recorded/` are shipped; their first lines, which begin with #, name source and licence. A table of the user
is a file with the same columns, identified by its path and by a digest of its numbers, so that results of different
tables are never taken for the same.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Recording", "counts", "find", "shipped"]

_FOLDER = Path(__file__).parent / "recorded"
_DIGEST = re.compile(r"[0-9a-f]{8}")
_MOST_BYTES = 16 << 20
Counts = tuple[tuple[int, ...], ...]        # [row][expert]


class Recording(NamedTuple):
    """A table: the name of a shipped one, or the path of a file with the digest of its numbers."""

    name: str
    digest: str | None


def shipped() -> list[str]:
    """Names of the tables that come with collbench."""
    return sorted(path.stem for path in _FOLDER.glob("*.csv"))


def find(name: str, digest: str | None) -> Recording:
    """The table `name`; a file is read only if its digest is not given. ValueError says what was expected."""
    if not name.endswith(".csv"):
        if name not in shipped() or digest:
            raise ValueError(f"there is no recorded table {name!r:.80}; known are {', '.join(shipped())} and files "
                             "that end in .csv")
        return Recording(name, None)
    if digest is None:
        return Recording(name, _digest(_read(Path(name))))
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"digest {digest!r:.20} is not one of eight hexadecimal digits")
    return Recording(name, digest)


@lru_cache(maxsize=8)
def counts(recording: Recording) -> Counts:
    """The counts [row][expert]. ValueError if the file cannot be read or is no longer the same."""
    if recording.digest is None:
        return _read(_FOLDER / f"{recording.name}.csv")
    found = _read(Path(recording.name))
    if _digest(found) != recording.digest:
        raise ValueError(f"{recording.name} has changed: digest {_digest(found)} instead of {recording.digest}")
    return found


def _read(path: Path) -> Counts:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path} is larger than {_MOST_BYTES >> 20} MiB")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    rows = [tuple(_row(path, number, line)) for number, line in enumerate(lines, 1)
            if line.strip() and not line.startswith("#")]
    if not rows or len({len(row) for row in rows}) > 1 or not all(map(any, rows)):
        raise ValueError(f"{path}: expected rows of equally many counts, not all of them 0")
    return tuple(rows)


def _row(path: Path, number: int, line: str) -> list[int]:
    words = [word.strip() for word in line.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,18}", word) for word in words):
        raise ValueError(f"{path}:{number}: expected whole numbers separated by commas, one for each expert")
    return [int(word) for word in words]


def _digest(rows: Counts) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:8]
