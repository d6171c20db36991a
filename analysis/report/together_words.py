"""What axes of a mesh and sequences cost together, in a line each."""

from collections.abc import Iterator, Sequence

import pandas as pd

from collbench.collectives.cases.axis_traffic import axis_of
from collbench.collectives.records.figures import AXES

from ..findings.sequences import SequenceRatio
from ..frames.comparisons import wide
from ..text.units import digits, payload

__all__ = ["together_lines"]


def together_lines(comparisons: pd.DataFrame, sequences: Sequence[SequenceRatio]) -> Iterator[str]:
    """The largest factor of an axis, of the largest messages; the sequence furthest from the sum of its parts."""
    cases = wide(comparisons, AXES)
    if len(cases):
        yield _axes(cases)
    if sequences:
        streamed = [one for one in sequences if one.row["mode"] == "streamed"] or list(sequences)
        furthest = max(streamed, key=lambda one: max(one.ratio, 1 / one.ratio))
        row = furthest.row
        name = row["traffic"] if row["op"] == "sequence" else row["op"]
        yield (f"{name} {payload(row['message_bytes'])}: {digits(furthest.ratio)}x the sum of its parts"
               f"{_interval(furthest.lo, furthest.hi)}")


def _axes(cases: pd.DataFrame) -> str:
    streamed = cases[cases["mode"] == "streamed"]
    some = streamed if len(streamed) else cases
    largest = some[some["message_bytes"] == some["message_bytes"].max()].sort_values("axis_factor", kind="stable")
    row = largest.iloc[-1]
    axis = axis_of(row["traffic"])
    assert axis is not None
    return (f"mesh {axis.mesh.text.replace('/', ',')}: {row['op']} {payload(row['message_bytes'])} on {axis.axis} "
            f"{digits(row['axis_factor'])}x as long with {'+'.join(axis.others)}"
            f"{_interval(row['axis_factor lo'], row['axis_factor hi'])}")


def _interval(low: float, high: float) -> str:
    """Empty where there are too few samples for one."""
    return "" if pd.isna(low) else f" [{digits(low)} to {digits(high)}]"
