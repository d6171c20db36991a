"""A domain as the models see it: rates by level, limits of the topology, candidate algorithms of its library."""

import math
from typing import NamedTuple

from ..domains.facts import Domain, Figure
from .operations import cost_of
from .selection import Fabric

__all__ = ["Level", "algorithms_without_a_rule", "exchange_share", "fabric_of", "levels_of", "log_spread"]


def fabric_of(domain: Domain) -> Fabric | None:
    """The fabric as selection rules see it; None if no source gives its rate."""
    if not domain.tiers or (rate_Bps := domain.tiers[-1].rate_Bps) is None:
        return None
    reduces, outer = domain.in_network_reduction, domain.tiers[-1]
    inner = [tier.accelerators for tier in domain.tiers[:-1]
             if tier.accelerators is not None and tier.accelerators > 1]
    return Fabric(rate_Bps.value, bool(reduces and reduces.value), domain.generation, outer.topology == "mesh",
                  inner[-1] if inner else None)


class Level(NamedTuple):
    """One tier as ranks see it.

    Args:
        ranks: how many it connects.
        rate_Bps: one way, shared by `per` ranks.
        latency_s: of one step.
    """

    ranks: int
    rate_Bps: Figure
    per: int
    latency_s: float


def levels_of(domain: Domain, ranks: int, dies: bool = False) -> list[Level]:
    """The tiers that `ranks` ranks span, from the innermost out; the last connects all of them.

    A rank is an accelerator or, with `dies`, a die. The dies of an accelerator then form a tier of their own and share
    the rate of the accelerator in the other tiers.
    """
    per = domain.dies if dies else 1
    tiers = [Level(max(1, tier.accelerators or 0) * per, tier.rate_Bps, 1 if tier.accelerators == 1 else per,
                   tier.latency_s.value if tier.latency_s else 0.0)
             for tier in domain.tiers if tier.rate_Bps is not None]
    return [*(level for level in tiers[:-1] if 1 < level.ranks < ranks), tiers[-1]]


def exchange_share(domain: Domain, op: str, ranks: int) -> float:
    """Largest share of an accelerator's nominal rate that `op` can use at `ranks` ranks of this topology.

    In a mesh, only the links to participating peers carry data. In a torus, an all-to-all exchange is limited by the
    bisection (4 / n of the link rate per rank), not by the links of one accelerator.
    """
    outer = domain.tiers[-1]
    if outer.topology == "mesh" and outer.accelerators and 1 < ranks <= outer.accelerators:
        return (ranks - 1) / (outer.accelerators - 1)
    dimensions = {"torus 2d": 2, "torus 3d": 3}.get(outer.topology)
    if dimensions and cost_of(op).exchange:
        return min(1.0, 4 / dimensions / ranks ** (1 / dimensions))     # type: ignore[no-any-return]  # int ** float is Any
    return 1.0


def algorithms_without_a_rule(op: str, in_network: bool) -> tuple[str, ...]:
    """Algorithms assumed for `op` where no selection rule is known."""
    row = cost_of(op)
    return (*row.algorithms, "in-switch") if in_network and row.least_in_switch is not None else row.algorithms


def log_spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of logarithms."""
    logs = [math.log(value) for value in values]
    mean = sum(logs) / len(logs)
    return mean, math.sqrt(sum((log - mean) ** 2 for log in logs) / max(1, len(logs) - 1))
