"""The answer in words: the sentence above the first chart, and its numbers with interval, kind and assumption."""

from collections.abc import Iterator
from typing import NamedTuple

from ..links import LinkMatrix
from ..links.link_findings import QUANTITIES
from ..text.units import message_rate, payload, percent, rate, seconds, span
from .answer import Outlook, Result

__all__ = ["NumberWords", "figure", "headline_words", "link_number_words", "number_words"]


class NumberWords(NamedTuple):
    """One number of the first screen.

    Args:
        title: its rank count and how it is known: measured, extrapolated or projected.
        value: the number, or that it is not known.
        interval: its interval with coverage; empty where there is none.
        notes: what it rests on, or why it is not known and what to measure.
        command: what to run to know it; empty where it is known.
        kind: `measured`, `extrapolated`, ... for its style.
    """

    title: str
    value: str
    interval: str
    notes: tuple[str, ...]
    command: str
    kind: str


def figure(result: Result) -> str:
    """The rate of messages where this is the figure, else the bandwidth, else the time."""
    if result.messages_per_s:
        return message_rate(result.messages_per_s)
    return rate(result.busbw_Bps) if result.busbw_Bps else seconds(result.time_s)


def headline_words(result: Result) -> str:
    """`all_reduce 1 GiB, 16 ranks: 339 GB/s measured, normal (40th percentile of 23 runs)`."""
    size = f" {payload(result.message_bytes)}" if result.message_bytes else ""
    value = figure(result)
    basis = f" ({result.reference.basis})" if result.reference.basis else ""
    return f"{result.op}{size}, {result.ranks} ranks: {value} measured, {result.reference.word}{basis}"


def number_words(result: Result) -> Iterator[NumberWords]:
    """The result as measured, then at each target."""
    value, other = figure(result), f"{seconds(result.time_s)} a call, " if result.busbw_Bps else ""
    interval = f"± {percent(result.plus_minus)} (95 % interval)" if result.plus_minus is not None else \
        "no interval: one value" if result.samples == 1 else "no interval: too few samples"
    how = f"{other}{result.mode}, {result.library}, n = {result.samples}"
    reference = (result.reference.detail,) if result.reference.detail else ()
    yield NumberWords(f"{result.ranks} ranks, measured", value, interval, (how, *reference), "", "measured")
    commands: set[str] = set()
    for outlook in result.outlook:
        yield _at_target(outlook, result.busbw_Bps is not None, outlook.command not in commands)
        commands.add(outlook.command)


def _at_target(outlook: Outlook, by_rate: bool, new: bool) -> NumberWords:
    """`new`: no number before it has said what to measure."""
    shown, triple = (rate, outlook.busbw_Bps) if by_rate else (seconds, outlook.time_s)
    assumed = (f"assumes {outlook.assumption}",) if outlook.assumption else ()
    if triple is None:
        counts = " and ".join(map(str, outlook.measure))
        instead = (f"measure {counts} ranks first:",) if outlook.measure and new else ()
        notes = (*([outlook.why] if outlook.why else []), *instead)
        return NumberWords(f"{outlook.ranks} ranks", "not known", "", notes, outlook.command if new else "",
                           "unknown")
    value, low, high = map(shown, triple)
    time = (f"{seconds(outlook.time_s[0])} a call",) if by_rate and outlook.time_s else ()
    interval = f"{span(low, high)} ({percent(outlook.level)} interval)"
    return NumberWords(f"{outlook.ranks} ranks, {outlook.kind}", value, interval, (*time, *assumed), "", outlook.kind)


def link_number_words(matrix: LinkMatrix) -> Iterator[NumberWords]:
    """For each quantity what is typical of the fastest tier of links, and the worst pair."""
    for quantity in QUANTITIES:
        cells = matrix.cells[matrix.cells[quantity.column].notna()]
        tiers = matrix.tiers[matrix.tiers["quantity"].eq(quantity.name) & matrix.tiers["tier"].eq(0)]
        if cells.empty or tiers.empty:
            continue
        by_value = cells.sort_values(quantity.column, ascending=quantity.unit == "Bps", kind="stable")
        worst, tier = by_value.iloc[0], tiers.iloc[0]
        limits = span(quantity.show(tier["lowest"]), quantity.show(tier["highest"]))
        size = payload(matrix.message_bytes.get(quantity.name))
        yield NumberWords(f"{quantity.words}, {size}, measured", quantity.show(tier["typical"]),
                          f"{limits} between {tier['cells']:.0f} pairs",
                          (f"worst: rank {worst['src']:.0f} to {worst['dst']:.0f}, "
                           f"{quantity.show(worst[quantity.column])}",), "", "measured")
