"""Sequences of calls against the sum of their parts, measured alone in the same run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.families.sequence import parts
from collbench.collectives.errors import UsageError

from ..frames.columns import CASE
from ..text.units import counted, digits, payload, seconds
from .finding import Finding, evidence_of

__all__ = ["SequenceRatio", "find_sequences", "sequence_ratios"]

_GROUP = "sequences"
_FAR = 1.15     # ratio to the sum of the parts, or its inverse, at the near end of the interval
_Time = tuple[float, float, float]      # seconds, and the ends of its 95 % interval; NaN where unknown


class SequenceRatio(NamedTuple):
    """A sequence in one mode of one run.

    Args:
        row: the point of the sequence.
        calls: how many calls it makes.
        parts_s: the time of all of them if each took as long as alone.
        ratio, lo, hi: time of the sequence over that, with the 95 % interval that follows from those of all times; NaN
            where one has none.
        flat_ratio: of a hierarchical all-reduce, its time over that of a plain one; NaN otherwise.
        slowest: the part that takes the most of the sum, in words.
    """

    row: Mapping[str, Any]
    calls: int
    parts_s: float
    ratio: float
    lo: float
    hi: float
    flat_ratio: float
    slowest: str

    def as_json(self) -> dict[str, Any]:
        """As values in SI units; None where unknown."""
        row = self.row
        return {"run": row["run"], "op": row["op"], "sequence": row["traffic"], "ranks": int(row["ranks"]),
                "mode": row["mode"], "message_bytes": int(row["message_bytes"]), "dtype": row["dtype"],
                "calls": self.calls, "time_s": float(row["time_s"]), "parts_s": self.parts_s, "ratio": self.ratio,
                "ratio_lo": _known(self.lo), "ratio_hi": _known(self.hi), "over_plain": _known(self.flat_ratio),
                "slowest_part": self.slowest}


def sequence_ratios(points: pd.DataFrame) -> list[SequenceRatio]:
    """Every sequence all of whose parts were measured in the same run and mode.

    Args:
        points: those of `Loaded.all_points`.
    """
    wholes = points[points["op"].map(lambda op: op in OPERATIONS and OPERATIONS[op].group == _GROUP).astype(bool)]
    if wholes.empty:
        return []
    runs = points[points["run"].isin(wholes["run"].unique())]
    times = {_key(row): (row["time_s"], row["time_lo_s"], row["time_hi_s"])
             for row in _rows(runs[["run", "mode", *CASE, "time_s", "time_lo_s", "time_hi_s"]])}
    return list(_ratios(_rows(wholes), times))


def find_sequences(points: pd.DataFrame) -> Iterator[Finding]:
    """The sequences that take 15 % more, or less, than the sum of their parts: one finding for each way."""
    found = sequence_ratios(points)
    for slower in (True, False):
        far = [one for one in found if (one.lo > _FAR if slower else one.hi < 1 / _FAR)]
        if not far:
            continue
        worst = max(far, key=lambda one: one.lo if slower else 1 / one.hi)
        row = worst.row
        name = row["traffic"] if row["op"] == "sequence" else row["op"]
        way = "longer than" if slower else "less than"
        why = "calls that follow each other disturb one another" if slower else "calls overlap or find warm caches"
        yield Finding(
            "note", f"sequence: {name} of {payload(row['message_bytes'])} "
            f"over {row['ranks']} ranks ({row['mode']}) takes {seconds(row['time_s'])}: "
            f"{digits(worst.ratio)} times the sum of its {counted(worst.calls, 'call')} made alone (95 % interval "
            f"{digits(worst.lo)} to {digits(worst.hi)}); {len(far)} of {counted(len(found), 'point')} of sequences "
            f"take at least 15 % {way} that sum", effect=len(far) / len(found), kind="sequence",
            advice=f"{why}: estimate a step from the sequence, not from its calls",
            **evidence_of(points, [one.row["index"] for one in far]))


def _ratios(rows: list[dict[str, Any]], times: Mapping[tuple[object, ...], _Time]) -> Iterator[SequenceRatio]:
    for row in rows:
        try:
            case = Case(op=row["op"], ranks=row["ranks"], bytes=row["message_bytes"], dtype=row["dtype"],
                        redop=row["redop"], traffic=row["traffic"])
        except UsageError:      # a row of another tool by the name of a sequence
            continue
        calls = parts(case)
        found = [(part, times.get(_case_key(row, part.case))) for part in calls]
        known = [(part, time) for part, time in found if time is not None]
        if not calls or len(known) < len(calls):
            continue
        whole: _Time = (row["time_s"], row["time_lo_s"], row["time_hi_s"])
        each = [part.times * time[0] for part, time in known]
        total = sum(each)
        ratio = whole[0] / total
        apart = math.hypot(_width(whole), sum(part.times * _half(time) for part, time in known) / total)
        most, _ = known[max(range(len(each)), key=each.__getitem__)]
        flat = times.get(_case_key(row, Case(op="all_reduce", ranks=case.ranks, bytes=case.bytes, dtype=case.dtype,
                                             redop=case.redop, in_place=True))) if case.op != "sequence" else None
        yield SequenceRatio(row, sum(part.times for part in calls), total, ratio, ratio * math.exp(-apart),
                            ratio * math.exp(apart), whole[0] / flat[0] if flat else math.nan, _words(most.case))


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, with their label as `index`."""
    rows = frame.reset_index(names="index").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _words(part: Case) -> str:
    axis = f" on {part.axis.axis}" if part.axis else ""
    return f"{part.op} {payload(part.bytes)}{axis}"


def _half(time: _Time) -> float:
    """Half of the interval of a time. Those of repeated calls add up: a part that is off is off each time."""
    return (time[2] - time[1]) / 2


def _width(time: _Time) -> float:
    return _half(time) / time[0]


def _key(row: Mapping[str, Any]) -> tuple[object, ...]:
    place = row["place"] if isinstance(row["place"], str) else None
    text = [value if isinstance(value, str) else None for value in (row["dtype"], row["redop"], row["traffic"])]
    return (row["run"], row["mode"], row["op"], *text, place, int(row["ranks"]), int(row["message_bytes"]))


def _case_key(row: Mapping[str, Any], case: Case) -> tuple[object, ...]:
    place = None if not case.operation.has_in_place else "in-place" if case.in_place else "out-of-place"
    return (row["run"], row["mode"], case.op, case.dtype, case.redop, case.traffic, place, case.ranks, case.bytes)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
