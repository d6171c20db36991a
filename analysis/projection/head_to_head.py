"""Comparison of two domains: which is faster, how likely, from which message size on, and per which unit."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..domains.facts import Domain
from ..frames.bandwidth import bus_factor
from .monte_carlo import Draws, Floats

__all__ = ["NORMALISATIONS", "Crossover", "DrawKey", "Versus", "crossovers", "versus"]

DrawKey = tuple[str, str, str | None, int]      # domain, operation, traffic, requested size in bytes
Interval = tuple[float, float, float]           # low, middle, high
_ENDS = (0.05, 0.5, 0.95)
# Normalisations of the bus bandwidth with their units: per accelerator, per dense BF16 rate of one accelerator, per
# power of the domain, and in total. The result depends on the choice, so it is always stated.
NORMALISATIONS = {"per accelerator": "GB/s", "per FLOP": "B/kFLOP", "per watt": "GB/s/kW", "per domain": "TB/s"}


class Versus(NamedTuple):
    """One operation and message size in two domains.

    Args:
        faster: probability that the first takes less time.
        figures: by normalisation, for each domain (low, middle, high) in the unit of the normalisation; None if a fact
            is missing.
        ahead: by normalisation, the probability that the first has the higher figure.
    """

    op: str
    asked_bytes: int
    domains: tuple[str, str]
    faster: float
    figures: dict[str, tuple[Interval | None, Interval | None]]
    ahead: dict[str, float | None]
    traffic: str | None = None


class Crossover(NamedTuple):
    """Two adjacent message sizes between which the faster domain changes; `to` is faster above."""

    op: str
    low_bytes: int
    high_bytes: int
    to: str


def versus(kept: Mapping[DrawKey, Draws], first: str, second: str, domains: Mapping[str, Domain],
           ranks: Mapping[str, int]) -> list[Versus]:
    """All operations and message sizes with draws for both domains.

    Args:
        kept: draws by domain, operation, traffic and requested size.
        ranks: of each domain.
    """
    found = []
    for key, op, traffic, size in kept:
        if key != first or (second, op, traffic, size) not in kept:
            continue
        draws = [kept[name, op, traffic, size].time_s for name in (first, second)]
        rates = [_bus(op, size, ranks[name], time_s) for name, time_s in zip((first, second), draws, strict=True)]
        figures: dict[str, tuple[Interval | None, Interval | None]] = {}
        ahead: dict[str, float | None] = {}
        for measure in NORMALISATIONS:
            scaled = [_scaled(measure, rate, domains[name], ranks[name])
                      for rate, name in zip(rates, (first, second), strict=True)]
            figures[measure] = (_interval(scaled[0]), _interval(scaled[1]))
            ahead[measure] = None if scaled[0] is None or scaled[1] is None else _greater(scaled[0], scaled[1])
        found.append(Versus(op, size, (first, second), _greater(draws[1], draws[0]), figures, ahead, traffic))
    return found


def crossovers(lines: Sequence[Versus]) -> list[Crossover]:
    """Adjacent message sizes between which the more likely faster domain changes."""
    found = []
    for op, traffic in dict.fromkeys((line.op, line.traffic) for line in lines):
        row = sorted((line for line in lines if (line.op, line.traffic) == (op, traffic)),
                     key=lambda line: line.asked_bytes)
        for here, there in pairwise(row):
            if (here.faster > 0.5) != (there.faster > 0.5):
                found.append(Crossover(op, here.asked_bytes, there.asked_bytes,
                                       there.domains[0 if there.faster > 0.5 else 1]))
    return found


def _interval(values: Floats | None) -> Interval | None:
    if values is None:
        return None
    low, middle, high = map(float, np.quantile(values, _ENDS))
    return low, middle, high


def _greater(one: Floats, other: Floats) -> float:
    """Probability that a draw of `one` exceeds one of `other`; the two are independent."""
    order = np.sort(other)
    return float(np.searchsorted(order, one).mean() / len(order))


def _bus(op: str, size: int, ranks: int, time_s: Floats) -> Floats:
    return size / time_s * bus_factor(op, ranks)


def _scaled(measure: str, busbw: Floats, domain: Domain, ranks: int) -> Floats | None:
    """Bus bandwidth of each draw in the unit of `measure`; None if a fact of the domain is missing."""
    accelerators = domain.accelerators.value if domain.accelerators else None
    dies = domain.dies if accelerators and ranks > accelerators else 1      # a rank is a die
    if measure == "per accelerator":
        return busbw * dies / 1e9
    if measure == "per domain":
        return busbw * ranks / 1e12
    if measure == "per FLOP":
        return busbw * dies / domain.dense_bf16_flops.value * 1000 if domain.dense_bf16_flops else None
    if domain.power_W is None or accelerators is None:
        return None
    used_W = domain.power_W.value * ranks / dies / accelerators
    return busbw * ranks / 1e9 / (used_W / 1000)
