"""Machine levels of a prediction: which were measured, and assumptions about those that were not."""

from itertools import pairwise
from typing import NamedTuple

from ..domains.facts import Domain
from ..text.units import rate, seconds

__all__ = ["Assumed", "Tiers", "one_switch_apart", "tiers_of"]

_OUTSIDE_S = 5e-6      # extra latency of a step through a network card over one inside a scale-up domain


class Assumed(NamedTuple):
    """Assumptions about a level that no measurement crossed, relative to the next inner level.

    Args:
        rate: rate per rank as a share of the inner rate.
        latency_s: extra time of a step.
        rate_Bps: nominal rate per rank; None if unknown.
    """

    rate: float
    latency_s: float
    rate_Bps: float | None = None


class Tiers(NamedTuple):
    """Levels for one series and one target.

    Args:
        levels: ranks that each inner level connects, ascending, as in `Curve`.
        beyond: assumptions about the outermost levels that were not crossed.
        words: the assumptions as text; None if there are none.
        refused: why no assumption is possible and what to measure; None if one is.
    """

    levels: tuple[int, ...]
    beyond: tuple[Assumed, ...] = ()
    words: str | None = None
    refused: str | None = None


def tiers_of(node: int | None, one_node: bool, largest: int, target: int, home: tuple[str, Domain] | None) -> Tiers:
    """Levels between `largest`, the largest measured rank count, and `target`.

    Args:
        node: ranks per node, if the data state it and span several nodes.
        one_node: all ranks of all points were on one node.
        home: key and facts of the domain of the measurement, if known.
    """
    if home is not None and home[1].accelerators is not None and home[1].tiers \
            and largest <= home[1].accelerators.value:
        return _at_home(*home, node, largest, target)
    if one_node and target > largest:
        return Tiers((), (), f"extends beyond the one node of {largest} ranks; no run between nodes was measured, "
                     "so step time and rate are assumed to be those inside a node; measure on 2 nodes or more")
    levels = (node,) if node and node > 1 else ()
    if levels and largest <= levels[-1] < target:
        return Tiers(levels, (), f"extends beyond one node of {levels[-1]} ranks; no run between nodes was measured, "
                     f"so step time and rate are assumed to be those inside a node; measure at least {2 * levels[-1]} "
                     "ranks")
    return Tiers(levels)


def one_switch_apart(domain: Domain) -> bool:
    """Whether every pair of accelerators is one switch apart, so that hosts make no difference."""
    return len(domain.tiers) == 1 and domain.tiers[0].topology == "switched"


def _at_home(key: str, domain: Domain, node: int | None, largest: int, target: int) -> Tiers:
    """Levels from the domain's facts; a level not crossed gets its nominal rate and latency relative to the inner one.
    """
    assert domain.accelerators is not None      # `tiers_of` checks it
    size, most = int(domain.accelerators.value), max(target, largest)
    inside = tuple(tier.accelerators for tier in domain.tiers[:-1]
                   if tier.accelerators is not None and 1 < tier.accelerators < most)
    hosts = (node,) if node and 1 < node < size and not one_switch_apart(domain) else ()
    levels = tuple(sorted({*inside, *hosts}))
    beyond: list[Assumed] = []
    words: list[str] = []
    for inner, outer in pairwise(domain.tiers):
        if inner.accelerators is None or inner.accelerators not in levels:
            continue
        crossed = largest > inner.accelerators
        if inner.rate_Bps is None or outer.rate_Bps is None:
            if crossed:
                beyond.append(Assumed(1.0, 0.0))
                continue
            return Tiers(levels, refused=f"extends beyond {inner.name} of {key}, the only measured level, and no "
                         f"source gives the rate of {outer.name}: measure more than {inner.accelerators} ranks")
        longer = max(0.0, (outer.latency_s.value if outer.latency_s else 0.0)
                     - (inner.latency_s.value if inner.latency_s else 0.0))
        beyond.append(Assumed(outer.rate_Bps.value / inner.rate_Bps.value, longer, outer.rate_Bps.value))
        if not crossed:
            words.append(f"{outer.name} of {key} was not measured: its nominal {rate(outer.rate_Bps.value)} is "
                         f"assumed, and {seconds(longer)} more per step than inside; measure more than "
                         f"{inner.accelerators} ranks")
    if target > size:
        outside = domain.scaleout_Bps
        own = domain.tiers[-1].rate_Bps
        if outside is None or own is None:
            return Tiers(levels, refused=f"extends beyond {key} ({size} accelerators), the measured domain, and no "
                         "source gives the rate between such domains: measure on 2 of them")
        beyond.append(Assumed(min(1.0, outside.value / own.value), _OUTSIDE_S, outside.value))
        words.append(f"extends beyond {key} ({size} accelerators), the measured domain: {rate(outside.value)} per "
                     f"accelerator is assumed between such domains, and {seconds(_OUTSIDE_S)} more per step; measure "
                     "on 2 of them")
        levels = tuple(sorted({*levels, size}))
    return Tiers(levels, tuple(beyond), "; ".join(words) or None)
