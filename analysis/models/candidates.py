"""Candidate models of a curve: trends, and every algorithm that may have run, fitted in three ways."""

from collections.abc import Callable
from typing import NamedTuple

from ..cost.algorithms import Algorithm, algorithms_of
from ..cost.expert_parallel import algorithms_for
from . import growth, trends
from .curve import Curve, Floats, Ints
from .fit import anchored, fitted_level, size_by_size

__all__ = ["STEADY", "TRENDS", "Candidate", "candidates_for"]

STEADY = "constant bus bandwidth"


class Candidate(NamedTuple):
    """A model that extends a curve to other rank counts.

    Args:
        name: the assumption; for an algorithm, its name and how it was fitted.
        change: (curve, [target] ranks, [size][target] message sizes) -> [size][target] change of the log of time from
            the last measured rank count of each size; NaN if it has no estimate.
        algorithm: the algorithm that it models; None for a trend.
    """

    name: str
    change: Callable[[Curve, Ints, Floats], Floats]
    algorithm: Algorithm | None = None


TRENDS = (Candidate("constant", trends.constant), Candidate(STEADY, trends.bus_scale),
          Candidate("power law", trends.power_law), Candidate("last slope", trends.last_slope(1.0)),
          Candidate("last slope, damped", trends.last_slope(0.6)),
          Candidate("growth of the library", growth.growth_of_family))
_EXCHANGE = (Candidate("copies handled at a constant rate", trends.handled),)


def _may_have_run(curve: Curve) -> list[Algorithm]:
    """The algorithm that the data name, else those that the library offers, else all."""
    algorithms = algorithms_for(curve.routing) if curve.routing else algorithms_of(curve.op)
    return ([known for known in algorithms if known.name == curve.algorithm]
            or [known for known in algorithms if known.name in curve.offered]
            or [known for known in algorithms if not known.named])


def candidates_for(curve: Curve) -> list[Candidate]:
    """All candidates for `curve`; of the algorithms, only the named one if the data name one of the registry.

    The list depends on operation, algorithm, library and levels only, never on the measured times.
    """
    found = [*TRENDS, *(_EXCHANGE if curve.routing else ())]
    for algorithm in _may_have_run(curve):
        if algorithm.nodes and not curve.levels:
            continue
        if curve.levels and algorithm.name == "ring":
            unseen = bool(curve.beyond) and curve.counts[-1] <= curve.levels[-1]
            if not unseen or curve.sliced:
                found.append(Candidate("ring, pipelined", anchored(algorithm, pipelined=True), algorithm))
            if unseen and curve.sliced:              # hold-outs cannot distinguish the two if no level was crossed
                continue
        found.append(Candidate(algorithm.name, anchored(algorithm), algorithm))
        if algorithm.factor(4, 2):
            found.append(Candidate(f"{algorithm.name}, fitted level", fitted_level(algorithm), algorithm))
            found.append(Candidate(f"{algorithm.name}, size by size", size_by_size(algorithm), algorithm))
    return found
