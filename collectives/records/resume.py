"""Going on with a journal: what of a plan is in it already, and whether that was taken as the rest will be."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..cases.case import Case
from ..errors import UsageError
from .journal import read_lines
from .record import Record, Run

__all__ = ["There", "what_is_there"]

_OF_ONE_LAUNCH = re.compile(r"SLURM_|OMPI_MCA_(initial_wdir|btl_(sm|vader)_backing_directory)")
_FINAL = ("ok", "wrong", "unsupported", "skipped-memory")     # a timeout or a failure is measured again


class There(NamedTuple):
    """Cases of the plan that need not be measured again; `warnings` are lines of the journal that could not be read."""

    cases: frozenset[Case]
    warnings: tuple[str, ...]


def what_is_there(journal: Path, mine: Run, wanted: Collection[Case], anyway: bool,
                  settled: Collection[str] = (), only_settled: bool = False) -> There:
    """Which of `wanted` the journal holds, by its latest word on each.

    Args:
        mine: the run that is about to go on.
        settled: runs whose cases that hung or failed count as measured: they would again.
        only_settled: what other runs measured does not count.
        anyway: also where earlier runs were taken otherwise.

    Raises:
        UsageError: they were, in what decides about times; it names what.
        JournalError: the file is there and cannot be read.
    """
    if not journal.exists():
        return There(frozenset(), ())
    warnings: list[str] = []
    runs: dict[str, Run] = {}
    latest: dict[Case, Record] = {}
    for line in read_lines(journal, warnings, samples=False):
        if isinstance(line, Run):
            runs[line.id] = line
        elif isinstance(line, Record) and line.case in wanted and runs[line.run].transport == mine.transport \
                and (line.run in settled or not only_settled):
            latest[line.case] = line
    there = {case: record for case, record in latest.items() if record.status in _FINAL or record.run in settled}
    for run in dict.fromkeys(record.run for record in there.values()):
        unlike = list(_unlike(runs[run], mine))
        if unlike and not anyway:
            raise UsageError(f"{journal}: measured otherwise by run {run}: {'; '.join(unlike[:4])}"
                             f"{f' and {len(unlike) - 4} more' if len(unlike) > 4 else ''}: give another --out, or "
                             "--resume-anyway to mix them")
    return There(frozenset(there), tuple(warnings))


def _unlike(earlier: Run, mine: Run) -> Iterator[str]:
    """What differs in a way that times of the two must not stand side by side; hosts may be others of the same kind."""
    for name in ("schema", "library", "device", "world"):
        yield from _differ(name, getattr(earlier, name), getattr(mine, name))
    for name in mine.policy.__struct_fields__:
        yield from _differ(f"policy {name}", getattr(earlier.policy, name), getattr(mine.policy, name))
    for name in ("versions", "settings"):
        before, now = (_known(run.provenance.get(name)) for run in (earlier, mine))
        for key in sorted(key for key in {*before, *now} if not _OF_ONE_LAUNCH.match(key)):
            yield from _differ(f"{name} {key}", before.get(key), now.get(key))
    yield from _differ("cpu", earlier.provenance.get("cpu"), mine.provenance.get("cpu"))


def _known(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def _differ(name: str, before: object, now: object) -> Iterator[str]:
    before, now = (msgspec.to_builtins(value) for value in (before, now))
    if before != now and list(before if isinstance(before, (list, tuple)) else [before]) != \
            list(now if isinstance(now, (list, tuple)) else [now]):
        yield f"{name} was {before}, is {now}"
