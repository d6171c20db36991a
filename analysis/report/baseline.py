"""DATA against a baseline, judged by launches as `collbench compare` judges them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ..assess.expectations import AssessedCase
from ..assess.wording import outcome
from ..compare import Comparison, Side, compare, match, sides
from ..compare.words import factor, limits, movers, named, same_runs, standing
from ..findings.finding import Finding
from ..frames.load import Loaded
from ..importers import LogHints

__all__ = ["find_movers", "held_against", "judgement", "legend"]


def held_against(baseline: Path, paths: Sequence[Path], loaded: Loaded, asked: LogHints | None) -> Comparison:
    """Compare DATA, its runs of one case as launches, with the baseline.

    Raises:
        UsageError: no case can be compared.
    """
    return compare(match(sides(str(baseline), asked), Side(", ".join(map(str, paths)), (loaded,))))


def judgement(comparison: Comparison | None, points: pd.DataFrame, cases: Sequence[AssessedCase],
              leading: pd.Index) -> str:
    """How the points compare with a baseline, and with published measurements, as a clause.

    Args:
        leading: labels in `points` of the headline results.
    """
    if comparison is None:
        return outcome(points, cases, leading)
    if comparison.match.identical:
        return "the baseline is the same run, which shows nothing"
    clauses = [f"against the baseline, {standing(comparison)}"]
    published = points[points["basis"].notna() & points["basis"].ne("baseline")]
    return "; ".join([*clauses, *([outcome(published, cases, leading)] if len(published) else [])])


def find_movers(comparison: Comparison | None) -> Iterator[Finding]:
    """The largest differences, where none of them is known to be one."""
    if comparison is None or comparison.match.identical or comparison.rows["verdict"].isin(["slower", "faster"]).any():
        return
    shown = ", ".join(f"{row.label}, {row.mode}: {factor(row.ratio)}" for row in named(movers(comparison)))
    yield Finding("note", f"against the baseline, no difference is known: {limits(comparison)}. The largest are "
                  f"(time over that of the baseline) {shown}")


def legend(comparison: Comparison | None) -> list[str]:
    """What the verdicts by a baseline rest on."""
    if comparison is None:
        return []
    if comparison.match.identical:
        return same_runs(comparison)
    return [f"Baseline: a launch is one observation, as for collbench compare; {limits(comparison)}. Where not even "
            "twice the time would be noticed, the baseline gives no expectation."]
