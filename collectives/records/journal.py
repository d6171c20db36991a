"""The file that results are appended to: a checked JSON line for each run and record, on disk before the next case."""

import fcntl
import os
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import CollbenchError, UsageError
from .record import SCHEMA, Imported, Record, Run

__all__ = ["BUFFER_BYTES", "Journal", "JournalError", "Portion", "UnreadableError", "is_device", "no_journal",
           "read_journal", "read_lines", "read_runs", "unseal"]

Line = Run | Record | Imported
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)
_SEAL = b',"crc32":"%08x"}\n'
_SEAL_LENGTH = len(_SEAL % 0)
_RECORD, _TIMINGS = b'{"line":"record"', b',"timings":['     # within text these quotes would be escaped
BUFFER_BYTES = 1 << 20      # lines are long: with the usual buffer, reading them takes four times as long


class JournalError(CollbenchError):
    """A journal cannot be opened, read or appended to."""


class UnreadableError(JournalError):
    """A file cannot be read, or is no journal."""

    exit_status = UsageError.exit_status


def seal(line: Line) -> bytes:
    """One line of a journal: JSON with a checksum over everything before the checksum."""
    body = _ENCODER.encode(line)[:-1]
    return body + _SEAL % zlib.crc32(body)


def unseal(raw: bytes, samples: bool = True) -> Line:
    """The run or record in one line of a journal; ValueError says what is wrong with it.

    Args:
        samples: False where digests will do: a record that has them then comes without its timings.
    """
    body = raw[:-_SEAL_LENGTH]
    if raw[-_SEAL_LENGTH:] != _SEAL % zlib.crc32(body):
        raise ValueError("cut short, or its checksum does not match")
    try:
        return (None if samples else _without_timings(body)) or _DECODER.decode(body + b"}")
    except (msgspec.DecodeError, CollbenchError) as error:
        raise ValueError(str(error)) from None


def _without_timings(body: bytes) -> Record | None:
    """The record up to its timings, where its digests say all that this version would make of them."""
    front = body.find(_TIMINGS) if body.startswith(_RECORD) else -1
    if front < 0:
        return None
    record = _DECODER.decode(body[:front] + b"}")
    for digest in record.digests:
        if not digest.fits(record.case.ranks):
            return None
    return record if record.digests else None


class Journal:
    """The file that results are appended to, by one writer at a time; every line is on disk before the next case."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; JournalError when it cannot be written or another process writes it."""
        self.path = path
        self._turn = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end_cut_line()
        except BlockingIOError:
            raise JournalError(f"{path}: another run is writing this journal; give another --out") from None
        except OSError as error:
            raise JournalError(f"{path}: cannot be written: {error.strerror}") from None

    def _end_cut_line(self) -> None:
        """A line cut by a crash stays as it is; the next one starts on a line of its own."""
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._write(b"\n")

    def append(self, line: Line) -> None:
        """Write one line in one piece and wait until it is on disk."""
        with self._turn:
            self._write(seal(line))

    def append_last(self, line: Line, patience_s: float = 2.0) -> None:
        """The same from a thread that is about to end the process; nothing is written after it."""
        if not self._turn.acquire(timeout=patience_s):
            raise JournalError(f"{self.path}: is being written to and does not answer")
        self._write(seal(line))

    def extend(self, lines: Iterable[Line]) -> None:
        """Write many lines at once, for what can be had again if it is lost on the way."""
        self._write(b"".join(seal(line) for line in lines))

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(28, "no space left on device")
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}; everything before this case is safe in it") from None

    def close(self) -> None:
        """Give up the file and its lock."""
        os.close(self._fd)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Portion(NamedTuple):
    """Whole lines of a journal.

    Args:
        path: the journal.
        begin: bytes before the first line.
        line: its number, from 1.
        runs: those before it.
        end: bytes before the first line that is no longer part of it; None: it ends with the file.
    """

    path: Path
    begin: int = 0
    line: int = 1
    runs: tuple[Run, ...] = ()
    end: int | None = None


def read_lines(path: Path | Portion, warnings: list[str], samples: bool = True) -> Iterator[Line]:
    """Each usable line of a journal, or of a portion of one, in order; one that was cut or damaged adds a warning.

    A record comes only after its run. `samples` as in `unseal`. UnreadableError: not a file. UsageError: written by a
    later collbench.
    """
    portion = path if isinstance(path, Portion) else Portion(path)
    path, known = portion.path, {run.id for run in portion.runs}
    for number, raw in _raw_lines(portion):
        try:
            line = unseal(raw, samples)
        except ValueError as error:
            warnings.append(f"{path}:{number}: line skipped: {error}")
            continue
        if isinstance(line, Run):
            if line.schema > SCHEMA:
                raise UsageError(f"{path}:{number}: schema {line.schema} is newer than this collbench reads ({SCHEMA})")
            known.add(line.id)
        elif line.run not in known:
            warnings.append(f"{path}:{number}: record skipped: its run {line.run!r} is not in the journal")
            continue
        yield line


def read_journal(path: Path) -> tuple[dict[str, Run], list[Record], list[str]]:
    """Runs by id, records in order, and warnings, all in memory. UnreadableError also when there is no run in it."""
    warnings: list[str] = []
    lines = list(read_lines(path, warnings))
    runs = {line.id: line for line in lines if isinstance(line, Run)}
    if not runs:
        raise no_journal(path, warnings)
    return runs, [line for line in lines if isinstance(line, Record)], warnings


def read_runs(path: Path) -> dict[str, Run]:
    """Runs by id. UnreadableError also when there is none."""
    warnings: list[str] = []
    runs = {line.id: line for line in read_lines(path, warnings, samples=False) if isinstance(line, Run)}
    if not runs:
        raise no_journal(path, warnings)
    return runs


def no_journal(path: Path, warnings: list[str]) -> UnreadableError:
    """What to say of a file without any run in it."""
    detail = f" ({warnings[0].partition(': ')[2]})" if warnings else ": it is empty"
    return UnreadableError(f"{path}: not a collbench journal{detail}")


def _raw_lines(portion: Portion) -> Iterator[tuple[int, bytes]]:
    path, at = portion.path, portion.begin
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            if is_device(file.fileno()):
                raise UnreadableError(f"{path}: is a device, not a file")
            if portion.begin:
                file.seek(portion.begin)
            for number, raw in enumerate(file, portion.line):
                if portion.end is not None and at >= portion.end:
                    return
                at += len(raw)
                if not raw.isspace():
                    yield number, raw
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnreadableError(f"{str(path)!r:.80}: not a file name") from None


def is_device(file: int) -> bool:
    """Whether an open file has no end of its own, so that it must not be read whole."""
    mode = os.fstat(file).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
