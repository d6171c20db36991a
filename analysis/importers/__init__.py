"""Import logs of other tools as journal lines: one module per tool, chosen by the content of the log.

A tool's module has `TITLE`, `recognise(text) -> bool` and `read(log, collector)`. A file may hold output of several
tools; each module reads its own tables. What a log does not state comes from an option; nothing is guessed silently.

Tables of some tools look like those of another: a module whose tool prints such tables has `claims(log) -> set[int]`,
the numbers of their lines, which modules without it then find blank.
"""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.records.journal import Journal, JournalError, UnreadableError
from collbench.collectives.records.record import Imported, Record, Run

from .shared.collector import Collector, LogHints
from .shared.log import Log, LogError, open_log, split_lines

__all__ = [
    "ImportedLog",
    "LogError",
    "LogHints",
    "UnknownFormatError",
    "Written",
    "files_of",
    "import_logs",
    "importers",
    "read_log",
]


_MOST_FILES = 1000
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?![\w.])")
_FEW = 1            # numbers of a line that is a title


class UnknownFormatError(UnreadableError):
    """No importer recognises the file."""


@dataclass(frozen=True)
class ImportedLog:
    """The content of one log.

    Args:
        tools: titles of the tools whose output was found.
        runs, results: lines for a journal.
        rows: printed rows of measurements that were recognised, whether or not they could be used.
        warnings: a sentence for each faulty line or table, with file and line.
    """

    tools: tuple[str, ...]
    runs: list[Run]
    results: list[Imported | Record]
    rows: int
    warnings: list[str]


def importers() -> Iterator[ModuleType]:
    """The module of each tool, by name."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            yield importlib.import_module(f"{__name__}.{module.name}")


def read_log(path: Path, hints: LogHints | None = None) -> ImportedLog:
    """Import one log.

    Args:
        path: any file.
        hints: values given by the user for what the log does not state.

    Raises:
        LogError: the file cannot be read, or holds no measurement.
        UnknownFormatError: no importer recognises it.
        UsageError: an option is needed, which the message names.
    """
    log = open_log(path)
    others = _unclaimed(log)
    read_from = [(module, log if hasattr(module, "claims") else others) for module in importers()]
    read_from = [(module, lines) for module, lines in read_from if module.recognise(lines.text)]
    tools = [module for module, _ in read_from]
    if not tools:
        titles = ", ".join(module.TITLE for module in importers())
        raise UnknownFormatError(f"{path}: not a collbench journal, nor output of a known tool ({titles})"
                                 + _like_a_row(log))
    collector = Collector(log, hints or LogHints())
    for module, lines in read_from:
        module.read(lines, collector)
    if not collector.results:
        raise _nothing(log, collector, tools)
    return ImportedLog(tuple(module.TITLE for module in tools), collector.runs, collector.results, collector.rows,
                       collector.all_warnings())


def _unclaimed(log: Log) -> Log:
    """The log with those lines blank that a module claims for its tool."""
    claimed: set[int] = set()
    for module in importers():
        if hasattr(module, "claims") and module.recognise(log.text):
            claimed |= module.claims(log)
    if not claimed:
        return log
    kept = ("" if number in claimed else text for number, text in enumerate(split_lines(log.raw), 1))
    return Log(log.path, "\n".join(kept), log.crc32)


@dataclass(frozen=True)
class Written:
    """Result of `import_logs`: files with results, rows recognised, lines written, all warnings, and files read."""

    files: int
    rows: int
    results: int
    warnings: list[str]
    asked: int


def import_logs(paths: Sequence[Path], out: Path, hints: LogHints) -> Written:
    """Import logs into a new journal at `out`; a log without results is a warning as long as another has some.

    Args:
        paths: files, compressed or not; folders, of which every file is read; `-` for standard input.

    Raises:
        UsageError: `out` is not empty.
        CollbenchError: no log could be imported; the reason for the first.
    """
    try:
        there = out.stat().st_size
    except OSError:
        there = 0       # any other obstacle is reported when the file is opened
    if there:
        raise UsageError(f"{out}: exists already; give another -o, or remove it")
    readings: list[ImportedLog] = []
    refused: list[CollbenchError] = []
    files = [file for path in paths for file in files_of(path)]
    for path in files:
        try:
            readings.append(read_log(path, hints))
        except CollbenchError as error:
            refused.append(error)
    if not readings:
        raise refused[0]
    try:
        journal = Journal(out)
    except JournalError as error:
        raise UsageError(str(error)) from None
    with journal:
        for reading in readings:
            journal.extend([*reading.runs, *reading.results])
    return Written(len(readings), sum(reading.rows for reading in readings),
                   sum(len(reading.results) for reading in readings),
                   [*(str(error) for error in refused), *(text for one in readings for text in one.warnings)],
                   len(files))


def files_of(path: Path) -> list[Path]:
    """The files of a folder and its subfolders, by name, without hidden ones; of a run, its journal.

    Raises:
        LogError: the folder has none, or so many that it is hardly one of logs.
    """
    try:
        if not path.is_dir():
            return [path]
        if (path / "journal.jsonl").is_file():
            return [path / "journal.jsonl"]
    except (OSError, ValueError):
        return [path]       # the error is reported when the file is opened
    found: list[Path] = []
    for folder, inside, names in os.walk(path):
        inside[:] = [name for name in inside if not name.startswith(".")]
        files = (Path(folder, name) for name in names if not name.startswith("."))
        found += [file for file in files if os.path.isfile(file)]
        if len(found) > _MOST_FILES:
            raise LogError(f"{path}: a folder of over {_MOST_FILES} files; name the logs, or a folder of logs alone")
    if not found:
        raise LogError(f"{path}: a folder without files")
    return sorted(found)


def _nothing(log: Log, collector: Collector, tools: list[ModuleType]) -> LogError | UsageError:
    """The error for a log from which nothing could be imported."""
    if collector.question:
        return UsageError(collector.question)
    titles = " and ".join(module.TITLE for module in tools)
    words = f"{log.path}: looks like output of {titles}, but contains no complete row of measurements"
    if collector.warnings:
        first = collector.warnings[0].removeprefix(f"{log.path}:").strip()
        return LogError(f"{words} ({'line ' if first[:1].isdigit() else ''}{first})")
    return LogError(words + _like_a_row(log))


def _like_a_row(log: Log) -> str:
    """The first line of numbers, for an error, since a reader sees what is in its way; empty if there is none."""
    for line in log.lines:
        fields = line.text.split()
        if len(_NUMBER.findall(line.text)) > max(_FEW, len(fields) // 2):
            return f"; the first line of numbers is line {line.number}: {line.text.strip()!r:.100}"
    return ""
