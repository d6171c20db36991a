"""Sentences and cells that the page and the terminal share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..text import units

if TYPE_CHECKING:
    from ..domains.facts import Domain

__all__ = ["CAVEAT", "METHOD", "QUANTITIES", "TOP_FINDINGS", "AnswerRow", "Cell", "answer_rows", "domain_words",
           "prediction_cell"]

TOP_FINDINGS = 3     # on the first screen

CAVEAT = ("Extrapolated figures are for this fabric with that many ranks, from a model fitted to what was measured "
          "here. They are not a forecast of an NVL72 or a CloudMatrix 384.")
QUANTITIES = {"time": "Latency: the smallest payload, isolated calls",
              "busbw": "Bus bandwidth: the largest payload, streamed calls"}
METHOD = ("Brackets are 90 % intervals. Their width was learned from predictions of public measurements whose outcome "
          "is known: it grows with the error that the same models made here at rank counts they had not seen (held-out "
          "error), with how far they disagree, and with the distance. docs/models.md says how well that works.")


Row = dict[str, Any]      # of a frame


@dataclass(frozen=True)
class Cell:
    """One figure as text: the value, beneath it its interval (or why there is none), and what differs from the rest."""

    kind: str
    value: str
    detail: str
    note: str = ""


@dataclass(frozen=True)
class AnswerRow:
    """One line of the headline; `cells` and `targets` are in the order of the target rank counts."""

    fabric: str
    op: str
    payload: str
    measured: str
    at_ranks: int
    cells: tuple[Cell, ...]
    distance: str
    holdout: str


def answer_rows(answer: pd.DataFrame, quantity: str, targets: Sequence[int]) -> list[AnswerRow]:
    """The headline of one quantity, `time` or `busbw`, as lines."""
    lines = []
    for (fabric, op), rows in answer[answer["quantity"] == quantity].groupby(["fabric", "op"], sort=False):
        measured, *others = rows.to_dict("records")
        ahead = {row["ranks"]: row for row in others}
        there = [ahead.get(target) for target in targets]
        lines.append(AnswerRow(
            str(fabric), str(op), units.payload(measured["message_bytes"]), _value(measured, quantity)[0],
            int(measured["ranks"]),
            tuple(prediction_cell(row, quantity, measured["message_bytes"]) for row in there), _distance(there),
            _holdout(there)))
    return lines


def prediction_cell(row: Row | None, quantity: str, usual_bytes: float) -> Cell:
    """A row of predictions as text; `quantity` is `time` or `busbw`. A payload unlike the usual one is said."""
    if row is None:
        return Cell("", units.UNKNOWN, "")
    if row["kind"] == "refused":
        return Cell("refused", "not extrapolated", str(row["reason"]))
    value, interval = _value(row, quantity)
    notes = [] if row["kind"] == "extrapolated" else [str(row["kind"])]
    if abs(row["message_bytes"] - usual_bytes) > usual_bytes / 100:
        notes.append(f"for {units.payload(row['message_bytes'])}")
    return Cell(str(row["kind"]), value, f"[{interval}]", ", ".join(notes))


def _value(row: Row, quantity: str) -> tuple[str, str]:
    """A time or bandwidth and its interval, as text."""
    tell, names = (units.seconds, ("time_s", "time_lo_s", "time_hi_s")) if quantity == "time" else \
        (units.rate, ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"))
    value, low, high = (tell(row[name]) for name in names)
    return value, units.span(low, high)


def _distance(targets: Sequence[Row | None]) -> str:
    """How many times the measured ranks each target is: `18x, 96x`."""
    known = [row["distance"] for row in targets if row and row["kind"] == "extrapolated"]
    return ", ".join(f"{times:.3g}x" for times in known) or units.UNKNOWN


def _holdout(targets: Sequence[Row | None]) -> str:
    """The held-out error of the series, or that nothing could be held out."""
    known = [row["holdout_error"] for row in targets if row and row["kind"] == "extrapolated"]
    if not known:
        return units.UNKNOWN
    return units.percent(known[0]) if pd.notna(known[0]) else "none"


def domain_words(domain: Domain) -> str:
    """What a domain is, in a sentence."""
    outer = domain.tiers[-1].rate_Bps
    others = "".join(f" (or {units.rate(other.value)}: {other.source})" for other in outer.alternatives)
    return (f"For orientation: {domain.accelerators.value:g} is the size of {domain.name}, {domain.accelerator}, "
            f"{domain.fabric}, {units.rate(outer.value)} one way per accelerator{others}. Source: {outer.source}.")
