"""Tables of what others cost, of overlap and of sequences, as texts."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from collbench.collectives.cases.axis_traffic import axis_of
from collbench.collectives.cases.families.interference import parse_roles
from collbench.collectives.cases.families.overlap import parse_beside
from collbench.collectives.records.figures import AXES

from ..findings.sequences import SequenceRatio
from ..frames.comparisons import wide
from ..text import units

__all__ = ["ComparisonTable", "comparison_tables", "sequence_table"]


_MOST_SEQUENCES = 300
_ORDER = ["run", "op", "mode", "message_bytes", "traffic"]


class ComparisonTable(NamedTuple):
    """A table with its heads and rows; the first two columns are what was measured."""

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    caption: str


def comparison_tables(comparisons: pd.DataFrame) -> Iterator[ComparisonTable]:
    """Those that have rows, by the largest rank count of each operation; intervals are 95 %."""
    cases = _shown(comparisons, "interference")
    if len(cases):
        yield ComparisonTable(
            f"Interference: a call of the victims, alone and under load, {cases['ranks'].iloc[0]} ranks",
            ("victim, mode", "size", "aggressors", "alone", "loaded", "factor", "interval", "p99 factor", "interval",
             "rounds"),
            [(f"{roles.victim}, {row['mode']}", units.payload(row["message_bytes"]),
              f"{roles.aggressor} {units.payload(roles.size)}", units.seconds(row["alone_s"]),
              units.seconds(row["loaded_s"]), *_times(row, "congestion_factor"), *_times(row, "congestion_factor_p99"),
              str(row["n"])) for row in cases.to_dict("records") if (roles := parse_roles(row["traffic"]))],
            "Means over rounds, each with a call alone and one under load; the 99 % quantile needs 100 rounds.")
    cases = wide(comparisons, AXES)
    for mesh, rows in cases.groupby(cases["traffic"].map(_mesh), sort=True):
        yield ComparisonTable(
            f"Mesh {mesh}: a call in all groups of an axis, alone and while the other axes communicate",
            ("operation, mode", "size", "axis", "ranks", "alone", "together", "factor", "interval", "rounds"),
            [(f"{row['op']}, {row['mode']}", units.payload(row["message_bytes"]), axis.words, str(axis.ranks),
              units.seconds(row["alone_s"]), units.seconds(row["together_s"]), *_times(row, "axis_factor"),
              str(row["n"]))
             for row in rows.sort_values(_ORDER).to_dict("records") if (axis := axis_of(row["traffic"]))],
            "Means over rounds, each with a call alone and one together; the same operation and size on every axis.")
    cases = _shown(comparisons, "overlap")
    if len(cases):
        yield ComparisonTable(
            f"Overlap: a collective beside compute, {cases['ranks'].iloc[0]} ranks",
            ("collective, mode", "size", "collective", "compute", "together", "collective slower", "compute slower",
             "exposed", "interval", "IMB overlap", "rounds"),
            [(f"{_beside(row['traffic'])}, {row['mode']}", units.payload(row["message_bytes"]),
              *(units.seconds(row[name]) for name in ("collective_s", "compute_s", "together_s")),
              *(f"{_digits(row[name])}x" for name in ("collective_slowdown", "compute_slowdown")),
              units.seconds(row["exposed_s"]), units.span(units.seconds(row["exposed_s lo"]),
                                                          units.seconds(row["exposed_s hi"])),
              units.percent(row["imb_overlap_percent"] / 100), str(row["n"])) for row in cases.to_dict("records")],
            "Means over rounds. Exposed: what the collective adds to the time of the compute. IMB overlap: "
            "(collective + compute - together) / the longer of both, from 0 to 100 %.")


def _shown(comparisons: pd.DataFrame, op: str) -> pd.DataFrame:
    """The rows of an operation over the most ranks, by what was measured and then by size."""
    cases = wide(comparisons, op)
    largest: pd.DataFrame = cases[cases["ranks"] == cases["ranks"].max()]
    return largest.sort_values(["run", "traffic", "mode", "message_bytes"], kind="stable")


def _mesh(traffic: str) -> str:
    axis = axis_of(traffic)
    return axis.mesh.text.replace("/", ",") if axis else ""


def sequence_table(found: Sequence[SequenceRatio]) -> Iterator[ComparisonTable]:
    """Sequences against the sum of their parts; none if none were measured. Of many, those that differ most."""
    if found:
        shown = _farthest(found)
        yield ComparisonTable(
            "Sequences: all calls one after another, and the sum of their parts made alone",
            ("sequence, mode", "size", "ranks", "calls", "time", "sum of parts", "ratio", "interval", "over plain",
             "most time in"),
            [(f"{one.row['traffic'] if one.row['op'] == 'sequence' else one.row['op']}, {one.row['mode']}",
              units.payload(one.row["message_bytes"]), str(one.row["ranks"]), str(one.calls),
              units.seconds(one.row["time_s"]), units.seconds(one.parts_s), f"{_digits(one.ratio)}x",
              units.span(_digits(one.lo), _digits(one.hi)),
              units.UNKNOWN if math.isnan(one.flat_ratio) else f"{_digits(one.flat_ratio)}x", one.slowest)
             for one in shown],
            f"{_which(found, shown)}Medians. The interval follows from those of all times; parts are measured at other "
            "moments of the same run. Over plain: a hierarchical all_reduce over a plain one.")


def _farthest(found: Sequence[SequenceRatio]) -> list[SequenceRatio]:
    """At most `_MOST_SEQUENCES`, those with the largest factor between time and sum of parts, in the order given."""
    if len(found) <= _MOST_SEQUENCES:
        return list(found)
    factors = [-abs(math.log(one.ratio)) if one.ratio > 0 else math.inf for one in found]
    return [found[index] for index in sorted(sorted(range(len(found)), key=factors.__getitem__)[:_MOST_SEQUENCES])]


def _which(found: Sequence[SequenceRatio], shown: Sequence[SequenceRatio]) -> str:
    """How the rows were chosen, for the caption; empty if all are shown."""
    if len(shown) == len(found):
        return ""
    return (f"The {len(shown)} of {len(found)} whose time differs most from the sum of their parts; all are in the "
            "JSON document. ")


def _beside(traffic: str) -> str:
    beside = parse_beside(traffic)
    words = [beside.collective, *([f"compute {beside.compute.normalize():f}x"] if beside.compute != 1 else []),
             *(["polled"] if beside.progress == "poll" else [])]
    return " ".join(words)


def _times(row: Mapping[Hashable, Any], name: str) -> tuple[str, str]:
    """A factor and its interval."""
    value, low, high = (_digits(row[f"{name}{end}"]) for end in ("", " lo", " hi"))
    return (value if value == units.UNKNOWN else f"{value}x"), units.span(low, high)


def _digits(value: float) -> str:
    return units.digits(value) if pd.notna(value) else units.UNKNOWN
