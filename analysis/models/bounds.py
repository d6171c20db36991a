"""Lower bounds on time, from the bytes that must move and the best rate measured on the same fabric."""

import numpy as np

from .curve import Curve, Floats
from .trends import bus_scale

__all__ = ["faster_than_s"]


def faster_than_s(curve: Curve, ranks: int, payload: Floats) -> Floats:
    """[size] lower bound on the time at `ranks` ranks in seconds; 0 up to the largest measured rank count.

    The bytes that any algorithm must move grow with the rank count like the bandwidth factor of the operation, or not
    at all if switches reduce, and no operation takes fewer steps with more ranks. So no time is below that of the
    largest measured rank count for the same bytes, except for the fold to a power of two, which at most doubles it.
    Rule 11 of Hoefler and Belli (SC'15): show the bound next to the number.
    """
    measured = np.nan_to_num(np.exp(curve.level))
    if ranks <= curve.counts[-1]:
        return np.zeros(len(measured))
    less = np.minimum(bus_scale(curve, np.array([ranks]), payload[:, None])[:, 0], 0.0)
    return measured / 2 * np.exp(less)
