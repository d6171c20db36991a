"""The journal of a job, held open while the job runs: what was measured outlives the file's name."""

import os
from collections.abc import Iterator
from pathlib import Path

from collbench.collectives.errors import write_error

__all__ = ["KeptJournal"]

_PART_BYTES = 1 << 20
_OPENING = b'{"line":"'


class KeptJournal:
    """Holds what rank 0 cannot: the journal before it has opened it, and after it has closed it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._earlier: list[int] = []       # files that were at the path and whose content is not in what came after

    def look(self) -> int:
        """The size of the journal in bytes, 0 if there is none; holds it open from now on."""
        try:
            found = self.path.stat()
            if self._file >= 0 and os.path.samestat(found, os.fstat(self._file)):
                return found.st_size
            new = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:     # not there yet, taken away, or on another host
            return 0
        if self._file >= 0 and any(part != os.pread(new, len(part), at) for at, part in _parts(self._file)):
            self._earlier.append(self._file)
        elif self._file >= 0:
            os.close(self._file)
        self._file = new
        return found.st_size

    def end(self) -> None:
        """The job has ended: write again what was in the journal and is no longer, and say so."""
        self.look()
        gone = [*self._earlier] if self._earlier and os.pread(self._file, len(_OPENING), 0) == _OPENING else []
        if self._file >= 0 and not os.path.lexists(self.path):
            gone.append(self._file)
        try:
            for file in gone:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab") as journal:
                    for _, part in _parts(file):
                        journal.write(part)
        except OSError as error:
            write_error(f"collbench: {self.path}: it was removed during the run and cannot be written again: "
                        f"{error.strerror}; what was in it is lost")
        else:
            if gone:
                write_error(f"collbench: warning: {self.path}: it was removed or renamed during the run; what was in "
                            "it was written there again")
        for file in (self._file, *self._earlier):
            if file >= 0:
                os.close(file)


def _parts(file: int) -> Iterator[tuple[int, bytes]]:
    """The content of an open file in parts, each with its offset."""
    at = 0
    while part := os.pread(file, _PART_BYTES, at):
        yield at, part
        at += len(part)
