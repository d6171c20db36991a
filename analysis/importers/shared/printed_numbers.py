"""Printed numbers with their rounding error, and whether time, size and bandwidth are consistent."""

import re
from typing import NamedTuple

__all__ = ["PrintedNumber", "misfit", "printed_number", "scaled", "whole"]

_NUMBER = re.compile(r"([+-]?)(\d{1,19})(?:\.(\d{0,19}))?(?:[eE]([+-]?\d{1,3}))?")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_SLACK = 2e-3       # relative, beyond rounding: a tool may round its own time before it divides


class PrintedNumber(NamedTuple):
    """A number as printed, and half a unit of its last place."""

    value: float
    error: float


def printed_number(text: str) -> PrintedNumber | None:
    """`text` as a number, or None: `N/A`, `nan`, `inf` and words are not numbers."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    power = int(found[4] or 0)
    if abs(power) > 60:
        return None
    return PrintedNumber(float(text), 0.5 * 10.0 ** (power - len(found[3] or "")))


def whole(text: str) -> int | None:
    """`text` as an integer, or None; at most 18 digits, which fits 64 bits."""
    return int(text) if _WHOLE.fullmatch(text) else None


def scaled(number: PrintedNumber, factor: float) -> PrintedNumber:
    """`number` in another unit."""
    return number if factor == 1.0 else PrintedNumber(number.value * factor, number.error * factor)


def misfit(size_bytes: float, time_s: PrintedNumber, rate_Bps: PrintedNumber, itemsize: int | None = None,
           ranks: int | None = None) -> str | None:
    """Why `rate_Bps` is not `size_bytes` over `time_s`, beyond rounding; None if it is.

    The known unit confusions are tried and named.
    """
    if size_bytes <= 0 or time_s.value <= 0 or _fits(size_bytes, time_s, rate_Bps):
        return None
    for factor, words in _confusions(itemsize, ranks):
        if _fits(size_bytes * factor, time_s, rate_Bps):
            return words
    return "no known unit confusion explains it"


def _fits(size_bytes: float, time_s: PrintedNumber, rate_Bps: PrintedNumber) -> bool:
    slowest, fastest = time_s.value + time_s.error, max(time_s.value - time_s.error, 1e-30)
    return (size_bytes / slowest * (1 - _SLACK) - rate_Bps.error <= rate_Bps.value
            <= size_bytes / fastest * (1 + _SLACK) + rate_Bps.error)


def _confusions(itemsize: int | None, ranks: int | None) -> list[tuple[float, str]]:
    """Factors by which a printed bandwidth is off, and what they mean; the most frequent first."""
    known = [(1e9 / 2**30, "it fits GiB/s (2^30), not GB/s"), (1e6 / 2**20, "it fits MiB/s (2^20), not MB/s")]
    if itemsize and itemsize > 1:
        known += [(itemsize, f"it fits a size in elements of {itemsize} bytes, not in bytes"),
                  (1 / itemsize, f"it counts elements of {itemsize} bytes, not bytes")]
    if ranks and ranks > 1:
        ring = (ranks - 1) / ranks
        known += [(ring, "it already includes the factor (n-1)/n"),
                  (2 * ring, "it already includes the factor 2(n-1)/n"),
                  (ranks, "it counts the blocks of all ranks"), (1 / ranks, "it counts the block of one rank")]
    return [*known, (8, "it fits Gbit/s, not GB/s"), (2, "it counts the message twice"),
            (1e-3, "it fits a time in ms"), (1e3, "it fits a time in ns")]
