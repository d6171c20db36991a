"""A log as text and as clean lines: decoded, without colours, launcher prefixes and logging prefixes."""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.records.journal import is_device

__all__ = ["Log", "LogError", "LogLine", "open_log", "split_lines"]

_MOST_BYTES = 256 << 20
_LONGEST = 4096          # characters of a line that are parsed: no tool prints a wider table
_MOST_TASKS = 64

_BREAK = re.compile(r"\r\n?|\n")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.|"
                     r"\[/?(?:bold|red|green|blue|yellow|cyan|magenta|white)\]")
# Open MPI --tag-output; srun -l; mpiexec -l. The number is the task that wrote the line.
_TASK = re.compile(r".{0,48}?\[[^\[\]\s]{1,64},(\d{1,7})\]<std(?:out|err)>: ?|\s{0,9}(\d{1,7}):(?: |$)|"
                   r"\s{0,9}\[(\d{1,7})\] ")
_QUOTE = re.compile(r"\s{0,9}> ")
_HOST = re.compile(r"(?=[A-Za-z.-]{0,64}\d)[A-Za-z][\w.-]{0,64}:(?: |$)")     # pdsh, clush: a host name has a digit
_CLOCK = re.compile(r"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?"
                    r"(?:\s?\[[\w .:-]{1,64}\]|[ :-]{1,3}(?:DEBUG|INFO|WARNING|ERROR)\b)*(?:\s?[:-])?\s")
_TABLE = re.compile(r"\bsize\b.*\bcount\b|#bytes\s|#\s*Size\b|data_size", re.IGNORECASE)


class LogError(CollbenchError):
    """A log cannot be read or contains nothing to import."""

    exit_status = UsageError.exit_status


class LogLine(NamedTuple):
    """One cleaned line: number in the file from 1, text, and task that wrote it according to a launcher prefix."""

    number: int
    text: str
    task: str | None


@dataclass(frozen=True)
class Log:
    """A log file; `name` is the file name without folders."""

    path: Path
    text: str
    crc32: int

    @property
    def name(self) -> str:
        """The file's name; undecodable bytes are replaced, since it is written into journals."""
        return os.fsencode(self.path.name).decode("utf-8", errors="replace")

    @cached_property
    def lines(self) -> list[LogLine]:
        """All lines, cleaned."""
        return [_clean(number, raw) for number, raw in enumerate(split_lines(self.text), 1)]

    def streams(self) -> Iterator[list[LogLine]]:
        """The lines as one stream, or one stream per task if several tasks print their own tables.

        Jobs started without a common communicator do that: their lines interleave and must not be joined. Lines without
        a task belong to every stream.
        """
        tasks = list(dict.fromkeys(line.task for line in self.lines if line.task and _TABLE.search(line.text)))
        if not 2 <= len(tasks) <= _MOST_TASKS:
            yield self.lines
            return
        for task in tasks:
            yield [line for line in self.lines if line.task in (None, task)]


def split_lines(text: str, keep_ends: bool = False) -> list[str]:
    """Lines as editors number them, optionally with line ends; `str.splitlines` splits at more characters."""
    return _LINE.findall(text) if keep_ends else _BREAK.split(text)


def open_log(path: Path) -> Log:
    """Read a file whole. LogError if it cannot be read, is not text, or is too large."""
    try:
        with path.open("rb") as file:
            if is_device(file.fileno()):
                raise LogError(f"{path}: is a device, not a file")
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise LogError(f"{path}: larger than {_MOST_BYTES >> 20} MiB: import the part with the tables")
            raw = file.read()
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise LogError(f"{str(path)!r:.80}: not a file name") from None
    return Log(path, _decode(path, raw), zlib.crc32(raw))


def _decode(path: Path, raw: bytes) -> str:
    """Decode by byte-order mark, else UTF-8; invalid bytes are replaced, since tables are ASCII."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if b"\0" in raw[:65536]:
        raise LogError(f"{path}: contains NUL bytes, so it is not a text file")
    return raw.decode("utf-8-sig", errors="replace").replace("\0", "")


def _clean(number: int, raw: str) -> LogLine:
    text = raw[:_LONGEST]
    if "\x1b" in text or "[/" in text:
        text = _COLOUR.sub("", text)
    task: str | None = None
    for _ in range(4):
        if found := _TASK.match(text):
            task = found[1] or found[2] or found[3]
        else:
            found = _QUOTE.match(text) or _CLOCK.match(text) or _HOST.match(text)
        if not found:
            break
        text = text[found.end():]
    return LogLine(number, text.rstrip(), task)
