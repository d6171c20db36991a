"""Figures that no machine can have measured: misprints, and units that were misread."""

import math

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.records.record import Imported

from .names import is_known

__all__ = ["why_impossible"]

_SHORTEST_S = 1e-8          # an exchange over 1 m of wire and back takes 1e-8 s at the speed of light
_LONGEST_S = 1e6
_MOST_BYTES = 1 << 50
_MOST_RANKS = 1 << 24
# Of one accelerator: beyond its memory (about 1e13 bytes/s in 2026) nothing can be sent or received.
_FASTEST_Bps = 2e13


def why_impossible(result: Imported) -> str | None:
    """Why the time, size or rank count of a figure cannot be; None if it can."""
    if not 1 <= result.ranks <= _MOST_RANKS:
        return f"{result.ranks} ranks cannot be"
    if not 0 <= result.message_bytes <= _MOST_BYTES:
        return f"a message of {result.message_bytes} bytes cannot be"
    time_s = result.time_s
    if time_s is None:
        return None
    if not math.isfinite(time_s) or time_s < 0:
        return f"a time of {time_s:g} s cannot be"
    if time_s == 0:
        return "no time above zero"
    if result.ranks < 2 or result.message_bytes < 1:
        return None
    if not _SHORTEST_S <= time_s <= _LONGEST_S:
        return f"a time of {time_s:g} s cannot be"
    factor = OPERATIONS[result.op].bus_factor(result.ranks) if is_known(result.op) else 1.0
    rate = result.message_bytes * factor / time_s
    return f"{rate / 1e9:.4g} GB/s in each rank cannot be" if rate > _FASTEST_Bps else None
