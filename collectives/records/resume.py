"""Resuming a journal: which planned cases it already has, and whether its settings match."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..cases.case import Case
from ..errors import UsageError
from .journal import read_lines
from .record import Record, Run

__all__ = ["CompletedCases", "completed_cases"]

_OF_ONE_LAUNCH = re.compile(r"SLURM_|OMPI_MCA_(initial_wdir|btl_(sm|vader)_backing_directory)"
                            r"|(NVIDIA|ASCEND)_VISIBLE_DEVICES")       # what a container was given
_FINAL = ("ok", "wrong", "unsupported", "skipped-memory")     # cases that timed out or failed are repeated


class CompletedCases(NamedTuple):
    """Planned cases that need not be measured again; `warnings` are about unreadable lines of the journal."""

    cases: frozenset[Case]
    warnings: tuple[str, ...]


def completed_cases(journal: Path, mine: Run, wanted: Collection[Case], anyway: bool,
                    settled: Collection[str] = (), only_settled: bool = False) -> CompletedCases:
    """Which of `wanted` the journal already has; its latest record of each case decides.

    Args:
        mine: the run that is about to continue.
        settled: runs whose hung and failed cases count as completed, since they would fail again.
        only_settled: ignore all other runs.
        anyway: accept runs with different settings.

    Raises:
        UsageError: settings that affect times differ, and which.
        JournalError: the file exists but cannot be read.
    """
    if not journal.exists():
        return CompletedCases(frozenset(), ())
    warnings: list[str] = []
    runs: dict[str, Run] = {}
    latest: dict[Case, Record] = {}
    for line in read_lines(journal, warnings, samples=False):
        if isinstance(line, Run):
            runs[line.id] = line
        elif isinstance(line, Record) and line.case in wanted and runs[line.run].transport == mine.transport \
                and (line.run in settled or not only_settled):
            latest[line.case] = line
    completed = {case: record for case, record in latest.items() if record.status in _FINAL or record.run in settled}
    for run in dict.fromkeys(record.run for record in completed.values()):
        unlike = list(_unlike(runs[run], mine))
        if unlike and not anyway:
            raise UsageError(f"{journal}: run {run} had other settings: {'; '.join(unlike[:4])}"
                             f"{f' and {len(unlike) - 4} more' if len(unlike) > 4 else ''}: use another --out, or "
                             "--resume-anyway to mix them")
    return CompletedCases(frozenset(completed), tuple(warnings))


def _unlike(earlier: Run, mine: Run) -> Iterator[str]:
    """Differences that make times incomparable; different hosts of the same kind are accepted."""
    for name in ("schema", "library", "device", "world"):
        yield from _differ(name, getattr(earlier, name), getattr(mine, name))
    for name in mine.policy.__struct_fields__:
        yield from _differ(f"policy {name}", getattr(earlier.policy, name), getattr(mine.policy, name))
    for name in ("versions", "settings"):
        before, now = (_known(run.provenance.get(name)) for run in (earlier, mine))
        for key in sorted(key for key in {*before, *now} if not _OF_ONE_LAUNCH.match(key)):
            yield from _differ(f"{name} {key}", before.get(key), now.get(key))
    yield from _differ("cpu", earlier.provenance.get("cpu"), mine.provenance.get("cpu"))


def _known(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _differ(name: str, before: object, now: object) -> Iterator[str]:
    before, now = (msgspec.to_builtins(value) for value in (before, now))
    if before != now and list(before if isinstance(before, (list, tuple)) else [before]) != \
            list(now if isinstance(now, (list, tuple)) else [now]):
        yield f"{name} was {before}, is {now}"
