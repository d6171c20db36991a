"""Logs of other tools become collbench's own lines: one module a tool, found by its file, chosen by content.

A tool's module has `TITLE`, `recognise(text) -> bool` and `read(log, harvest)`. A file may hold output of several
tools; each takes its own tables. What a log does not say is asked for, never guessed silently.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.records.journal import Journal, JournalError, UnreadableError
from collbench.collectives.records.record import Imported, Record, Run

from .shared.collector import Asked, Harvest
from .shared.log import Log, LogError, open_log

__all__ = ["Asked", "LogError", "Reading", "UnknownFormatError", "Written", "import_logs", "importers",
           "read_log"]


class UnknownFormatError(UnreadableError):
    """No importer knows what is in the file."""


@dataclass(frozen=True)
class Reading:
    """What a log held.

    Args:
        tools: titles of the tools whose output was found.
        runs, figures: what goes into a journal.
        rows: printed rows of measurements that were recognised, whether or not they could be used.
        warnings: a sentence for each line or table that is not as it should be, with file and line.
    """

    tools: tuple[str, ...]
    runs: list[Run]
    figures: list[Imported | Record]
    rows: int
    warnings: list[str]


def importers() -> Iterator[ModuleType]:
    """The module of each tool, in the order of their names."""
    for module in pkgutil.iter_modules(__path__):
        if not module.ispkg:
            yield importlib.import_module(f"{__name__}.{module.name}")


def read_log(path: Path, asked: Asked | None = None) -> Reading:
    """Import one log.

    Args:
        path: any file.
        asked: what a person says about it, for what it does not say itself.

    Raises:
        LogError: the file cannot be read, or holds no measurement.
        UnknownFormatError: no importer recognises it.
        UsageError: nothing can be imported without an option, which the message names.
    """
    log = open_log(path)
    tools = [module for module in importers() if module.recognise(log.text)]
    if not tools:
        titles = ", ".join(module.TITLE for module in importers())
        raise UnknownFormatError(f"{path}: not a collbench journal, nor output of a tool that is known ({titles})")
    harvest = Harvest(log, asked or Asked())
    for module in tools:
        module.read(log, harvest)
    if not harvest.figures:
        raise _nothing(log, harvest, tools)
    return Reading(tuple(module.TITLE for module in tools), harvest.runs, harvest.figures, harvest.rows, harvest.said())


@dataclass(frozen=True)
class Written:
    """What `import_logs` did: files that gave anything, rows recognised, lines written, and all warnings."""

    files: int
    rows: int
    figures: int
    warnings: list[str]


def import_logs(paths: Sequence[Path], out: Path, asked: Asked) -> Written:
    """Import logs into a new journal at `out`; a log that gives nothing is a warning, as long as another does.

    Raises:
        UsageError: `out` holds something already.
        CollbenchError: no log could be imported; the reason for the first.
    """
    try:
        there = out.stat().st_size
    except OSError:
        there = 0       # what else stands in the way is said when it is opened
    if there:
        raise UsageError(f"{out}: exists already; give another -o, or remove it")
    readings: list[Reading] = []
    refused: list[CollbenchError] = []
    for path in paths:
        try:
            readings.append(read_log(path, asked))
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
            journal.extend([*reading.runs, *reading.figures])
    return Written(len(readings), sum(reading.rows for reading in readings),
                   sum(len(reading.figures) for reading in readings),
                   [*(str(error) for error in refused), *(text for one in readings for text in one.warnings)])


def _nothing(log: Log, harvest: Harvest, tools: list[ModuleType]) -> LogError | UsageError:
    """What to say of a log from which nothing could be imported."""
    titles = " and ".join(module.TITLE for module in tools)
    first = f": {harvest.warnings[0].removeprefix(f'{log.path}:')}" if harvest.warnings else ""
    if harvest.needs:
        return UsageError(f"{log.path}:{first[2:]}" if first else f"{log.path}: say {', '.join(sorted(harvest.needs))}")
    return LogError(f"{log.path}: looks like output of {titles}, but holds no whole row of measurements"
                    + (f" (line {first[2:]})" if first else ""))
