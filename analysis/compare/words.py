"""A comparison in sentences: `compare`, `check` and `report --baseline` say the same with the same words."""

import math
from typing import Any

import pandas as pd

from ..text.units import counted
from .verdict import ALPHA, Comparison

__all__ = ["VERDICTS", "counts", "factor", "limits", "movers", "named", "same_runs", "standing", "summary"]

VERDICTS = ("slower", "faster", "same", "cannot tell")
_MOVERS = 5


def factor(ratio: float) -> str:
    """`1.04x`, `12x`: a ratio of times with three digits at most."""
    if not math.isfinite(ratio) or ratio > 1000:
        return "over 1000x"
    return f"{ratio:.3g}x" if ratio >= 10 else f"{ratio:.2f}x"


def named(rows: pd.DataFrame) -> list[Any]:
    """The rows as tuples with the columns as attributes."""
    return list(rows.itertuples())


def same_runs(comparison: Comparison) -> list[str]:
    """Two lines about a comparison of runs with themselves."""
    return [f"A and B are the same: {comparison.match.shared_run}".partition("; ")[0] + ".",
            f"All {len(comparison.rows)} ratios are 1 and show nothing; give another run of the same cases as B."]


def limits(comparison: Comparison, least: float | None = None) -> str:
    """The ratio from which a difference is detected, as a clause.

    Args:
        least: the ratio up to which sides count as the same; None: that of the comparison.
    """
    floor = 1 + comparison.band if least is None else least
    usual = factor(max(comparison.noticed, floor))
    if comparison.one_launch:
        return f"one launch a side: differences below about {usual} cannot be detected"
    if len(comparison.rows) == 1:
        return f"a slowdown is noticed from {usual}"
    low, high = (factor(max(value, floor)) for value in comparison.rows["noticed"].agg(["min", "max"]))
    together = factor(max(floor, comparison.together["noticed"].max()))
    return (f"a slowdown is noticed from {together} in all cases together, {usual} in a usual case (from {low} to "
            f"{high})")


def counts(comparison: Comparison) -> str:
    """`2 slower, 0 faster, 20 same, 3 cannot tell`."""
    found = comparison.rows["verdict"].value_counts()
    return ", ".join(f"{found.get(name, 0)} {name}" for name in VERDICTS)


def standing(comparison: Comparison) -> str:
    """How B stands to A, as a clause: the judgement of a report with a baseline."""
    found = comparison.rows["verdict"].value_counts()
    cases = len(comparison.rows)
    changed = [f"{found[name]} {name}" for name in ("slower", "faster") if name in found]
    known = f"{' and '.join(changed)} of {cases} cases" if changed else f"no difference is known in {cases} cases"
    return f"{known} ({limits(comparison)})"


def movers(comparison: Comparison) -> pd.DataFrame:
    """The rows whose ratio is furthest from 1; those that are slower or faster go first."""
    rows = comparison.rows
    far = rows["ratio"].map(lambda ratio: -abs(math.log(ratio)))
    order = pd.DataFrame({"open": ~rows["verdict"].isin(VERDICTS[:2]), "far": far})
    return rows.loc[order.sort_values(["open", "far"], kind="stable").index].head(_MOVERS)


def summary(comparison: Comparison) -> list[str]:
    """Counts of the verdicts, all cases together, cases left out with the reasons, and the basis of the intervals."""
    lines = [f"{len(comparison.rows)} cases: {counts(comparison)}. The chance of any false alarm among them is at most "
             f"{100 * ALPHA:g} % (Holm)."]
    if not comparison.one_launch:
        lines += [f"all {row.cases} cases of {row.fabric} together: B / A {factor(row.ratio)} "
                  f"[{factor(row.ratio_lo)} to {factor(row.ratio_hi)}], {row.verdict}"
                  for row in named(comparison.together)]
    lines.append(_sentence(limits(comparison)))
    match = comparison.match
    lines += [f"failed in B: {label}" for label in match.broken]
    lines += [f"failed in some launches of B; the others count: {label}" for label in match.excused]
    lines += [f"not compared, {counted(count, 'case')}: {words}" for words, count in match.refused]
    if any(match.alone):
        lines.append(f"on one side only: {match.alone[0]} cases of A, {match.alone[1]} of B")
    lines += [*match.notes, *comparison.scatter]
    if comparison.one_launch:
        lines.append("Several launches a side, run alternately (A, B, A, B ...), detect smaller differences.")
    return lines


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
