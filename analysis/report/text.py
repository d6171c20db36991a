"""Sentences and table cells that the page and the terminal share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..domains.facts import Domain
from ..text import units

__all__ = ["CAVEAT", "METHOD", "QUANTITIES", "TOP_FINDINGS", "AnswerRow", "PredictionCell", "answer_rows",
           "domain_words", "prediction_cell", "records_of"]

TOP_FINDINGS = 3     # on the first screen

CAVEAT = ("Extrapolated values are for this fabric with that many ranks, from a model fitted to the measurements "
          "here. They are not a forecast for an NVL72 or a CloudMatrix 384.")
QUANTITIES = {"time": "Latency: the smallest message, isolated calls",
              "busbw": "Bus bandwidth: the largest message, streamed calls"}
METHOD = ("Brackets are 90 % prediction intervals. Their width was calibrated on predictions of public measurements "
          "whose outcome is known: it grows with the hold-out error (the error of the same models here at rank counts "
          "left out of the fit), with the disagreement of the models, and with the distance. docs/models.md reports "
          "their coverage.")


Row = dict[str, Any]      # of a frame


def records_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame by column name."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


@dataclass(frozen=True)
class PredictionCell:
    """One value as text, with its interval (or the reason there is none) and a note if its kind or size differs."""

    kind: str
    value: str
    detail: str
    note: str = ""


@dataclass(frozen=True)
class AnswerRow:
    """One line of the headline table; `cells` are in the order of the target rank counts."""

    fabric: str
    op: str
    payload: str
    measured: str
    at_ranks: int
    cells: tuple[PredictionCell, ...]
    distance: str
    holdout: str


def answer_rows(answer: pd.DataFrame, quantity: str, targets: Sequence[int]) -> list[AnswerRow]:
    """The headline of one quantity, `time` or `busbw`, as lines."""
    lines = []
    for (fabric, op), rows in answer[answer["quantity"] == quantity].groupby(["fabric", "op"], sort=False):
        measured, *others = records_of(rows)
        ahead = {row["ranks"]: row for row in others}
        there = [ahead.get(target) for target in targets]
        lines.append(AnswerRow(
            str(fabric), str(op), units.payload(measured["message_bytes"]), _value(measured, quantity)[0],
            int(measured["ranks"]),
            tuple(prediction_cell(row, quantity, measured["message_bytes"]) for row in there), _distance(there),
            _holdout(there)))
    return lines


def prediction_cell(row: Row | None, quantity: str, usual_bytes: float) -> PredictionCell:
    """A row of predictions as text; `quantity` is `time` or `busbw`. The size is noted if it is not `usual_bytes`."""
    if row is None:
        return PredictionCell("", units.UNKNOWN, "")
    if row["kind"] == "refused":
        return PredictionCell("refused", "not extrapolated", str(row["reason"]))
    value, interval = _value(row, quantity)
    notes = [] if row["kind"] == "extrapolated" else [str(row["kind"])]
    if abs(row["message_bytes"] - usual_bytes) > usual_bytes / 100:
        notes.append(f"for {units.payload(row['message_bytes'])}")
    detail = "" if interval == units.UNKNOWN else f"[{interval}]"
    return PredictionCell(str(row["kind"]), value, detail, ", ".join(notes))


def _value(row: Row, quantity: str) -> tuple[str, str]:
    """A time or bandwidth and its interval, as text."""
    formatted, names = (units.seconds, ("time_s", "time_lo_s", "time_hi_s")) if quantity == "time" else \
        (units.rate, ("busbw_Bps", "busbw_lo_Bps", "busbw_hi_Bps"))
    value, low, high = (formatted(row[name]) for name in names)
    return value, units.span(low, high)


def _distance(targets: Sequence[Row | None]) -> str:
    """Each target over the largest measured rank count: `18x, 96x`."""
    known = [row["distance"] for row in targets if row and row["kind"] == "extrapolated"]
    return ", ".join(f"{times:.3g}x" for times in known) or units.UNKNOWN


def _holdout(targets: Sequence[Row | None]) -> str:
    """The hold-out error of the series, or `none` if nothing could be held out."""
    known = [row["holdout_error"] for row in targets if row and row["kind"] == "extrapolated"]
    if not known:
        return units.UNKNOWN
    return units.percent(known[0]) if pd.notna(known[0]) else "none"


def domain_words(domain: Domain) -> str:
    """What a domain is, in a sentence; it has a size and an outermost rate."""
    outer = domain.tiers[-1].rate_Bps if domain.tiers else None
    if outer is None or domain.accelerators is None:
        return f"For orientation: {domain.name}, {domain.accelerator}, {domain.fabric}."
    others = "".join(f" (or {units.rate(other.value)}: {other.source})" for other in outer.alternatives)
    return (f"For orientation: {domain.accelerators.value:g} is the size of {domain.name}, {domain.accelerator}, "
            f"{domain.fabric}, {units.rate(outer.value)} one way per accelerator{others}. Source: {outer.source}.")
