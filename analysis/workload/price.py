"""The time of each call of a step on a domain: from published exchanges, else projected; draws belong together."""

import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from collbench.collectives.cases.calls import Call
from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.errors import UsageError

from ..cost.algorithms import ALGORITHMS
from ..domains.facts import Domain
from ..projection.monte_carlo import DRAWS, Floats, sample_times, values_of
from ..projection.references import shipped
from ..text.units import rate
from .calls import EXCHANGES, Job, Use
from .exchange import NETWORK, Stream, curve_at, draws_at, tables
from .place import Place, dies_per_rank_unit, place_of, reach, target_of

__all__ = ["KINDS", "OnDomain", "Priced", "System", "weakest", "worst"]

KINDS = ("measured", "extrapolated", "projected", "assumed")     # from the best evidence to none
_PLAIN = "all_to_all_v"      # stands in for an exchange between experts of which nothing is published


class Priced(NamedTuple):
    """A call with its time.

    Args:
        time_s: [draw] of one call; None if unknown, for the `reason`.
        kind: one of KINDS. `basis`: what it rests on; `reason`: what it assumes, or why it is unknown.
    """

    use: Use
    ranks: int
    time_s: Floats | None
    kind: str
    basis: str
    reason: str | None = None

    @property
    def call(self) -> Call:
        """The call."""
        return self.use.call

    @property
    def name(self) -> str:
        """`moe_dispatch over 64 ranks`."""
        return f"{self.call.op} over {self.ranks} ranks"


class System(Protocol):
    """Where a step runs."""

    name: str

    def price(self, job: Job) -> list[Priced]:
        """Every call of the job with its time."""
        ...


class OnDomain:
    """A scale-up domain, by the facts and measurements that ship.

    Args:
        key, domain: which one.
    """

    def __init__(self, key: str, domain: Domain, draws: int = DRAWS) -> None:
        self.name, self.domain, self.draws = key, domain, draws
        self._stream = Stream.of(zlib.crc32(f"{key}|exchange".encode()), draws)

    def place(self, job: Job) -> Place:
        """How much of the domain, or of several, the job needs."""
        return place_of(self.name, self.domain, job.parallel)

    def reach(self, job: Job) -> dict[str, str]:
        """By axis: the level of the domain, or the network, that its groups reach."""
        return {axis: reach(self.name, self.domain, job.parallel.group(axis))
                for axis in dict.fromkeys(str(use.call.axis) for use in job.uses)}

    @property
    def dies(self) -> int:
        """Ranks on one accelerator."""
        return dies_per_rank_unit(self.domain)

    def power_W(self) -> Floats | None:
        """[draw] of one accelerator's share of the power of the domain; None if no source gives it."""
        if self.domain.power_W is None or self.domain.accelerators is None:
            return None
        chance = np.random.default_rng(zlib.crc32(f"{self.name}|power".encode())).random(self.draws)
        watts: Floats = values_of(self.domain.power_W, chance) / self.domain.accelerators.value
        return watts

    def price(self, job: Job) -> list[Priced]:
        """Every call of the job with its time.

        Raises:
            UsageError: a call is of no operation that a model knows, or the domain's facts do not suffice.
        """
        return [self._price(use, job) for use in job.uses]

    def _price(self, use: Use, job: Job) -> Priced:
        call, group = use.call, job.group(use.call)
        if call.op in EXCHANGES and group.stride == 1:
            found = self._published(use, group.ranks) if group.ranks <= self._inside() else \
                self._over_cards(use, group.ranks)
            if found is not None:
                return found
        op = _PLAIN if call.op in EXCHANGES else call.op
        if op not in _timed():
            raise UsageError(f"{call.op}: no model knows its time; known are {', '.join((*_timed(), *EXCHANGES))}")
        target, outside = target_of(self.name, self.domain, group)
        size = float(call.bytes) if OPERATIONS[op].has_payload else 0.0
        drawn = sample_times(target, op, size, shipped(), (), self.draws, shared=self.name)
        if drawn is None:
            return Priced(use, group.ranks, None, "unknown", "", f"no algorithm of {op} is known on {self.name}")
        notes = [f"as {op}, with the {drawn.algorithm} algorithm"] if op != call.op else []
        if outside:
            notes.append("leaves the domain: its cards are assumed to be as efficient as its links")
        return Priced(use, group.ranks, drawn.time_s, "projected", drawn.basis, "; ".join(notes) or None)

    def _inside(self) -> int:
        domain = self.domain
        return int(domain.accelerators.value) * self.dies if domain.accelerators else 0

    def _published(self, use: Use, ranks: int) -> Priced | None:
        curve = curve_at(self.name, self.domain, use.call.op, ranks)
        if curve is None:
            return None
        times, kind, note = draws_at(curve, use.call.bytes, self._stream)
        return Priced(use, ranks, times, kind, tables()[self.name].source, note)

    def _over_cards(self, use: Use, ranks: int) -> Priced | None:
        """An exchange that leaves the domain: all of it through cards, or only what has no peer inside."""
        curve, card = curve_at(NETWORK, None, use.call.op, ranks), self.domain.scaleout_Bps
        known_Bps = tables()[NETWORK].card_Bps
        if curve is None or card is None or known_Bps is None:
            return None
        times, _, note = draws_at(curve, use.call.bytes, self._stream)
        leaves = 1 - self._inside() / ranks
        share = leaves + (1 - leaves) * self._stream.share
        slower = known_Bps * self.dies / card.value
        words = f"leaves the domain: {leaves:.0%} to all of it is assumed to go through cards of {rate(card.value)} " \
            f"for {'an accelerator' if self.dies == 1 else f'{self.dies} ranks'}, as efficient as those measured"
        return Priced(use, ranks, times * share * slower, "projected", tables()[NETWORK].source,
                      "; ".join(filter(None, (words, note))))


def _timed() -> list[str]:
    """Operations that can be projected; making communicators is work of the software, of which facts say nothing."""
    return [op for op in ALGORITHMS if op in OPERATIONS and not OPERATIONS[op].lifecycle and op not in EXCHANGES]


def weakest(kinds: Sequence[str]) -> str:
    """The kind with the least evidence."""
    return max(kinds, key=KINDS.index)


def worst(priced: Sequence[Priced]) -> str:
    """The kind with the least evidence among those of the calls that take most of the time (95 %)."""
    known = [(float(one.time_s.mean()) * one.call.count, one.kind) for one in priced if one.time_s is not None]
    total, passed, found = sum(time for time, _ in known), 0.0, 0
    for time, kind in sorted(known, reverse=True):
        found = max(found, KINDS.index(kind))
        passed += time
        if passed >= 0.95 * total:
            break
    return KINDS[found]
