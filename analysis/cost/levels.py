"""Levels of the machine that a prediction meets: which were measured, and what is assumed of those that were not."""

from itertools import pairwise
from typing import NamedTuple

from ..domains.facts import Domain
from ..text.units import rate, seconds

__all__ = ["Assumed", "Tiers", "tiers_of"]

_OUTSIDE_S = 5e-6      # what a step over a network card takes longer than one inside a scale-up domain


class Assumed(NamedTuple):
    """What is assumed of a level that was never crossed, against the level inside it.

    Args:
        rate: its rate per rank as a share of the rate inside.
        latency_s: what a step through it takes longer.
    """

    rate: float
    latency_s: float


class Tiers(NamedTuple):
    """Levels for one series and one target.

    Args:
        levels: ranks that the inner levels join, ascending, as the curve has them.
        beyond: what is assumed of the outermost ones, as far as they were not crossed.
        words: what is assumed, in words; None where nothing is.
        refused: why nothing can be assumed, and what to measure; None where it can.
    """

    levels: tuple[int, ...]
    beyond: tuple[Assumed, ...] = ()
    words: str | None = None
    refused: str | None = None


def tiers_of(node: int | None, one_node: bool, largest: int, target: int, home: tuple[str, Domain] | None) -> Tiers:
    """What a series measured up to `largest` ranks meets on the way to `target`.

    Args:
        node: ranks that a node joins, where the data say so and go beyond one.
        one_node: all ranks of all points were on one node.
        home: key and facts of the domain that it was measured in, where known.
    """
    if home is not None and home[1].accelerators is not None and home[1].tiers \
            and largest <= home[1].accelerators.value:
        return _at_home(*home, node, largest, target)
    if one_node and target > largest:
        return Tiers((), (), f"leaves the one node of {largest} ranks, and nothing beyond was measured: step "
                     "time and rate there are assumed to be those inside; measure ranks over 2 nodes or more")
    levels = (node,) if node and node > 1 else ()
    if levels and largest <= levels[-1] < target:
        return Tiers(levels, (), f"leaves the {levels[-1]} ranks of a node, and nothing beyond was measured: step time "
                     f"and rate there are assumed to be those inside; measure at least {2 * levels[-1]} ranks")
    return Tiers(levels)


def _at_home(key: str, domain: Domain, node: int | None, largest: int, target: int) -> Tiers:
    """Levels by the domain's facts; one that was not crossed has its nominal rate and latency against the inner one."""
    size, most = int(domain.accelerators.value), max(target, largest)
    inside = tuple(int(tier.accelerators) for tier in domain.tiers[:-1] if 1 < tier.accelerators < most)
    levels = tuple(sorted({*inside, *((node,) if node and 1 < node < size else ())}))
    beyond: list[Assumed] = []
    words: list[str] = []
    for inner, outer in pairwise(domain.tiers):
        if inner.accelerators not in levels:
            continue
        crossed = largest > inner.accelerators
        if inner.rate_Bps is None or outer.rate_Bps is None:
            if crossed:
                beyond.append(Assumed(1.0, 0.0))
                continue
            return Tiers(levels, refused=f"leaves {inner.name} of {key}, which alone was measured, and no source gives "
                         f"the rate of {outer.name}: measure more than {inner.accelerators} ranks")
        longer = max(0.0, (outer.latency_s.value if outer.latency_s else 0.0)
                     - (inner.latency_s.value if inner.latency_s else 0.0))
        beyond.append(Assumed(outer.rate_Bps.value / inner.rate_Bps.value, longer))
        if not crossed:
            words.append(f"{outer.name} of {key} was not measured: assumed are its nominal "
                         f"{rate(outer.rate_Bps.value)} and {seconds(longer)} a step more than inside; "
                         f"measure more than {inner.accelerators} ranks")
    if target > size:
        outside = domain.scaleout_Bps
        own = domain.tiers[-1].rate_Bps
        if outside is None or own is None:
            return Tiers(levels, refused=f"leaves {key} ({size} accelerators), where all was measured, and no source "
                         "gives the rate between such domains: measure ranks over 2 of them")
        beyond.append(Assumed(min(1.0, outside.value / own.value), _OUTSIDE_S))
        words.append(f"leaves {key} ({size} accelerators), where all was measured: assumed are {rate(outside.value)} "
                     f"per accelerator between such domains and {seconds(_OUTSIDE_S)} a step more; measure ranks over "
                     "2 of them")
        levels = tuple(sorted({*levels, size}))
    return Tiers(levels, tuple(beyond), "; ".join(words) or None)
