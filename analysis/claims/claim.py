"""A public claim, the figures that bear on it, and what they say."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..projection.monte_carlo import Floats
from ..workload.answer import Interval, interval

__all__ = ["CONTRADICTS", "OPEN", "SUPPORTS", "Claim", "Figure", "against", "range_of", "span_of"]

SUPPORTS, CONTRADICTS, OPEN = "supports", "contradicts", "leaves open"


class Figure(NamedTuple):
    """A figure with what repeats it.

    Args:
        what: what it is of. `value`: with its interval and unit, as text.
        kind: measured, extrapolated, projected or assumed, with a remark in brackets.
        command: the command that prints it.
    """

    what: str
    value: str
    kind: str
    command: str


class Claim(NamedTuple):
    """A claim.

    Args:
        quote: as the press has it. `origin`: who said it, and under which conditions.
        figures: those that bear on it.
        verdicts: (supports, contradicts or leaves open; what).
        settles: the measurement that would narrow the figures most; empty if none would.
    """

    quote: str
    origin: str
    figures: tuple[Figure, ...]
    verdicts: tuple[tuple[str, str], ...]
    settles: str


def span_of(values: Floats | Interval, scale: float = 1.0, unit: str = "") -> str:
    """`3.5 (2.1 to 5.0) ms`, from draws or from an interval."""
    low, middle, high = (end / scale for end in (values if isinstance(values, Interval) else interval(values)))
    return f"{_digits(middle)} ({_digits(low)} to {_digits(high)}){f' {unit}' if unit else ''}"


def _digits(value: float) -> str:
    if value == 0:
        return "0"
    rounded = float(f"{value:.2g}" if abs(value) < 100 else f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def range_of(values: Sequence[float] | None) -> str:
    """`350 to 392`, over the values of all sources; one value if all agree."""
    if values is None:
        return "not known"
    low, high = _digits(min(values)), _digits(max(values))
    return low if low == high else f"{low} to {high}"


def against(values: Floats, claimed: float) -> str:
    """What draws of a figure say about a claim that it is at least `claimed`."""
    low, high = np.quantile(values, (0.05, 0.95))
    return SUPPORTS if low >= claimed else CONTRADICTS if high < claimed else OPEN
