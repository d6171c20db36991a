"""The file of a history: SQLite, one row for each line of a journal, appended and never changed."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from collbench.collectives.errors import UsageError
from collbench.collectives.records.journal import Line, seal
from collbench.collectives.records.record import Record, Run

__all__ = ["added", "opened", "write_journal"]

_APPLICATION = 0x636F6C62       # "colb", in the head of the file
_SCHEMA = (
    "create table lines (number integer primary key, run text not null, is_run integer not null, "
    "started text not null, line blob not null unique)",
    "create index lines_run on lines (run)",
    "create trigger lines_stay before delete on lines begin select raise(abort, 'a history is only appended to'); end",
    "create trigger lines_are before update on lines begin select raise(abort, 'a history is only appended to'); end",
)
_PATIENCE_S = 30.0              # several jobs of a cluster may end at once


@contextmanager
def opened(path: Path, create: bool = False) -> Iterator[sqlite3.Connection]:
    """The file, in one transaction. UsageError if it cannot be read or is none of ours."""
    if not create and not path.exists():
        raise UsageError(f"{path}: there is no history yet: add runs with collbench history DATA --db {path}")
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as file, file:
            file.execute("begin immediate" if create else "begin")
            application, = file.execute("pragma application_id").fetchone()
            empty = not file.execute("select count(*) from sqlite_master").fetchone()[0]
            if create and empty:
                file.execute(f"pragma application_id = {_APPLICATION}")
                for statement in _SCHEMA:
                    file.execute(statement)
            elif application != _APPLICATION:
                raise UsageError(f"{path}: not a history of collbench")
            yield file
    except sqlite3.Error as error:
        raise UsageError(f"{path}: {error}") from None


def added(path: Path, lines: Iterable[Line]) -> tuple[int, int]:
    """Append the lines of journals, records without their samples; returns how many runs and records were new.

    A line that is there already is not added again. UsageError if the file cannot be written.
    """
    runs, records = set(), 0
    started: dict[str, str] = {}
    with opened(path, create=True) as file:
        known = {run for run, in file.execute("select distinct run from lines")}
        for line in lines:
            is_run = isinstance(line, Run)
            if isinstance(line, Run):
                started[line.id] = line.started
            elif isinstance(line, Record) and line.digests:
                line = msgspec.structs.replace(line, timings=())
            run = line.id if isinstance(line, Run) else line.run
            done = file.execute("insert or ignore into lines (run, is_run, started, line) values (?, ?, ?, ?)",
                                (run, is_run, started.get(run, ""), seal(line)))
            if done.rowcount:
                runs.add(run)
                records += not is_run
    return len(runs - known), records


def write_journal(path: Path, out: Path, runs: Iterable[str] | None = None) -> int:
    """Write the lines of these runs, or of all, as a journal; returns how many. UsageError if a file fails."""
    wanted = None if runs is None else set(runs)
    with opened(path) as file:
        rows = file.execute("select run, line from lines order by number")
        lines = [line for run, line in rows if wanted is None or run in wanted]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"".join(lines))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
    return len(lines)
