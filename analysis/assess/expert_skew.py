"""What skewed routing costs: which rank is the busiest, and whether time follows its bytes."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from collbench.collectives.cases.moe_patterns import PATTERNS
from collbench.collectives.cases.moe_workload import is_workload, parse_workload

from ..cost.operations import is_routed
from ..cost.token_loads import loads_of, moved_bytes, tokens_of
from ..findings.finding import Finding, evidence_of
from ..text.units import seconds, span

__all__ = ["Skew", "find_skew", "routed", "short_traffic", "skews", "times_text"]

_EVEN = ("balanced", "uniform")         # what others are compared with, by preference
_FIRST = ("moe_pair", "moe_dispatch", "moe_combine")
_KEYS = ("fabric", "op", "dtype", "traffic", "mode", "message_bytes")
_Row = Mapping[Hashable, Any]
_ADVICE = ("where ranks share cores, latency decides, or other load comes and goes, the busiest rank does not decide: "
           "measure larger messages again, with a core for each rank")
Interval = tuple[float, float, float]       # value, low end, high end


class Skew(NamedTuple):
    """One exchange at one rank count: its loads by the routing, its time, and both over those of even routing.

    Args:
        mode: isolated where that was measured: calls back to back hide how ranks wait for each other.
        tokens: of a rank.
        rank: the busiest; None where that changes from step to step.
        sent, received: rows over the links of the busiest sender and receiver, over the mean of all ranks.
        busiest_bytes: what the busiest rank sends or receives.
        kind: `measured` or `extrapolated`.
        time_s: with its 95 % confidence or 90 % prediction interval; an end that is unknown is NaN.
        even: the workload with even routing that it is compared with; None if that was not measured.
        slower: time over that of `even`. The two errors are added as if independent.
        more_bytes: the same of the bytes of the busiest rank.
    """

    fabric: str
    op: str
    mode: str
    traffic: str
    ranks: int
    tokens: int
    message_bytes: int
    rank: int | None
    sent: float
    received: float
    busiest_bytes: float
    kind: str
    time_s: Interval
    even: str | None
    slower: Interval | None
    more_bytes: float | None

    @property
    def imbalance(self) -> float:
        """Rows of the busiest sender or receiver over the mean of all ranks."""
        return max(self.sent, self.received)

    @property
    def follows(self) -> bool | None:
        """Whether time grew as much as the busiest rank's bytes, within its interval; None if that is unknown."""
        if self.slower is None or self.more_bytes is None or not all(map(math.isfinite, self.slower)):
            return None
        return self.slower[1] <= self.more_bytes <= self.slower[2]

    def as_json(self) -> dict[str, Any]:
        """SI units; None where unknown."""
        found = {**self._asdict(), "imbalance": self.imbalance, "follows": self.follows}
        return {name: _known(value) for name, value in found.items()}


def _known(value: object) -> object:
    if isinstance(value, tuple):
        return [_known(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def routed(points: pd.DataFrame) -> pd.DataFrame:
    """Points of exchanges whose routing is known."""
    ops = [op for op in points["op"].unique() if is_routed(op)]
    mine = points[points["op"].isin(ops)]
    return mine[mine["traffic"].isin([text for text in mine["traffic"].dropna().unique() if is_workload(text)])]


def skews(points: pd.DataFrame, predictions: pd.DataFrame | None = None, targets: Sequence[int] = ()) -> list[Skew]:
    """The largest message at the most ranks of each fabric, operation and workload, then the same at the targets.

    Args:
        points: measured, with `fabric`.
        predictions: frame of `forecast.extrapolate` for the same series, with `fabric`; None for what was measured
            alone.
    """
    usable = routed(points)
    if usable.empty:
        return []
    by_op = ["fabric", "op"]
    usable = usable[usable["ranks"].eq(usable.groupby(by_op)["ranks"].transform("max"))]
    usable = usable[usable["message_bytes"].eq(usable.groupby([*by_op, "traffic"])["message_bytes"].transform("max"))]
    usable = usable.sort_values("mode", kind="stable").drop_duplicates([*by_op, "dtype", "traffic"])
    order = usable["op"].map(_FIRST.index)
    measured = usable.loc[order.sort_values(kind="stable").index].to_dict("records")
    found = list(_compared(measured, "measured"))
    for target in targets if predictions is not None else ():
        assert predictions is not None
        there = predictions[predictions["ranks"].eq(target) & predictions["kind"].eq("extrapolated")]
        rows = {tuple(row[name] for name in _KEYS): row for row in there.to_dict("records")}
        found += _compared([row for one in measured if (row := rows.get(tuple(one[name] for name in _KEYS)))],
                           "extrapolated")
    return found


def _compared(rows: Sequence[_Row], kind: str) -> Iterator[Skew]:
    by_key = {tuple(row[name] for name in _KEYS): row for row in rows}
    for row in rows:
        traffic, ranks, op, dtype = str(row["traffic"]), int(row["ranks"]), str(row["op"]), str(row["dtype"])
        tokens = round(tokens_of(traffic, dtype, float(row["message_bytes"])))
        loads = loads_of(traffic, ranks, tokens)
        sent, received = (loads.received, loads.sent) if op == "moe_combine" else (loads.sent, loads.received)
        even = next((text for text in _even(traffic) if tuple({**row, "traffic": text}[name] for name in _KEYS)
                     in by_key), None)
        other = by_key[tuple({**row, "traffic": even}[name] for name in _KEYS)] if even else None
        own = moved_bytes(op, traffic, dtype, ranks, tokens)
        mean = max(float(loads.sent.mean()), 1e-9)
        yield Skew(str(row["fabric"]), op, str(row["mode"]), traffic, ranks, tokens, int(row["message_bytes"]),
                   loads.hottest[0] if len(set(loads.hottest)) == 1 else None, float(sent.max()) / mean,
                   float(received.max()) / mean, own, kind, _interval(row), even,
                   _over(row, other) if other else None,
                   own / moved_bytes(op, even, dtype, ranks, tokens) if even else None)


def _even(traffic: str) -> Iterator[str]:
    """The same workload with even routing; none if it is even itself."""
    work = parse_workload(traffic)
    if work.pattern.name not in _EVEN:
        yield from (work._replace(pattern=PATTERNS[name], values=()).text for name in _EVEN)


def _interval(row: _Row) -> Interval:
    value, low, high = (float(row[name]) for name in ("time_s", "time_lo_s", "time_hi_s"))
    return value, low, high


def _over(row: _Row, other: _Row) -> Interval:
    """Ratio of two times, with the root of the sum of squares of their log errors."""
    (time, low, high), (base, least, most) = _interval(row), _interval(other)
    ratio = time / base
    down, up = math.hypot(math.log(time / low), math.log(most / base)), math.hypot(math.log(high / time),
                                                                                 math.log(base / least))
    return ratio, ratio * math.exp(-down), ratio * math.exp(up)


def short_traffic(traffic: str) -> str:
    """The pattern with its own values, and the implementation unless it is the usual one: `zipf:1.2`."""
    return parse_workload(traffic)._replace(seed=0, steps=4, hidden=7168, topk=8, experts=256, redundant=0, group=8,
                                            placement="block").text


def times_text(ratio: float) -> str:
    """`1.9 times`."""
    return f"{ratio:.3g} times" if ratio >= 1 else f"{ratio:.2g} times"


def find_skew(found: Sequence[Skew], points: pd.DataFrame) -> Iterator[Finding]:
    """For each fabric and operation the most skewed workload that was measured: which rank, and what it costs."""
    measured = [one for one in found if one.kind == "measured" and one.more_bytes is not None]
    for fabric, op in dict.fromkeys((one.fabric, one.op) for one in measured):
        one = max((one for one in measured if (one.fabric, one.op) == (fabric, op)), key=lambda one: one.imbalance)
        assert one.slower is not None
        assert one.more_bytes is not None
        assert one.even is not None
        who = "the busiest rank, another in each step," if one.rank is None else f"rank {one.rank} is the busiest: it"
        does = "sends" if one.sent > one.received else "receives"
        limits = f" [{span(f'{one.slower[1]:.3g}', f'{one.slower[2]:.3g}')}]" if one.follows is not None else ""
        follows = {True: "time follows its bytes", False: "time does not follow its bytes",
                   None: "too few samples to tell whether time follows its bytes"}[one.follows]
        rows = points[points["fabric"].eq(fabric) & points["op"].eq(op) & points["traffic"].eq(one.traffic)
                      & points["ranks"].eq(one.ranks) & points["message_bytes"].eq(one.message_bytes)]
        yield Finding("note", f"{op} with routing {short_traffic(one.traffic)} over {one.ranks} ranks, {fabric}: {who} "
                      f"{does} {times_text(one.imbalance)} the mean; its bytes are {times_text(one.more_bytes)} those "
                      f"of {short_traffic(one.even)} routing, the time ({seconds(one.time_s[0])}) is "
                      f"{times_text(one.slower[0])}{limits} as long: {follows}", kind="skewed routing",
                      advice="" if one.follows else _ADVICE, **evidence_of(rows))
