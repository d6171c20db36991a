"""Figures that no machine can have measured: misprints, and units that were misread.

These are limits of physics, for logs and journals alike; the fastest machines of 2026 are well within them.
"""

import math

from collbench.collectives.cases.catalog import OPERATIONS

__all__ = [
    "LEAST_CALL_S",
    "LEAST_S",
    "MOST_BYTES",
    "MOST_RANKS",
    "MOST_S",
    "FASTEST_Bps",
    "impossible_count",
    "impossible_time",
]

MOST_BYTES = 1 << 54        # 18 PB: more than all memory of the largest machine
MOST_RANKS = 1 << 21        # the largest jobs had 1.6 million
MOST_S = 1e6                # eleven days for one message
LEAST_S = 1e-9              # light goes 0.3 m: one way to another accelerator
# The least for a call that has ended on both sides. Messages back to back may follow each other more closely than light
# travels: a card starts some 4e8 a second.
LEAST_CALL_S = 1e-8
# In each rank. What it sends is read from its memory and what it receives is written there, and the fastest memory of
# an accelerator moves 2.2e13 bytes a second (HBM4, 2026).
FASTEST_Bps = 2e13

_OVERLAPPING = frozenset(name for name, row in OPERATIONS.items() if row.windowed)
# Nothing travels between ranks, so light does not limit them.
_WITHIN_A_RANK = frozenset({"noop", *(name for name, row in OPERATIONS.items() if row.memories)})


def impossible_count(message_bytes: float, ranks: float) -> str | None:
    """Why a size or a rank count is impossible; None if both are possible."""
    if not 1 <= ranks <= MOST_RANKS:
        return f"{ranks:.7g} ranks are impossible"
    if not 0 <= message_bytes <= MOST_BYTES:
        return f"a message of {message_bytes:.7g} bytes is impossible"
    return None


def impossible_time(op: str, ranks: int, message_bytes: float, time_s: float) -> str | None:
    """Why a time per message in seconds is impossible; None if it is possible, or if the operation is an empty call."""
    if time_s == 0 and op == "noop":        # an empty call may take less than a clock can tell
        return None
    if not (math.isfinite(time_s) and 0 < time_s <= MOST_S):
        return f"a time of {time_s:g} s is impossible"
    row = OPERATIONS.get(op)
    factor = row.bus_factor(ranks) if row and not row.summed else 1.0
    rate_Bps = message_bytes * factor / time_s
    if rate_Bps > FASTEST_Bps:
        return f"{rate_Bps / 1e9:.4g} GB/s in each rank is impossible: no memory is that fast"
    least_s = LEAST_S if op in _OVERLAPPING else LEAST_CALL_S
    if time_s < least_s and ranks > 1 and op not in _WITHIN_A_RANK:
        return f"a time of {time_s:g} s is impossible: light is not that fast"
    return None
