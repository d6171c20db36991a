"""The journal: one JSON line with a checksum per run and record, on disk before the next case starts."""

import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import CollbenchError, UsageError
from .append_file import AppendFile, ReplacedError
from .record import SCHEMA, Imported, Record, Run

__all__ = ["BUFFER_BYTES", "Journal", "JournalChunk", "JournalError", "Line", "UnreadableError", "is_device",
           "no_journal", "read_journal", "read_lines", "read_runs", "seal", "unseal"]

Line = Run | Record | Imported
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)
_SEAL = b',"crc32":"%08x"}\n'
_SEAL_LENGTH = len(_SEAL % 0)
_OPENING = b'{"line":"'
_RECORD, _TIMINGS = b'{"line":"record"', b',"timings":['     # never within text, where the quotes would be escaped
BUFFER_BYTES = 1 << 20      # lines are long: with the default buffer, reading takes four times as long


class JournalError(CollbenchError):
    """A journal cannot be opened, read or appended to."""


class UnreadableError(JournalError):
    """A file cannot be read, or is not a journal."""

    exit_status = UsageError.exit_status


def seal(line: Line) -> bytes:
    """Encode one line: JSON, with a checksum of all preceding bytes as the last field."""
    body = _ENCODER.encode(line)[:-1]
    return body + _SEAL % zlib.crc32(body)


def unseal(raw: bytes, samples: bool = True) -> Line:
    """Decode one line of a journal. ValueError says what is wrong with it.

    Args:
        samples: False to skip the timings of records that have digests, which is much faster.
    """
    body = raw[:-_SEAL_LENGTH]
    if raw[-_SEAL_LENGTH:] != _SEAL % zlib.crc32(body):
        raise ValueError("truncated, or its checksum does not match")
    try:
        line = (None if samples else _without_timings(body)) or _DECODER.decode(body + b"}")
    except (msgspec.DecodeError, CollbenchError) as error:
        raise ValueError(str(error)) from None
    return _renamed(line) if isinstance(line, Run) else line


def _renamed(run: Run) -> Run:
    """Schema 1 called rotated what is warm no more."""
    if run.schema > 1 or run.policy.cache != "warm":
        return run
    return msgspec.structs.replace(run, policy=msgspec.structs.replace(run.policy, cache="rotated"))


def _without_timings(body: bytes) -> Record | None:
    """The record up to its timings; None if its digests are missing or of another version."""
    front = body.find(_TIMINGS) if body.startswith(_RECORD) else -1
    if front < 0:
        return None
    record = _DECODER.decode(body[:front] + b"}")
    for digest in record.digests:
        if not digest.fits(record.case.members):
            return None
    return record if record.digests else None


class Journal:
    """A journal opened for appending, by one process at a time. Every line is synced to disk when written.

    Attributes:
        damaged: another process removed lines while the journal was open; a warning said so.
    """

    def __init__(self, path: Path, tell: Callable[[str], object] | None = None,
                 echo: Callable[[Line], object] | None = None) -> None:
        """Open `path`. `tell` receives warnings about what other processes do to it (see `AppendFile`), `echo` every
        line that was written.

        Raises:
            UnreadableError: the file has content that is no journal.
            JournalError: it cannot be written, or another process has it open.
        """
        self.path, self._echo = path, echo
        self._turn = threading.Lock()
        try:
            self._file = AppendFile(path, tell)
            opening = self._file.first_bytes(len(_OPENING))
            self._file.end_line()       # one that a crash truncated
        except BlockingIOError:
            raise JournalError(f"{path}: another run is writing this journal; give another --out") from None
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None
        if not _begins_like_a_journal(opening) and not _has_valid_line(path):
            self._file.close()
            raise UnreadableError(f"{path}: not a collbench journal, so nothing is appended to it; give another --out")

    @property
    def damaged(self) -> bool:
        return self._file.damaged

    def append(self, line: Line) -> None:
        """Write one line with a single call and wait until it is on disk."""
        with self._turn:
            self._write(seal(line))
        if self._echo:
            self._echo(line)

    def append_last(self, line: Line, patience_s: float = 2.0) -> None:
        """Like `append`, from a thread that is about to end the process; blocks all later writes."""
        if not self._turn.acquire(timeout=patience_s):
            raise JournalError(f"{self.path}: another thread is blocked writing to it")
        self._write(seal(line))
        if self._echo:
            self._echo(line)

    def extend(self, lines: Iterable[Line]) -> None:
        """Write many lines at once; for data that can be recreated after a crash."""
        self._write(b"".join(seal(line) for line in lines))

    def _write(self, data: bytes) -> None:
        try:
            self._file.append(data)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}; all earlier cases are safe in it") from None

    def close(self) -> None:
        """Close the file, which releases its lock; ReplacedError if the file is no longer where it was opened."""
        try:
            self._file.compare()
        finally:
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self.close()
        except ReplacedError:
            if kind is None or not issubclass(kind, ReplacedError):     # it has been said
                raise


def _begins_like_a_journal(head: bytes) -> bool:
    return head.startswith(_OPENING) or _OPENING.startswith(head)


def _has_valid_line(path: Path) -> bool:
    """Whether a file whose beginning is damaged is a journal nevertheless."""
    for _, raw in _raw_lines(JournalChunk(path)):
        with suppress(ValueError):
            unseal(raw, samples=False)
            return True
    return False


class JournalChunk(NamedTuple):
    """A range of whole lines of a journal.

    Args:
        path: the journal.
        begin: byte offset of the first line.
        line: its line number, from 1.
        runs: the runs before it.
        end: byte offset at which the chunk ends; None for the end of the file.
    """

    path: Path
    begin: int = 0
    line: int = 1
    runs: tuple[Run, ...] = ()
    end: int | None = None


def read_lines(path: Path | JournalChunk, warnings: list[str], samples: bool = True) -> Iterator[Line]:
    """Yield the valid lines of a journal or chunk in order; a truncated or damaged line adds a warning instead.

    A run always precedes its records. `samples` as in `unseal`.

    Raises:
        UnreadableError: the file cannot be read.
        UsageError: it was written by a newer version of collbench.
    """
    chunk = path if isinstance(path, JournalChunk) else JournalChunk(path)
    path, known = chunk.path, {run.id for run in chunk.runs}
    for number, raw in _raw_lines(chunk):
        try:
            line = unseal(raw, samples)
        except ValueError as error:
            warnings.append(f"{path}:{number}: line skipped: {error}")
            continue
        if isinstance(line, Run):
            if line.schema > SCHEMA:
                raise UsageError(f"{path}:{number}: schema {line.schema} is newer than this version of collbench "
                                 f"reads ({SCHEMA})")
            known.add(line.id)
        elif line.run not in known:
            warnings.append(f"{path}:{number}: record skipped: its run {line.run!r} is not in the journal")
            continue
        yield line


def read_journal(path: Path) -> tuple[dict[str, Run], list[Record], list[str]]:
    """All runs by id, all records in order, and warnings. UnreadableError also if there is no run in the file."""
    warnings: list[str] = []
    lines = list(read_lines(path, warnings))
    runs = {line.id: line for line in lines if isinstance(line, Run)}
    if not runs:
        raise no_journal(path, warnings)
    return runs, [line for line in lines if isinstance(line, Record)], warnings


def read_runs(path: Path) -> dict[str, Run]:
    """All runs by id. UnreadableError also if there is none."""
    warnings: list[str] = []
    runs = {line.id: line for line in read_lines(path, warnings, samples=False) if isinstance(line, Run)}
    if not runs:
        raise no_journal(path, warnings)
    return runs


def no_journal(path: Path, warnings: list[str]) -> UnreadableError:
    """The error for a file that contains no run."""
    detail = f" ({warnings[0].partition(': ')[2]})" if warnings else ": it is empty"
    return UnreadableError(f"{path}: not a collbench journal{detail}")


def _raw_lines(chunk: JournalChunk) -> Iterator[tuple[int, bytes]]:
    path, at = chunk.path, chunk.begin
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            if is_device(file.fileno()):
                raise UnreadableError(f"{path}: a device, not a regular file")
            if chunk.begin:
                file.seek(chunk.begin)
            for number, raw in enumerate(file, chunk.line):
                if chunk.end is not None and at >= chunk.end:
                    return
                at += len(raw)
                if not raw.isspace():
                    yield number, raw
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnreadableError(f"{str(path)!r:.80}: not a file name") from None


def is_device(file: int) -> bool:
    """Whether an open file is a device, which may have no end and must not be read whole."""
    mode = os.fstat(file).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
