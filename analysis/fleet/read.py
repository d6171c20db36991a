"""The pairs of a sweep, from its directory: times and failures, from the journals of the launches."""

from collections.abc import Sequence
from pathlib import Path

from collbench.collectives.cases import catalog
from collbench.collectives.errors import CollbenchError
from collbench.collectives.records.fleet import PairLaunch, read_pair_launches
from collbench.collectives.records.journal import read_journal
from collbench.collectives.records.record import Record

from ..text.units import payload
from .judge import Pair

__all__ = ["pair_of", "read_pairs"]

_LONGEST = 200      # characters of what a launcher said
_TIMED_OUT = 124


def read_pairs(out: Path) -> list[Pair]:
    """Of all launches that have ended. UsageError if the list of them cannot be read."""
    return [pair_of(launch, out) for launch in read_pair_launches(out)]


def pair_of(launch: PairLaunch, out: Path) -> Pair:
    """What a launch measured; a wrong result, a case that failed and a missing journal are failures."""
    journal = launch.directory(out) / "journal.jsonl"
    records: Sequence[Record] = ()
    trouble = ""
    if journal.exists():
        try:
            records = [record for record in read_journal(journal)[1] if isinstance(record, Record)]
        except CollbenchError as error:
            trouble = str(error)
    times = {_label(record): digest.median_ns / digest.calls / catalog.OPERATIONS[record.case.op].messages / 1e9
             for record in records if record.status == "ok" and record.case.op != "noop"
             for digest in record.digests[:1]}
    failure = trouble or _failure(launch, records) or ("" if times else "nothing was measured")
    return Pair(round=launch.round, nodes=launch.nodes, times_s={} if failure else times, failure=failure)


def _failure(launch: PairLaunch, records: Sequence[Record]) -> str:
    """The first reason for a launch that did not go well, as a clause; empty for one that did."""
    for record in records:
        if record.status == "wrong":
            fault = record.verification.fault if record.verification else None
            where = f" on rank {fault.rank}" if fault else ""
            return f"wrong result of {_label(record)}{where}"
        if record.status in ("timeout", "failed"):
            return f"{_label(record)}: {record.status}: {record.reason or 'no reason given'}"[:_LONGEST]
    if launch.status == 0:
        return ""
    if launch.status == _TIMED_OUT:
        return f"time limit reached after {launch.wall_s:.0f} s"
    said = next((line for line in reversed(launch.said) if line.strip(" -*=")), "").strip()
    how = "could not be started" if launch.status is None else f"ended with status {launch.status}"
    return (f"the launch {how}" + (f": {said}" if said else ""))[:_LONGEST]


def _label(record: Record) -> str:
    return f"{record.case.op} {payload(record.case.bytes)}"
