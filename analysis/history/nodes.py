"""Verdicts on the nodes of fleets over time, in the file of the history, appended and never changed."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .store import opened

__all__ = ["PastVerdict", "add_verdicts", "verdicts_of"]

_SCHEMA = (
    "create table if not exists node_verdicts (number integer primary key, sweep text not null, started text not null, "
    "node text not null, verdict text not null, factor real, pairs integer not null, reason text not null, "
    "unique (sweep, node))",
    "create index if not exists node_verdicts_node on node_verdicts (node)",
    "create trigger if not exists node_verdicts_stay before delete on node_verdicts "
    "begin select raise(abort, 'a history is only appended to'); end",
    "create trigger if not exists node_verdicts_are before update on node_verdicts "
    "begin select raise(abort, 'a history is only appended to'); end",
)
_COLUMNS = "sweep, started, node, verdict, factor, pairs, reason"


class PastVerdict(NamedTuple):
    """A verdict on a node; `factor` is None if it has no times. See `NodeVerdict` in `analysis.fleet.judge`."""

    sweep: str
    started: str
    node: str
    verdict: str
    factor: float | None
    pairs: int
    reason: str


def add_verdicts(path: Path, verdicts: Iterable[PastVerdict]) -> int:
    """Append verdicts, each node of a sweep once; returns how many were new. UsageError if the file fails."""
    with opened(path, create=True) as file:
        for statement in _SCHEMA:
            file.execute(statement)
        return sum(file.execute(f"insert or ignore into node_verdicts ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)",
                                verdict).rowcount for verdict in verdicts)


def verdicts_of(path: Path, node: str) -> list[PastVerdict]:
    """All verdicts on a node, the earliest first. UsageError if there is no such file."""
    with opened(path) as file:
        try:
            rows = file.execute(f"select {_COLUMNS} from node_verdicts where node = ? order by number", (node,))
        except sqlite3.OperationalError:        # runs were added, but no sweep yet
            return []
        return [PastVerdict(*row) for row in rows.fetchall()]
