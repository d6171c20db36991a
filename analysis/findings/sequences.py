"""Sequences of calls against the sum of their parts, measured alone in the same run."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from collbench.collectives.cases.case import Case
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.families.sequence import Part, parts
from collbench.collectives.errors import UsageError

from ..frames.columns import CASE
from ..text.units import counted, digits, payload, seconds
from .finding import Finding, evidence_of

__all__ = ["SequenceRatio", "find_sequences", "sequence_ratios"]

_GROUP = "sequences"
_FAR = 1.15     # ratio to the sum of the parts, or its inverse, at the near end of the interval
_Time = tuple[float, float, float]      # seconds, and the ends of its 95 % interval; NaN where unknown
_SHOWN = ("run", "mode", *CASE, "time_s", "time_lo_s", "time_hi_s")
_TEXT = ("op", "dtype", "redop", "traffic", "place")


class SequenceRatio(NamedTuple):
    """A sequence in one mode of one run.

    Args:
        row: the point of the sequence: the columns of `_SHOWN`, and its label as `index`.
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
    return list(_ratios(_rows(wholes), _times(points[points["run"].isin(wholes["run"].unique())])))


def find_sequences(points: pd.DataFrame, found: Sequence[SequenceRatio] | None = None) -> Iterator[Finding]:
    """The sequences that take 15 % more, or less, than the sum of their parts: one finding for each way.

    Args:
        found: the `sequence_ratios` of `points` where they are known already.
    """
    found = sequence_ratios(points) if found is None else found
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


class _Whole(NamedTuple):
    """A sequence: its calls, where the time of each stands in `_times`, and that of a plain all-reduce."""

    calls: tuple[Part, ...]
    keys: list[tuple[object, ...]]
    flat: tuple[object, ...] | None


def _ratios(rows: Iterable[dict[str, Any]], times: Mapping[tuple[object, ...], _Time]) -> Iterator[SequenceRatio]:
    whole_of = cache(_whole)        # runs and modes repeat the same cases
    for row in rows:
        case = whole_of(row["op"], row["ranks"], row["message_bytes"], row["dtype"], row["redop"], row["traffic"])
        if case is None or not case.calls:
            continue
        here = (row["run"], row["mode"])
        found = [times.get((*here, *key)) for key in case.keys]
        known = [(part, time) for part, time in zip(case.calls, found, strict=True) if time is not None]
        if len(known) < len(case.calls):
            continue
        whole: _Time = (row["time_s"], row["time_lo_s"], row["time_hi_s"])
        each = [part.times * time[0] for part, time in known]
        total = sum(each)
        ratio = whole[0] / total
        apart = math.hypot(_width(whole), sum(part.times * _half(time) for part, time in known) / total)
        most, _ = known[max(range(len(each)), key=each.__getitem__)]
        flat = times.get((*here, *case.flat)) if case.flat else None
        yield SequenceRatio(row, sum(part.times for part in case.calls), total, ratio, ratio * math.exp(-apart),
                            ratio * math.exp(apart), whole[0] / flat[0] if flat else math.nan, _words(most.case))


def _whole(op: str, ranks: int, message_bytes: int, dtype: str, redop: str, traffic: str) -> _Whole | None:
    """The sequence of a row; None for a row of another tool by the name of a sequence."""
    try:
        case = Case(op=op, ranks=ranks, bytes=message_bytes, dtype=dtype, redop=redop, traffic=traffic)
    except UsageError:
        return None
    calls = parts(case)
    flat = _case_key(Case(op="all_reduce", ranks=ranks, bytes=message_bytes, dtype=dtype, redop=redop, in_place=True)) \
        if op != "sequence" else None
    return _Whole(calls, [_case_key(part.case) for part in calls], flat)


def _times(points: pd.DataFrame) -> dict[tuple[object, ...], _Time]:
    """The time of each point, by run, mode and case."""
    text = [[value if isinstance(value, str) else None for value in points[name].tolist()] for name in _TEXT]
    run, mode, ranks, size = (points[name].tolist() for name in ("run", "mode", "ranks", "message_bytes"))
    seconds_of = (points[name].tolist() for name in ("time_s", "time_lo_s", "time_hi_s"))
    return dict(zip(zip(run, mode, *text, ranks, size, strict=True), zip(*seconds_of, strict=True), strict=True))


def _rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows as dicts, with their label as `index`."""
    names = ("index", *_SHOWN)
    columns = [frame.index.tolist(), *(frame[name].tolist() for name in _SHOWN)]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _words(part: Case) -> str:
    axis = f" on {part.axis.axis}" if part.axis else ""
    return f"{part.op} {payload(part.bytes)}{axis}"


def _half(time: _Time) -> float:
    """Half of the interval of a time. Those of repeated calls add up: a part that is off is off each time."""
    return (time[2] - time[1]) / 2


def _width(time: _Time) -> float:
    return _half(time) / time[0]


def _case_key(case: Case) -> tuple[object, ...]:
    place = None if not case.operation.has_in_place else "in-place" if case.in_place else "out-of-place"
    return (case.op, case.dtype, case.redop, case.traffic, place, case.ranks, case.bytes)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
