"""Simpler models as baselines, evaluated on the same points."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..cost.algorithms import algorithms_of
from ..models import growth, trends
from ..models.curve import Curve, Floats, Ints
from ..models.fit import design, fit_algorithm
from .normal_form import normal_form

__all__ = ["BASELINES"]


def _hockney(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """Latency-bandwidth model with the step counts of the usual algorithm and one latency, not anchored to a point."""
    algorithm = next((known for known in algorithms_of(curve.op) if known.name == curve.algorithm),
                     algorithms_of(curve.op)[0])
    flat = replace(curve, levels=())
    terms = design(algorithm, ranks, payload, ())
    return np.log(np.maximum(terms @ fit_algorithm(flat, algorithm).parameters(), 1e-12))


def _growth_table(curve: Curve, ranks: Ints, payload: Floats) -> Floats:
    """Constant bus bandwidth, and the growth per doubling that is typical of library family and operation."""
    return curve.level[:, None] + growth.growth_of_family(curve, ranks, payload, persists=1.0)


BASELINES: dict[str, Callable[[Curve, Ints, Floats], Floats]] = {
    "last value": lambda curve, ranks, payload: curve.level[:, None] + trends.constant(curve, ranks, payload),
    "last value scaled by busbw factor":
        lambda curve, ranks, payload: curve.level[:, None] + trends.bus_scale(curve, ranks, payload),
    "growth table": _growth_table,
    "power law": lambda curve, ranks, payload: curve.level[:, None] + trends.power_law(curve, ranks, payload),
    "latency-bandwidth": _hockney,
    "Extra-P's normal form": normal_form,
}
