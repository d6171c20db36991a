"""collbench's own journals, so that they can be merged with logs of other tools; and logs that hold one.

See `collectives.records.echo` for the latter.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collbench.collectives.records.echo import MARK, rebuilt
from collbench.collectives.records.journal import read_lines
from collbench.collectives.records.record import Run

from .shared.collector import Collector
from .shared.log import Log

__all__ = ["TITLE", "is_journal", "read", "recognise"]

TITLE = "collbench journals"

_BEGIN = '{"line":'


def recognise(text: str) -> bool:
    """Whether `text` is a journal, or holds one."""
    return _is_plain(text) or MARK in text


def _is_plain(text: str) -> bool:
    return text[:4096].lstrip().startswith(_BEGIN)


def is_journal(path: Path) -> bool:
    """Whether the journal reader should handle a file: a journal, or an empty or unreadable file."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError):
        return True
    return not head.strip() or _is_plain(head.decode("utf-8", errors="replace"))


@contextmanager
def _plain_file(log: Log, warnings: list[str]) -> Iterator[Path]:
    """The journal as a file that can be read line by line: a copy if it came compressed, in a log, or from standard
    input.
    """
    if log.is_plain_file and _is_plain(log.raw):
        yield log.path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / log.name
        if _is_plain(log.raw):
            copy.write_text(log.raw, encoding="utf-8", newline="")
        else:
            journal, lost = rebuilt(log.raw)
            copy.write_bytes(journal)
            warnings += [f"{log.path}:{words}" for words in lost]
        yield copy


def read(log: Log, collector: Collector) -> None:
    """Add every line of the journal as it is."""
    runs: dict[str, Run] = {}
    with _plain_file(log, collector.warnings) as path:
        lines = list(read_lines(path, collector.warnings))
    for line in lines:
        if isinstance(line, Run):
            runs[line.id] = line        # a run on GPUs has a second line, at its end
        else:
            collector.rows += 1
            collector.results.append(line)
    collector.runs += runs.values()
