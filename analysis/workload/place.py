"""A domain as one group sees it: its ranks may be dies, every so many accelerators apart, or in several domains."""

from typing import NamedTuple

import msgspec

from collbench.collectives.errors import UsageError

from ..domains.facts import Alternative, Domain, Figure, Tier
from ..projection.monte_carlo import Target
from .parallel import Group, Parallel

__all__ = ["Place", "capacity", "dies_per_rank_unit", "place_of", "reach", "target_of"]

_NETWORK = "network between domains"
_NETWORK_S = 5e-6        # extra latency of a step through a network card, as analysis/cost/levels.py assumes


class Place(NamedTuple):
    """Where the ranks of a job are.

    Args:
        ranks: of the job; `accelerators`: that they occupy; `domains`: that these fill, as a fraction.
        rank_is: `accelerator` or `die`.
    """

    ranks: int
    accelerators: float
    domains: float
    rank_is: str


def dies_per_rank_unit(domain: Domain) -> int:
    """Ranks per accelerator: HCCL addresses dies, all other libraries accelerators."""
    return domain.dies if domain.library == "hccl" else 1


def capacity(key: str, domain: Domain) -> int:
    """Ranks that fit into the domain. UsageError if no source gives its size or the rate of its links."""
    if domain.accelerators is None or not domain.tiers or any(tier.rate_Bps is None for tier in domain.tiers):
        raise UsageError(f"{key}: no source gives its number of accelerators and the rate of its links (collbench "
                         f"domains {key} shows what is known)")
    return int(domain.accelerators.value) * dies_per_rank_unit(domain)


def place_of(key: str, domain: Domain, parallel: Parallel) -> Place:
    """How much of the domain, or of several, a job needs."""
    each = dies_per_rank_unit(domain)
    return Place(parallel.ranks, parallel.ranks / each, parallel.ranks / capacity(key, domain),
                 "die" if each > 1 else "accelerator")


def target_of(key: str, domain: Domain, group: Group) -> tuple[Target, bool]:
    """The domain as a group sees it, and whether the group leaves it.

    Levels keep their rates: groups of the other ranks run at the same time and use the other links. A level within
    which the group has only one rank disappears. Beyond the domain there is a level with the rate of its cards. A block
    of ranks that interleaves the groups of an axis is placed into one domain if it fits.

    Raises:
        UsageError: the group leaves the domain, and no source gives the rate of its cards.
    """
    each, most = dies_per_rank_unit(domain), capacity(key, domain)
    levels = [msgspec.structs.replace(tier, accelerators=_ranks(tier, each), rate_Bps=_per_rank(tier, each))
              for tier in domain.tiers]
    outside = group.block > most
    if outside:
        if domain.scaleout_Bps is None:
            raise UsageError(f"{key}: {group.block} ranks do not fit into its {most}, and no source gives the rate of "
                             "its network cards; --nic states it")
        levels.append(Tier(_NETWORK, accelerators=group.block,
                           rate_Bps=_shared(domain.scaleout_Bps, each),
                           latency_s=Figure(_NETWORK_S, "assumed", "derived")))
    levels = [msgspec.structs.replace(level, accelerators=max(1, (level.accelerators or 1) // group.stride))
              for level in levels]
    kept = [level for level in levels[:-1] if (level.accelerators or 1) > 1] + levels[-1:]
    size = Figure(float(kept[-1].accelerators or 1), "ranks of the group's reach", "derived")
    seen = msgspec.structs.replace(domain, accelerators=size, dies_per_accelerator=None, tiers=tuple(kept),
                                   in_network_reduction=None if outside else domain.in_network_reduction)
    return Target(key, seen, group.ranks), outside


def reach(key: str, domain: Domain, group: Group) -> str:
    """The innermost level that connects all ranks of the group's block."""
    each, most = dies_per_rank_unit(domain), capacity(key, domain)
    return _NETWORK if group.block > most else \
        next(tier.name for tier in domain.tiers if _ranks(tier, each) >= group.block)


def _ranks(tier: Tier, each: int) -> int:
    return (tier.accelerators or 1) * each


def _per_rank(tier: Tier, each: int) -> Figure | None:
    """The rate of a rank; a level between dies states that of a die already."""
    return tier.rate_Bps if tier.accelerators == 1 or tier.rate_Bps is None else _shared(tier.rate_Bps, each)


def _shared(rate: Figure, each: int) -> Figure:
    if each == 1:
        return rate
    others = tuple(Alternative(other.value / each, other.source) for other in rate.alternatives)
    return msgspec.structs.replace(rate, value=rate.value / each, alternatives=others)
