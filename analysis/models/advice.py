"""Text beside a forecast: warnings, most important first, and the measurement that would narrow it most."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..cost.levels import Tiers
from ..text.units import counted
from ..text.units import payload as size_text
from .curve import Curve
from .series import Points

__all__ = ["next_measurement", "warnings"]

_WIDE = 1.25     # a size whose log interval is this many times the usual width is worth measuring first
_FAR = 8         # a forecast at more than this many times the largest measured rank count is speculative


def warnings(points: Points, curve: Curve, target: int, tiers: Tiers, jumps: Sequence[tuple[int, int]],
             fitted_from: int | None) -> str | None:
    """Warnings about a forecast at `target` ranks, most important first; None if there are none.

    Args:
        jumps: rank counts at which times jump, and at how many sizes.
        fitted_from: the smallest rank count fitted to, if a jump excludes smaller ones; else None.
    """
    found = [tiers.words] if tiers.words else []
    counts, largest = len(curve.counts), int(curve.counts[-1])
    if target / largest > _FAR:
        found.append(f"speculative: {target / largest:.3g} times the largest measured rank count")
    if counts < 3:
        found.append(f"only {counted(counts, 'rank count')} measured, too few for a hold-out: the "
                     "interval is as wide as public measurements with so few were off")
    for at, sizes in jumps:
        fitted = "; only larger rank counts were fitted" if at == fitted_from else ""
        found.append(f"time jumps at {at} ranks as if another algorithm took over there "
                     f"({sizes} of {len(curve.sizes)} sizes){fitted}")
    crowded = np.unique(points.ranks[points.crowded]).tolist()
    if crowded:
        found.append(f"more ranks than cores at {', '.join(map(str, crowded))} ranks")
    return "; ".join(found) or None


def next_measurement(rows: Sequence[Mapping[str, object]], curve: Curve, target: int) -> str | None:
    """The rank count and sizes whose measurement would narrow the interval most; None if nothing stands out."""
    largest = int(curve.counts[-1])
    if len(curve.counts) < 2 or target / largest <= 2 or not rows:
        return None
    width = np.log([_number(row["time_hi_s"]) / _number(row["time_lo_s"]) for row in rows])
    unsure = np.nonzero(width > _WIDE * np.median(width))[0]
    wide = [int(_number(rows[at]["message_bytes"])) for at in unsure.tolist()]
    sizes = f", above all {size_text(min(wide))} to {size_text(max(wide))}" if len(wide) > 1 else \
        f", above all {size_text(wide[0])}" if wide else ""
    return f"to narrow this most, measure {min(2 * largest, target)} ranks{sizes}"


def _number(value: object) -> float:
    assert isinstance(value, (int, float))
    return value
