"""Quantities for display: µs and ms, decimal GB/s, percent. Everything else in the analysis is SI."""

import math
from numbers import Real
from typing import TypeGuard

from collbench.collectives.cases.case import format_size

__all__ = ["UNKNOWN", "counted", "digits", "gigabytes", "message_rate", "microseconds", "payload", "percent", "rate",
           "seconds", "span"]

UNKNOWN = "–"
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_RATES = ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1.0, "B/s"))
_MESSAGES = ((1e6, "M messages/s"), (1e3, "k messages/s"), (1.0, "messages/s"))


def seconds(value_s: float | None) -> str:
    """`12.3 µs`, three significant digits."""
    return _scaled(value_s, _TIMES)


def rate(value_Bps: float | None) -> str:
    """`12.3 GB/s`, three significant digits, decimal units."""
    return _scaled(value_Bps, _RATES)


def message_rate(value_per_s: float | None) -> str:
    """`1.23 M messages/s`, three significant digits."""
    return _scaled(value_per_s, _MESSAGES)


def microseconds(value_s: float | None) -> str:
    """Microseconds without the unit, for a column whose header has it."""
    return digits(value_s * 1e6) if _known(value_s) else UNKNOWN


def gigabytes(value_Bps: float | None) -> str:
    """Decimal GB/s without the unit, for a column whose header has it."""
    return digits(value_Bps / 1e9) if _known(value_Bps) else UNKNOWN


def payload(size: float | None) -> str:
    """`1 MiB`; three significant digits if the size is not a multiple of a unit: `16.0 MiB`, `1.5 KiB`."""
    if not _known(size) or not size:
        return UNKNOWN
    exact = format_size(int(size))
    if not exact.endswith(" B") or size < 1024:
        return exact
    scale, unit = next(pair for pair in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
                       if size >= pair[0])
    return f"{digits(size / scale)} {unit}"


def counted(many: int, noun: str) -> str:
    """As in "1 run" and "2 runs"."""
    return f"{many} {noun}{'' if many == 1 else 's'}"


def span(low: str, high: str) -> str:
    """`1.2 to 3.4 µs` from two formatted values; a common unit is written once."""
    if UNKNOWN in (low, high):
        return UNKNOWN
    number, _, unit = low.partition(" ")
    return f"{number} to {high}" if high.endswith(f" {unit}") else f"{low} to {high}"


def percent(share: float | None) -> str:
    """`12 %`; one decimal below 10 %."""
    if not _known(share):
        return UNKNOWN
    return f"{100 * share:.1f} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if not _known(value):
        return UNKNOWN
    scale, unit = next((pair for pair in units if abs(value) >= pair[0] * 0.9995), units[-1])
    return f"{digits(value / scale)} {unit}"


def digits(value: float) -> str:
    """Three significant digits without an exponent."""
    value = float(f"{value:.3g}") if abs(value) < 1000 else value
    if value == 0:
        return "0"
    after = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{after}f}" if value < 999.5 else f"{value:.0f}"


def _known(value: object) -> TypeGuard[float]:
    """Whether `value` is a finite number, Python's or numpy's."""
    return isinstance(value, Real) and math.isfinite(value)
