"""Collect the findings of a report, most important first."""

from collections.abc import Iterator, Sequence

import pandas as pd

from ..frames.load import Loaded
from ..text.units import counted, percent
from .contention import find_contention
from .device_health import find_device_trouble
from .finding import Finding, evidence_of, sort_findings
from .guidelines import find_violations
from .library import find_unused_fabric
from .places import find_place_differences
from .rank_jumps import find_rank_jumps
from .repeats import find_disagreement
from .sequences import SequenceRatio, find_sequences
from .sizes import find_size_anomalies
from .stragglers import find_stragglers

__all__ = ["Finding", "collect_findings"]

# Kind, flags with their meaning, what to do.
_FLAGS = (
    ("imprecise", {"precision missed": "ran out of time before reaching the target precision",
                   "too few samples": "have too few samples for a confidence interval"},
     "give them more time (--case-seconds, --budget)"),
    ("non-stationary", {"drift": "are non-stationary: they drift during the measurement",
                        "bimodal": "are bimodal: the median represents neither mode"},
     "look for other load, clocks and temperature, and measure again"),
)
_OVERHEAD = 0.2          # share of a time above which the harness affects the result


def collect_findings(loaded: Loaded, sequences: Sequence[SequenceRatio] | None = None) -> list[Finding]:
    """Every finding about `loaded`.

    Args:
        sequences: its `sequence_ratios` where they are known already.
    """
    found = [*_wrong(loaded.records), *_failed(loaded.records), *find_unused_fabric(loaded.runs),
             *_crowded(loaded.points),
             *find_stragglers(loaded.lateness, loaded.runs), *_flagged(loaded.points), *_overhead(loaded.points),
             *find_device_trouble(loaded.runs), *find_contention(loaded.comparisons, loaded.all_points),
             *find_sequences(loaded.all_points, sequences),
             *find_violations(loaded.points), *find_disagreement(loaded.points, loaded.runs),
             *find_size_anomalies(loaded.points), *find_place_differences(loaded.points),
             *find_rank_jumps(loaded.points),
             *_unreadable(loaded), *_not_measured(loaded.records)]
    return sort_findings(found)


def _wrong(records: pd.DataFrame) -> Iterator[Finding]:
    wrong = records[records["status"] == "wrong"]
    if len(wrong):
        first = wrong["fault"].iloc[0]
        yield Finding("error", f"{counted(len(wrong), 'case')} of {len(records)} gave wrong results; no time is shown "
                      "for them"
                      + (f" (first: {first})" if pd.notna(first) else ""), effect=len(wrong) / len(records),
                      kind="wrong result", advice="run the command of a record alone (column reproduce); trust no time "
                      "of this library on this machine before it is right", **evidence_of(wrong))


def _failed(records: pd.DataFrame) -> Iterator[Finding]:
    for status, words in (("timeout", "timed out"), ("failed", "failed")):
        some = records[records["status"] == status]
        if len(some):
            yield Finding("error", f"{counted(len(some), 'case')} {words}{_reasons(some)}",
                          effect=len(some) / len(records), kind=status,
                          advice="run the command of a record alone (column reproduce)", **evidence_of(some))


def _crowded(points: pd.DataFrame) -> Iterator[Finding]:
    crowded = points["ranks"][points["oversubscribed"].fillna(False)]
    if len(crowded):
        counts = ", ".join(str(count) for count in sorted(crowded.unique()))
        yield Finding("warning", f"with {counts} ranks there were more ranks on a host than cores: {len(crowded)} of "
                      f"{len(points)} points measure the software path and the scheduler, not the fabric",
                      effect=len(crowded) / len(points), kind="oversubscribed",
                      advice="measure with at most one rank per core (--ranks)", **evidence_of(points, crowded.index))


def _flagged(points: pd.DataFrame) -> Iterator[Finding]:
    """Precision, and stability of the samples: one finding for each, with the least precise points as evidence."""
    known = points["flags"].unique()

    def having(flag: str) -> pd.Series:
        return points["precision"][points["flags"].isin([flags for flags in known if flag in flags.split(", ")])]
    for kind, meanings, advice in _FLAGS:
        some = {meaning: having(flag) for flag, meaning in meanings.items()}
        words = [f"{len(rows)} {meaning}" for meaning, rows in some.items() if len(rows)]
        all_rows = pd.concat(some.values())
        all_rows = all_rows[~all_rows.index.duplicated()].sort_values(ascending=False, kind="stable")
        if words:
            known_worst = kind == "imprecise" and pd.notna(all_rows.max())
            worst = f" (worst: ±{percent(all_rows.max())})" if known_worst else ""
            yield Finding("warning", f"of {len(points)} points, {' and '.join(words)}{worst}", kind=kind, advice=advice,
                          effect=len(all_rows) / len(points), **evidence_of(points, all_rows.index))


def _overhead(points: pd.DataFrame) -> Iterator[Finding]:
    some = points.index[(points["overhead_s"] > _OVERHEAD * points["time_s"]) & (points["op"] != "noop")]
    if len(some):
        yield Finding("warning", f"in {len(some)} of {len(points)} points an empty call takes over "
                      f"{percent(_OVERHEAD)} of the time: the measurement overhead is part of these numbers",
                      effect=len(some) / len(points), kind="overhead",
                      advice="use the compiled loop (--loop native), or streamed times", **evidence_of(points, some))


def _unreadable(loaded: Loaded) -> Iterator[Finding]:
    if loaded.warnings:
        count = len(loaded.warnings)
        yield Finding("warning", f"{count} line{'s' if count > 1 else ''} or timing{'s' if count > 1 else ''} of the "
                      f"data could not be used (first: {loaded.warnings[0]})", kind="unreadable",
                      advice="look at these lines of the file")


def _not_measured(records: pd.DataFrame) -> Iterator[Finding]:
    for status, words in (("unsupported", "not supported here"), ("skipped-memory", "skipped for lack of memory")):
        some = records[records["status"] == status]
        if len(some):
            yield Finding("note", f"{counted(len(some), 'case')} of {len(records)} {words}{_reasons(some)}",
                          effect=len(some) / len(records), **evidence_of(some))


def _reasons(records: pd.DataFrame) -> str:
    """The most frequent reason given."""
    given = records["reason"].dropna().value_counts()
    return f" ({given.index[0]}{', and other reasons' if len(given) > 1 else ''})" if len(given) else ""
