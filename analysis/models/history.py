"""Errors of candidates on earlier measurements, by operation, library family, place and distance."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from .curve import Curve
from .regime import BUCKETS, bucket, counts_class

__all__ = ["History", "Row", "history_class", "scope_of"]

_SHRINK = 10.0       # number of curves that the wider group counts as
_NOTHING = np.log(0.4)

Row = tuple[str, str, str, str, str, int, float, int]      # machine, op, kind, scope, candidate, bucket, sum, curves


def history_class(distance: float, counts: int, largest: int) -> int:
    """Class of a forecast in the error history: its distance, and whether it rests on one rank count, or on a pair."""
    return bucket(distance) + (len(BUCKETS) + 1) * max(0, 2 - counts_class(counts, largest))


def scope_of(curve: Curve) -> str:
    """`switched`, or `many` if the curve crosses the innermost known level of the machine, else `one`."""
    if curve.switched:
        return "switched"
    return "many" if curve.levels and curve.counts[-1] > curve.levels[-1] else "one"


def _groups(op: str, kind: str, scope: str) -> tuple[tuple[str, ...], ...]:
    """Groups of curves, ever narrower. Kernels of expert-parallel exchanges tell of each other only."""
    return (("exchange",) if kind == "exchange" else (), (op,), (op, kind), (op, kind, scope))


class History:
    """Mean log of absolute log errors by candidate and distance, for successively narrower groups of curves."""

    def __init__(self, rows: Iterable[Row]) -> None:
        table: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0])
        for _, op, kind, scope, name, distance, total, curves in rows:
            for group in {(), *_groups(op, kind, scope)}:
                entry = table[(name, distance, *group)]
                entry[0] += total
                entry[1] += curves
        self._table = dict(table)

    def log_error(self, name: str, distance: int, op: str, kind: str, scope: str) -> float:
        """Of a candidate; a group of few curves is shrunk towards the wider group that contains it."""
        found, pulled = _NOTHING, 0.0
        for group in _groups(op, kind, scope):
            total, curves = self._table.get((name, distance, *group), (0.0, 0))
            if curves:
                found = (total + pulled * found) / (curves + pulled)
            pulled = _SHRINK
        return float(found)
