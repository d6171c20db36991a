"""Whether a submitted journal can be believed: each defect as one line that says what, where and what to do."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from collbench.collectives.errors import CollbenchError, printable
from collbench.collectives.records.digest import digest
from collbench.collectives.records.journal import Line, no_journal, read_lines
from collbench.collectives.records.record import DIGEST, Digest, Imported, Record, Run, Timing

from ..assess.ceilings import DEVICE_MEMORY, LINK, add_ceilings
from ..domains.facts import load_domains
from ..frames.load import Loaded, load
from ..text.units import counted, rate
from .identity import contradictions, domain_of, is_stated
from .personal import personal_data

__all__ = ["LEAST_SAMPLES", "defects"]

LEAST_SAMPLES = 5       # counted samples of a case, as many as collbench takes at least
_ROUNDING = 1e-6        # relative difference of two computations of one digest
_NUMBERS = ("median_ns", "lo_ns", "hi_ns", "p5_ns", "p95_ns", "p99_ns", "rank_min_ns", "rank_mean_ns", "rank_max_ns")
_UNCHECKED = ("noop",)  # an empty call has no result
_NAMED = 3              # examples of personal data in a line


def defects(path: Path) -> list[str]:
    """What is wrong with a journal, one line each; empty if it can be accepted.

    Raises:
        UnreadableError: it cannot be read.
        UsageError: it was written by a newer version of collbench.
    """
    damaged: list[str] = []
    lines = list(read_lines(path, damaged))
    runs = {line.id: line for line in lines if isinstance(line, Run)}
    if not runs:
        return [printable(str(no_journal(path, damaged)))]
    records = [line for line in lines if isinstance(line, Record)]
    found = [*_damage(damaged, path), *_imports(lines), *_provenance(runs.values()), *_personal(lines),
             *_results(records), *_samples(records, runs)]
    if not any(record.status == "ok" for record in records):
        found.append("no case was measured; submit a run with results")
    else:
        found += _figures(path, damaged)
    return [printable(f"{path}: {words}") for words in found]


def _damage(warnings: Sequence[str], path: Path) -> Iterator[str]:
    if warnings:
        first = warnings[0].removeprefix(f"{path}:")
        yield f"{counted(len(warnings), 'damaged line')}, first line {first}; submit the file as it was written"


def _imports(lines: Iterable[Line]) -> Iterator[str]:
    imported = sum(isinstance(line, Imported) for line in lines)
    if imported:
        yield (f"{counted(imported, 'result')} of another tool, without samples that could be checked; submit a run "
               "of collbench")


def _provenance(runs: Iterable[Run]) -> Iterator[str]:
    domains = load_domains()
    for run in runs:
        missing = [*_missing(run)]
        if missing:
            yield f"run {run.id}: provenance lacks {', '.join(missing)}; measure with an unchanged collbench"
        for words in contradictions(run, domains):
            yield f"run {run.id}: {words}; submit what was measured on one machine as it was written"


def _missing(run: Run) -> Iterator[str]:
    """What the provenance of a run does not say."""
    facts = run.provenance
    hosts, versions = facts.get("hosts"), facts.get("versions")
    if not facts.get("host") or not isinstance(hosts, list) or len(hosts) != run.world:
        yield f"the host of each of the {run.world} ranks"
    stated = versions if isinstance(versions, dict) else {}
    yield from (f"the version of {name}" for name in ("collbench", "python") if not stated.get(name))
    if not re.search(r"\d", run.library):
        yield "the version of the library"
    if not is_stated(run.device):
        yield "the device"
    elif run.device == "cpu" and not facts.get("cpu"):
        yield "the model of the CPU"
    try:
        datetime.fromisoformat(run.started.replace("Z", "+00:00"))
    except ValueError:
        yield "the time of its start"


def _personal(lines: Sequence[Line]) -> Iterator[str]:
    kinds = personal_data(lines)
    if kinds:
        named = (f"{kind} ({', '.join(texts[:_NAMED])}{', ...' if len(texts) > _NAMED else ''})"
                 for kind, texts in kinds.items())
        yield f"holds {', '.join(named)}; --scrub OUT writes a copy without"


def _results(records: Iterable[Record]) -> Iterator[str]:
    wrong: list[str] = []
    unverified: list[str] = []
    for record in records:
        checked, label = record.verification, record.case.label()
        if record.status == "wrong" or (checked and checked.wrong):
            wrong.append(label)
        elif record.status == "ok" and record.case.op not in _UNCHECKED and not (checked and checked.checks):
            unverified.append(label)
    yield from _cases(wrong, "a wrong result", "find out why before anything is submitted")
    yield from _cases(unverified, "a result that was not verified", "measure with verification")


def _samples(records: Iterable[Record], runs: dict[str, Run]) -> Iterator[str]:
    """Digests that do not follow from the samples, samples that contradict the clock, and too few of them."""
    few: list[str] = []
    other: list[str] = []
    clock: list[str] = []
    for record in records:
        if record.status != "ok":
            continue
        run, label = runs[record.run], record.case.label()
        made = [_digest(record, timing, run.policy.precision) for timing in record.timings]
        if not _follow(record, made):
            other.append(label)
        if not made or any(one is not None and one.samples < LEAST_SAMPLES for one in made):
            few.append(label)
        if any(timing.span == "makespan" and (run.clock.kind == "local" or timing.clock_error_s is None)
               for timing in record.timings):
            clock.append(label)
    yield from _cases(other, "digests that do not follow from the samples", "submit the file as it was written")
    yield from _cases(few, f"fewer than {LEAST_SAMPLES} samples", "measure longer")
    yield from _cases(clock, "times across ranks whose clocks were not compared", "submit the file as it was written")


def _digest(record: Record, timing: Timing, precision: float) -> Digest | None:
    """The digest that follows from the samples; None if none does."""
    if {len(rows) for rows in (timing.elapsed_ns, timing.begin_ns or timing.elapsed_ns)} != {record.case.members}:
        return None
    try:
        return digest(record.case, timing, precision)
    except (ValueError, OverflowError, IndexError):
        return None


def _follow(record: Record, made: Sequence[Digest | None]) -> bool:
    """Whether the digests of a record are those of its samples; digests of another version are not read by anyone."""
    kept = record.digests
    if None in made or [one.mode for one in kept] != [timing.mode for timing in record.timings]:
        return False
    return all(one is not None and (was.version != DIGEST or _same(was, one))
               for was, one in zip(kept, made, strict=True))


def _same(one: Digest, other: Digest) -> bool:
    def numbers(made: Digest) -> list[float]:
        values = [getattr(made, name) for name in _NUMBERS]
        return [np.nan if value is None else float(value) for value in values]
    return ((one.calls, one.samples, one.kind) == (other.calls, other.samples, other.kind)
            and np.allclose(numbers(one), numbers(other), rtol=_ROUNDING, atol=0, equal_nan=True))


def _figures(path: Path, known: Sequence[str]) -> Iterator[str]:
    """Numbers that nothing can have measured, and bandwidths that the links of the domain do not carry."""
    try:
        loaded = load(path)
    except CollbenchError as error:
        yield str(error)
        return
    said = {printable(words) for words in known}
    impossible = [words for words in loaded.warnings if words not in said]
    if impossible:
        more = f", and {len(impossible) - 1} more" if len(impossible) > 1 else ""
        yield f"{impossible[0].removeprefix(f'{path}: ')}{more}; submit the file as it was written"
    yield from _too_fast(loaded)


def _too_fast(loaded: Loaded) -> Iterator[str]:
    domains = load_domains()
    for identity, points in loaded.points.groupby("run", sort=False):
        key = domain_of(loaded.runs[str(identity)], domains)
        if key is None:
            continue
        bounds = add_ceilings(points, (key, domains[key]))
        # Benefit of the doubt: the slow end of the confidence interval against the highest rate that any source states.
        slowest = np.fmin(1.0, points["time_s"] / points["time_hi_s"])
        over = points[(points["busbw_Bps"] * slowest > bounds["ceiling_most_Bps"])
                      & bounds["ceiling_kind"].isin([LINK, DEVICE_MEMORY])]
        if len(over):
            first = over.iloc[0]
            most = rate(float(bounds.loc[over.index, "ceiling_most_Bps"].iloc[0]))
            yield (f"{counted(len(over), 'figure')} with more bandwidth than the links of {key} carry "
                   f"({first['label']}: {rate(float(first['busbw_Bps']))}, at most {most}); find out what was timed")


def _cases(labels: Sequence[str], what: str, advice: str) -> Iterator[str]:
    if labels:
        yield f"{counted(len(labels), 'case')} with {what}, first {labels[0]}; {advice}"
