"""Growth of time per doubling of the rank count beyond constant bus bandwidth, learned from earlier measurements.

Real libraries fall behind constant bus bandwidth by an amount that is typical of library family, operation, message
size, and whether nodes are crossed. Where few rank counts were measured, this knows more than the measurement.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .curve import Curve, Floats, Ints
from .regime import BANDS_BYTES
from .trends import bus_scale

__all__ = ["Growth", "GrowthRow", "growth_of_family", "growths_of"]

_SHRINK = 2.0                           # number of systems that the wider group counts as
_PERSISTS = 0.5                         # share of the growth that is expected to go on
_STEEPEST = 1.0                         # log growth per doubling beyond which a pair says nothing of the trend

GrowthRow = tuple[str, str, str, str, int, float]      # machine, op, kind, scope, band, growth


class Growth:
    """Median over machines of the log growth per doubling, for successively narrower groups."""

    def __init__(self, rows: Iterable[GrowthRow]) -> None:
        table: dict[tuple[object, ...], list[float]] = defaultdict(list)
        for _, op, kind, scope, band, growth in rows:
            for group in ((), (kind,), (kind, scope), (kind, scope, op)):
                table[(band, *group)].append(growth)
        self._table = {key: (float(np.median(values)), len(values)) for key, values in table.items()}

    def of(self, op: str, kind: str, scope: str) -> tuple[float, ...]:
        """[band] log growth per doubling; a group of few systems is shrunk towards the wider group that contains it."""
        found = []
        for band in range(len(BANDS_BYTES) + 1):
            value = 0.0
            for group in ((), (kind,), (kind, scope), (kind, scope, op)):
                middle, systems = self._table.get((band, *group), (0.0, 0))
                value = (middle * systems + _SHRINK * value) / (systems + _SHRINK)
            found.append(value)
        return tuple(found)


def growth_of_family(curve: Curve, ranks: Ints, payload: Floats, persists: float = _PERSISTS) -> Floats:
    """[size][target] log change of time: constant bus bandwidth, and the learned growth for each doubling.

    Args:
        persists: share of the growth that is expected to go on.
    """
    growth = np.array(curve.growth or (0.0,) * (len(BANDS_BYTES) + 1))
    band = np.searchsorted(BANDS_BYTES, payload)
    doublings = np.log2(ranks.astype(float))[None, :] - np.log2(curve.counts[curve.last])[:, None]
    change: Floats = bus_scale(curve, ranks, payload) + persists * growth[band] * doublings
    return change


def growths_of(curve: Curve) -> dict[int, float]:
    """By band, the median over sizes and neighbouring rank counts of the log growth per doubling in a curve.

    The step from 2 ranks says nothing of the trend: a pair neither shares links nor forwards.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for i in range(1, len(curve.counts)):
        if curve.counts[i - 1] <= 2:
            continue
        seen = curve.until(int(curve.counts[i - 1]))
        flat = seen.level + bus_scale(seen, curve.counts[i:i + 1], curve.payload_bytes[:, i:i + 1])[:, 0]
        away = np.log2(curve.counts[i] / curve.counts[seen.last])
        with np.errstate(all="ignore"):
            growth = (curve.log_time_s[:, i] - flat) / away
        for size in np.nonzero(np.isfinite(growth) & (seen.last >= 0) & (np.abs(growth) <= _STEEPEST))[0].tolist():
            found[int(np.searchsorted(BANDS_BYTES, curve.payload_bytes[size, i]))].append(float(growth[size]))
    return {band: float(np.median(values)) for band, values in found.items()}
