"""A file that one process appends to for hours, and that notices what others do to it meanwhile."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import CollbenchError, write_error

__all__ = ["AppendFile", "ReplacedError"]

_COPY_BYTES = 1 << 20
_TAIL_BYTES = 64        # of what was written last; compared to notice a file that another process wrote over
_RESCUE = "rescued-{pid}-{name}"


class ReplacedError(CollbenchError):
    """The file is gone from its path and cannot be put back; the message says where a copy is."""


def _say(text: str) -> None:
    write_error(f"collbench: warning: {text}")


class AppendFile:
    """A regular file of whole lines, locked for this process. Every append is on disk when it returns.

    Before each append, and when it is closed, the file is compared with what was written. If its path leads nowhere
    any more (it was unlinked or renamed, or its folder was), its content is written there again. If another file took
    its place, or it cannot be written there, it is copied elsewhere and ReplacedError names the copy. If another
    process cut it, wrote over it or appended to it, a warning says so; a line that this leaves unfinished is ended.

    Args:
        tell: receives the warnings; None to write them to standard error.

    Attributes:
        damaged: another process removed something that had been written.
    """

    def __init__(self, path: Path, tell: Callable[[str], object] | None = None) -> None:
        """Open or create `path`. BlockingIOError if another process has it open, OSError if it cannot be written."""
        self.path, self.damaged = path, False
        self._tell = tell or _say
        self._lost: ReplacedError | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = _open(path)
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)     # /dev/null is none
        self._end, self._tail = self._read_end()

    def first_bytes(self, count: int) -> bytes:
        """The beginning of the file."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.read(self._fd, count)

    def append(self, data: bytes) -> None:
        """Write with a single call and wait until it is on disk; OSError if that fails."""
        self.compare(data)
        try:
            written = os.write(self._fd, data)
            self._end, self._tail = self._end + written, (self._tail + data[:written])[-_TAIL_BYTES:]
            if written != len(data):
                raise OSError(28, "no space left on device")
        finally:
            os.fsync(self._fd)

    def compare(self, pending: bytes = b"") -> None:
        """Notice what other processes did to the file, and repair what can be repaired.

        `pending` is about to be appended; a rescue copy contains it.
        """
        if self._lost:
            raise self._lost
        if not self._regular:
            return
        if not self._is_at_its_path():
            self._put_back(pending)
        found = os.fstat(self._fd).st_size
        tail = _read_at(self._fd, self._end - len(self._tail), len(self._tail))
        if found == self._end and tail == self._tail:
            return
        if found < self._end:
            what = f"cut it from {self._end} to {found} bytes: what was there is lost"
        elif tail != self._tail:
            what = "wrote over it: what was there is lost"
        else:
            what = f"appended {found - self._end} bytes to it"
        self.damaged = self.damaged or tail != self._tail
        advice = "; --resume measures the lost cases again" if tail != self._tail else ""
        self._tell(f"{self.path}: another process {what}{advice}")
        self._end, self._tail = self._read_end()
        self.end_line()

    def end_line(self) -> None:
        """End a line that is not whole, so that the next one is a line of its own."""
        if self._tail and not self._tail.endswith(b"\n"):
            os.write(self._fd, b"\n")
            self._end, self._tail = self._read_end()

    def close(self) -> None:
        """Close the file, which releases its lock."""
        os.close(self._fd)

    def _read_end(self) -> tuple[int, bytes]:
        if not self._regular:
            return 0, b""
        end = os.fstat(self._fd).st_size
        count = min(end, _TAIL_BYTES)
        return end, _read_at(self._fd, end - count, count)

    def _is_at_its_path(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._fd))
        except OSError:
            return False

    def _put_back(self, pending: bytes) -> None:
        """Write the content to the path again; the open file has it, whatever its name is now."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new = _copy_to(self.path, self._fd)
        except FileExistsError:
            reason = "another file took its place during the run"
        except OSError as error:
            reason = f"it was removed during the run and cannot be written again ({error.strerror})"
        else:
            os.close(self._fd)
            self._fd = new
            self._tell(f"{self.path}: it was removed or renamed during the run; what was in it was written there again")
            return
        copy = self._rescue(pending)
        self._lost = ReplacedError(f"{self.path}: {reason}; " + (
            f"everything measured so far is in {copy}" if copy else
            "no folder could take a copy of what was measured: it is lost"))
        raise self._lost

    def _rescue(self, pending: bytes) -> Path | None:
        """Copy the content to the first folder that takes it. Not to TMPDIR, which ends with the job."""
        name = _RESCUE.format(pid=os.getpid(), name=self.path.name)
        for folder in (self.path.parent, Path(), Path("~"), Path("/var/tmp"), Path("/tmp")):
            try:
                place = folder.expanduser().absolute() / name
                copy = _copy_to(place, self._fd)
                os.write(copy, pending)
                os.close(copy)
            except (OSError, RuntimeError):     # no such folder, no space, no home
                continue
            return place
        return None


def _open(path: Path, more: int = 0) -> int:
    """Open a file for appending, locked."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | more, 0o666)
    try:
        _lock(file)
    except OSError:
        os.close(file)
        raise
    return file


def _lock(file: int) -> None:
    """Lock an open file for this process; BlockingIOError if another one has it. No lock where there is no flock."""
    try:
        import fcntl
    except ImportError:     # Windows, where only analysis runs
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read_at(file: int, at: int, count: int) -> bytes:
    os.lseek(file, at, os.SEEK_SET)     # appending does not use this position
    return os.read(file, count)


def _copy_to(path: Path, source: int) -> int:
    """Copy a whole open file to a new one, which is open, locked and on disk. FileExistsError if there is one."""
    new, at = _open(path, os.O_EXCL), 0
    try:
        while part := _read_at(source, at, _COPY_BYTES):
            if os.write(new, part) != len(part):
                raise OSError(28, "no space left on device")
            at += len(part)
        os.fsync(new)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(new)
        raise
    return new
