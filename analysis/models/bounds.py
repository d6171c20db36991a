"""Times that nothing beats: what must be moved, at the best rate that this very fabric has shown."""

import numpy as np

from .curve import Curve, Floats
from .trends import bus_scale

__all__ = ["faster_than_s"]


def faster_than_s(curve: Curve, ranks: int, payload: Floats) -> Floats:
    """[size] seconds below which `ranks` ranks cannot finish `payload`; 0 below the largest measured rank count.

    The bytes that any algorithm must move grow with ranks as the bandwidth factor of the operation does, or not at
    all where switches reduce, and no operation takes fewer steps with more ranks. So no time is below that of the
    largest measured rank count for as many bytes, but for the fold to a power of two, which at most doubles it. After
    rule 11 of Hoefler and Belli (SC'15): show the bound beside the number.
    """
    measured = np.nan_to_num(np.exp(curve.level))
    if ranks <= curve.counts[-1]:
        return np.zeros(len(measured))
    less = np.minimum(bus_scale(curve, np.array([ranks]), payload[:, None])[:, 0], 0.0)
    return measured / 2 * np.exp(less)
