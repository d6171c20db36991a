"""What others cost: congestion factors above 1, axes of a mesh, and communication that compute does not hide."""

from collections.abc import Iterator

import pandas as pd

from collbench.collectives.cases.axis_traffic import axis_of
from collbench.collectives.cases.families.interference import parse_roles
from collbench.collectives.cases.families.overlap import parse_beside
from collbench.collectives.records.figures import AXES

from ..frames.comparisons import wide
from ..text.units import counted, digits, payload, percent
from .effect_size import MEASURED
from .finding import Finding, evidence_of

__all__ = ["find_contention"]

_LEAST_EXPOSED = 0.1    # of the time of the collective alone


def find_contention(comparisons: pd.DataFrame, points: pd.DataFrame) -> Iterator[Finding]:
    """For each run the worst aggressor of each victim, the least hidden size and the worst axis of each collective.

    Only where the near end of the interval is a factor of 1.1, or exposes 10 % of the time of the collective. Where a
    host has more ranks than cores, it says so: the ranks then wait for each other's cores, whatever they do.
    """
    if comparisons.empty:
        return
    crowded = points.loc[points["oversubscribed"].fillna(False).astype(bool), ["run", "ranks"]]
    cores = {*crowded.itertuples(index=False, name=None)}
    yield from _interference(wide(comparisons, "interference"), cores)
    yield from _overlap(wide(comparisons, "overlap"), cores)
    yield from _axes(wide(comparisons, AXES), {run for run, _ in cores})


def _crowding(row: pd.Series, crowded: set[tuple[object, ...]]) -> str:
    return "; ranks outnumber cores here, which is part of it" if (row["run"], row["ranks"]) in crowded else ""


def _interference(cases: pd.DataFrame, crowded: set[tuple[object, ...]]) -> Iterator[Finding]:
    cases = cases.assign(victim=[parse_roles(text).victim for text in cases["traffic"]])
    for (_, victim), rows in cases.groupby(["run", "victim"], sort=False):
        slowed = rows[rows["congestion_factor lo"] >= MEASURED].sort_values("congestion_factor lo", ascending=False)
        if slowed.empty:
            continue
        worst = slowed.iloc[0]
        value, low, high = (digits(worst[f"congestion_factor{end}"]) for end in ("", " lo", " hi"))
        yield Finding(
            "note", f"interference: {victim} of {payload(worst['message_bytes'])} among half of {worst['ranks']} ranks "
            f"takes {value} times as long (95 % interval {low} to {high}) while the others run "
            f"{parse_roles(worst['traffic']).aggressor}; of {counted(len(rows), 'measurement')} with it as the victim, "
            f"{len(slowed)} show {percent(MEASURED - 1)} or more{_crowding(worst, crowded)}",
            effect=len(slowed) / len(rows), kind="interference",
            advice="give jobs that communicate at the same time hosts and links of their own", **evidence_of(slowed))


def _overlap(cases: pd.DataFrame, crowded: set[tuple[object, ...]]) -> Iterator[Finding]:
    alone = cases["collective_s"]
    cases = cases.assign(collective=[parse_beside(text).collective for text in cases["traffic"]],
                         **{f"share{end}": cases[f"exposed_s{end}"] / alone for end in ("", " lo", " hi")})
    for (_, name), rows in cases.groupby(["run", "collective"], sort=False):
        exposed = rows[rows["share lo"] >= _LEAST_EXPOSED].sort_values("share lo", ascending=False)
        if exposed.empty:
            continue
        worst = exposed.iloc[0]
        value, low, high = (percent(worst[f"share{end}"]) for end in ("", " lo", " hi"))
        yield Finding(
            "note", f"overlap: beside compute, {name} of {payload(worst['message_bytes'])} over {worst['ranks']} ranks "
            f"adds {value} of its own time to that of the compute (95 % interval {low} to {high}); of "
            f"{counted(len(rows), 'measurement')} of it, {len(exposed)} add {percent(_LEAST_EXPOSED)} or more"
            f"{_crowding(worst, crowded)}",
            effect=len(exposed) / len(rows), kind="exposed communication",
            advice="look whether the library makes progress by itself: compare with progress=poll in the traffic",
            **evidence_of(exposed))


def _axes(cases: pd.DataFrame, crowded: set[object]) -> Iterator[Finding]:
    for (run, op), rows in cases.groupby(["run", "op"], sort=False):
        slowed = rows[rows["axis_factor lo"] >= MEASURED].sort_values("axis_factor lo", ascending=False)
        if slowed.empty:
            continue
        worst = slowed.iloc[0]
        axis = axis_of(worst["traffic"])
        if axis is None:
            continue
        value, low, high = (digits(worst[f"axis_factor{end}"]) for end in ("", " lo", " hi"))
        mesh = axis.mesh.text.replace("/", ",")
        yield Finding(
            "note", f"mesh {mesh}: {op} of {payload(worst['message_bytes'])} on axis {axis.axis} takes {value} times "
            f"as long (95 % interval {low} to {high}) with traffic on {' and '.join(axis.others)}; of "
            f"{counted(len(rows), 'measurement')} of it on axes, {len(slowed)} show {percent(MEASURED - 1)} or more"
            + ("; ranks outnumber cores here, which is part of it" if run in crowded else ""),
            effect=len(slowed) / len(rows), kind="contention of axes",
            advice="place the axis with the most traffic on the fastest links, or let the axes communicate in turn",
            **evidence_of(slowed))
