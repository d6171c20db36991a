"""A log as text and as clean lines: read, unpacked and decoded."""

import importlib
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from collbench.collectives.errors import CollbenchError, UsageError
from collbench.collectives.records.journal import is_device

from . import parquet
from .lines import LONGEST, LogLine, clean_lines, split_lines

__all__ = ["Log", "LogError", "LogLine", "open_log", "split_lines"]

_MOST_BYTES = 256 << 20
_MOST_TASKS = 64
_PACKED = MappingProxyType({b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "lzma"})

_TABLE = re.compile(r"\bsize\b.*\bcount\b|#bytes\s|#\s*Size\b|data_size", re.IGNORECASE)


class LogError(CollbenchError):
    """A log cannot be read or contains nothing to import."""

    exit_status = UsageError.exit_status


@dataclass(frozen=True)
class Log:
    """A log file; `name` is the file name without folders, `raw` the decoded text as it is in the file.

    `is_plain_file` is false if it was unpacked, or came from standard input.
    """

    path: Path
    raw: str
    crc32: int
    is_plain_file: bool = True

    @property
    def name(self) -> str:
        """The file's name; undecodable bytes are replaced, since it is written into journals."""
        return os.fsencode(self.path.name).decode("utf-8", errors="replace")

    @cached_property
    def lines(self) -> list[LogLine]:
        """All lines, cleaned."""
        return clean_lines(self.raw)

    @cached_property
    def text(self) -> str:
        """The cleaned lines as one text, with the line numbers of the file; lines too long for a table stay whole."""
        raw = split_lines(self.raw)
        return "\n".join([line.text if len(whole) <= LONGEST else whole
                          for line, whole in zip(self.lines, raw, strict=True)])

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


def open_log(path: Path) -> Log:
    """Read a file whole, also compressed; `-` is standard input.

    Raises:
        LogError: it cannot be read, is not text, or is too large.
    """
    try:
        read = _bytes_of(path)
        raw = _unpacked(path, read)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LogError(f"{path}: cannot be read: {reason}") from None
    except ValueError:
        raise LogError(f"{str(path)!r:.80}: not a file name") from None
    return Log(path, _decode(path, raw), zlib.crc32(raw), raw is read and not _is_stdin(path))


def _bytes_of(path: Path) -> bytes:
    if _is_stdin(path):
        raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
        return _not_too_large(path, raw)
    with path.open("rb") as file:
        if is_device(file.fileno()):
            raise LogError(f"{path}: is a device, not a file")
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            return _not_too_large(path, b"", too_large=True)
        return file.read()


def _is_stdin(path: Path) -> bool:
    return str(path) == "-" and not path.exists()


def _not_too_large(path: Path, raw: bytes, too_large: bool = False) -> bytes:
    if too_large or len(raw) > _MOST_BYTES:
        raise LogError(f"{path}: larger than {_MOST_BYTES >> 20} MiB: import the part with the tables")
    return raw


def _unpacked(path: Path, raw: bytes) -> bytes:
    """The content of a compressed file, a Parquet table as CSV, anything else as it is.

    LogError for archives of several files.
    """
    for magic, module in _PACKED.items():
        if raw.startswith(magic):
            try:
                opened = importlib.import_module(module).open(io.BytesIO(raw))
                raw = _not_too_large(path, opened.read(_MOST_BYTES + 1))
            except (ImportError, EOFError, zlib.error, OSError, ValueError) as error:
                raise LogError(f"{path}: cannot be unpacked ({error}): unpack it first") from None
            except Exception as error:
                if type(error).__name__ != "LZMAError":
                    raise
                raise LogError(f"{path}: cannot be unpacked ({error}): unpack it first") from None
    if raw.startswith((b"PK\3\4", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")) or raw[257:262] == b"ustar":
        raise LogError(f"{path}: is an archive: unpack it and give the folder or the files")
    return parquet.as_csv(path, raw, LogError) if raw.startswith(parquet.MAGIC) else raw


def _decode(path: Path, raw: bytes) -> str:
    """Decode by byte-order mark, else UTF-8; invalid bytes are replaced, since tables are ASCII.

    NUL bytes, which a file has where a file system lost data or a rotated log was cut, are left out.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    head = raw[:65536]
    if b"\0" in head:
        for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if head[start::2].count(0) > 0.9 * len(head) / 2 > 0 and head[1 - start::2].count(0) < len(head) / 20:
                return raw.decode(encoding, errors="replace")
        rest = [byte for byte in head if byte]
        if sum(byte < 9 or 13 < byte < 27 for byte in rest) >= 0.1 * len(rest):
            raise LogError(f"{path}: contains NUL bytes, so it is not a text file")
        raw = raw.replace(b"\0", b"")
    return raw.decode("utf-8-sig", errors="replace").replace("\0", "")
