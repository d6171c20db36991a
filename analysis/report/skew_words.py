"""The cost of skewed routing in words: rows of a table, and the lines of the answer."""

import math
from collections.abc import Iterator, Sequence

from ..assess.expert_skew import Interval, Skew, short_traffic
from ..text.units import UNKNOWN, payload, seconds, span
from .comparisons import ComparisonTable

__all__ = ["skew_lines", "skew_table"]

_HEADS = ("exchange, size", "ranks", "busiest", "sent", "received", "its bytes", "time", "time over even", "bytes")
_CAPTION = ("Sent, received: rows of tokens over the links of the busiest rank, over the mean of all ranks; by the "
            "routing, so known at any rank count. Times are measured, with 95 % confidence intervals, or *extrapolated "
            "with 90 % prediction intervals; a ratio has both errors as if independent.")
_WIDEST = 10.0      # high over low end of an interval; a wider one is an order of magnitude


def skew_table(skew: Sequence[Skew]) -> Iterator[ComparisonTable]:
    """One table with a row for each workload, operation and rank count, by fabric; none if nothing was measured."""
    fabrics, ops = (list(dict.fromkeys(names)) for names in ([one.fabric for one in skew], [one.op for one in skew]))
    ordered = sorted(skew, key=lambda one: (fabrics.index(one.fabric), one.ranks, ops.index(one.op), -one.imbalance))
    if ordered:
        named = len(fabrics) > 1
        yield ComparisonTable("Skewed routing: the busiest rank, and time over that of even routing", _HEADS,
                              [_row(one, named) for one in ordered], _CAPTION)


def _row(one: Skew, named: bool) -> tuple[str, ...]:
    where = f", {one.fabric.partition(' ')[0]}" if named else ""
    star = "" if one.kind == "measured" else "*"
    return (f"{one.op} {short_traffic(one.traffic)} {payload(one.message_bytes)}{where}", f"{one.ranks}{star}",
            "changes" if one.rank is None else str(one.rank), f"{one.sent:.3g}", f"{one.received:.3g}",
            payload(round(one.busiest_bytes)), f"{_with_ends(one.time_s)}{star}",
            UNKNOWN if one.slower is None else f"{_over_even(one)}{_ends(one.slower)}{star}",
            UNKNOWN if one.more_bytes is None else f"{one.more_bytes:.3g}x")


def _with_ends(interval: Interval) -> str:
    value, low, high = interval
    if not (math.isfinite(low) and math.isfinite(high)):
        return seconds(value)
    return f"{seconds(value)} [{span(seconds(low), seconds(high))}]"


def _ends(interval: Interval) -> str:
    """` [0.6 to 1.1]`; empty if an end is unknown."""
    _, low, high = interval
    return f" [{span(_short(low), _short(high))}]" if math.isfinite(low) and math.isfinite(high) else ""


def _short(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def skew_lines(skew: Sequence[Skew]) -> list[str]:
    """The most skewed workload of the first operation that can be compared with even routing; then at the targets."""
    compared = [one for one in skew if one.kind == "measured" and one.slower is not None]
    if not compared:
        return []
    first = compared[0]
    one = max((other for other in compared if (other.fabric, other.op) == (first.fabric, first.op)),
              key=lambda other: other.imbalance)
    assert one.slower is not None
    who = "the busiest rank" if one.rank is None else f"rank {one.rank}"
    does = "sends" if one.sent > one.received else "receives"
    where = f" ({one.fabric.partition(' ')[0]})" if len({other.fabric for other in skew}) > 1 else ""
    measured = (f"{short_traffic(one.traffic)}: {who} {does} {_short(one.imbalance)}x the mean; {one.op}{where} "
                f"{_over_even(one)}{_ends(one.slower)}")
    ahead = [other for other in skew if other.kind == "extrapolated"
             and (other.fabric, other.op, other.traffic) == (one.fabric, one.op, one.traffic)]
    words = "; ".join(map(_ahead, ahead))
    return [measured, *([words if any(map(_is_known, ahead)) else f"{words}; times too uncertain"] if ahead else [])]


def _over_even(one: Skew) -> str:
    """`1.9x uniform`."""
    assert one.slower is not None
    return f"{_short(one.slower[0])}x {short_traffic(one.even or '')}"


def _is_known(one: Skew) -> bool:
    """Whether the interval says more than an order of magnitude."""
    return one.slower is not None and one.slower[2] / one.slower[1] <= _WIDEST


def _ahead(one: Skew) -> str:
    """`72 ranks: 18x the mean, 5.3x uniform [2 to 9]`."""
    time = f", {_over_even(one)}{_ends(one.slower)}" if _is_known(one) and one.slower else ""
    return f"{one.ranks} ranks: {_short(one.imbalance)}x the mean{time}"
