"""Monte Carlo draws of times in a domain, from which quantiles and variance shares follow.

Each draw takes one reference (all systems have equal weight, however many tables they have), one of the sourced values
of each fact, an algorithm by the selection rule of the library (at random if its estimates are close), and errors of
the transfer to another domain.
"""

import math
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost.algorithms import Algorithm, algorithm_named, profile
from ..cost.fabric import Level, algorithms_without_a_rule, exchange_share, fabric_of, levels_of, log_spread
from ..cost.operations import cost_of, least_share
from ..cost.selection import Choice, Fabric, choices
from ..domains.facts import Domain, Figure
from .references import Reference

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["DRAWS", "Draws", "Floats", "Target", "priors", "sample_times", "values_of"]

DRAWS = 2000
_BLUR = 0.2            # log ratio of two estimates within which the rule may rank them wrongly
_OWN = 0.5             # weight of the user's measurements; shipped references share the rest
_MAIN = 0.7            # weight of a fact's main value; disagreeing sources share the rest
_LIKELY = 0.02         # algorithms of less weight are dropped
_MENTIONED = 0.05      # alternatives of less weight are not reported
_CONSTANTS_LOG_SCATTER = 0.1    # of published constants used in place of a measured curve
_CONSTANTS_RANKS = 8.0          # rank count at which those constants hold
_MOST_EFFICIENT = 0.99
_SOURCES = ("facts", "references", "algorithm", "transfer")

Floats = NDArray[np.float64]


@cache
def priors() -> dict[str, Any]:
    """Prior assumptions where nothing was measured (analysis/data/projection/priors.toml)."""
    table = resources.files("collbench.analysis").joinpath("data", "projection", "priors.toml")
    return tomllib.loads(table.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Target:
    """A domain with its key, the rank count, and whether a rank is a die."""

    key: str
    domain: Domain
    ranks: int
    dies: bool = False

    def levels(self) -> list[Level]:
        """The levels that its ranks span."""
        return levels_of(self.domain, self.ranks, self.dies)


@dataclass(frozen=True)
class Draws:
    """Draws of one operation and message size.

    Args:
        time_s: [draw].
        algorithm: the one with the largest weight; `weight` is that weight.
        instead: other algorithms: name, weight, and median time with that algorithm.
        shares: of the variance of log time, by source: `facts`, `references`, `algorithm`, `transfer`.
        basis: source of the efficiencies, as text.
        bound_s: lower bound at the nominal rates.
    """

    time_s: Floats
    algorithm: str
    weight: float
    instead: tuple[tuple[str, float, float], ...]
    shares: dict[str, float]
    basis: str
    bound_s: float


def sample_times(target: Target, op: str, payload_bytes: float, references: Sequence[Reference],
                 own: Sequence[Reference], draws: int = DRAWS, only: str | None = None,
                 traffic: str | None = None, shared: str | None = None) -> Draws | None:
    """Draws of the time of `op` at the target; None if no algorithm of the registry runs there.

    Args:
        references: measurements that ship with the tool.
        own: references from the user's measurements.
        only: the algorithm, if known.
        traffic: pattern of an uneven exchange; it determines the bytes of the busiest rank.
        shared: a name for the random numbers. Draws under one name belong together: in each, all operations and rank
            counts have the same facts, errors of transfer and, as far as they have them, references. None: only the
            message sizes of an operation and rank count do.
    """
    fabric = fabric_of(target.domain)
    if fabric is None:
        return None
    options = [option for option in _options(target, fabric, op, payload_bytes) if only in (None, option[1].name)]
    total = sum(weight for *_, weight in options)
    options = [(choice, algorithm, weight / total) for choice, algorithm, weight in options]
    if not options:
        return None
    seed = zlib.crc32((shared or f"{target.key}|{target.ranks}|{target.dies}|{op}").encode())
    noise = {name: np.random.default_rng([seed, at]) for at, name in enumerate(_SOURCES)}
    rates = _rates(target, noise["facts"], draws)
    weights = np.array([weight for _, _, weight in options])
    picked = noise["algorithm"].choice(len(options), size=draws, p=weights)
    each = [_Option(target, op, choice, algorithm, references, own) for choice, algorithm, _ in options]
    drawn = [option.draw(payload_bytes, rates, noise, draws) for option in each]
    bound_s = _bound_s(target, op, payload_bytes, fabric, traffic)
    times = np.maximum(np.stack([draw.time_s for draw in drawn]), bound_s)
    lead = int(weights.argmax())
    by_name: dict[str, tuple[str, float, float]] = {}
    for at, (_, algorithm, weight) in enumerate(options):
        if algorithm.name != options[lead][1].name and weight >= _MENTIONED:
            known = by_name.get(algorithm.name)
            by_name[algorithm.name] = (algorithm.name, weight + (known[1] if known else 0.0),
                                       float(np.median(times[at])))
    mixed = times[picked, np.arange(draws)]
    return Draws(mixed, options[lead][1].name, float(sum(w for _, a, w in options if a.name == options[lead][1].name)),
                tuple(by_name.values()), _shares(times, picked, lead, drawn[lead]), each[lead].basis, bound_s)


def _options(target: Target, fabric: Fabric, op: str, payload_bytes: float) -> list[tuple[Choice, Algorithm, float]]:
    """Algorithms that may run, with weights that sum to 1."""
    library = target.domain.library
    ruled = choices(library, op, payload_bytes, target.ranks, fabric) if library else []
    if not ruled:
        names = algorithms_without_a_rule(op, fabric.in_network)
        ruled = [Choice(name, "", 1.0) for name in names]
    found = [(choice, algorithm) for choice in ruled if (algorithm := algorithm_named(op, choice.algorithm))]
    if not found:
        return []
    least = found[0][0].estimate_s
    weights = [math.exp(-math.log(choice.estimate_s / least) / _BLUR) for choice, _ in found]
    kept = [(choice, algorithm, weight) for (choice, algorithm), weight in zip(found, weights, strict=True)
            if weight > _LIKELY]
    total = sum(weight for *_, weight in kept)
    return [(choice, algorithm, weight / total) for choice, algorithm, weight in kept]


@dataclass(frozen=True)
class _OptionTimes:
    time_s: Floats
    by_source: dict[str, float]


class _Option:
    """One algorithm at the target, with the references that support it."""

    def __init__(self, target: Target, op: str, choice: Choice, algorithm: Algorithm,
                 references: Sequence[Reference], own: Sequence[Reference]) -> None:
        self.target, self.op, self.algorithm = target, op, algorithm
        library = target.domain.library
        self.pool = _closest(references, library, op, choice)
        self.own = _closest(own, library, op, choice)
        self.assumed = library == "hccl" and not self.own
        self.foreign = not self.assumed and library not in {reference.library for reference in (*self.pool, *self.own)}
        generations = {reference.generation for reference in (*self.pool, *self.own)}
        self.another = not self.assumed and target.domain.generation not in generations
        measured = sorted({reference.domain for reference in (*self.pool, *self.own)})
        self.basis = "published constants of HCCL and point-to-point figures" if self.assumed else \
            f"measured on {', '.join(measured)}"
        if self.own:
            self.basis = f"this measurement and, with equal weight, {self.basis}"
        if self.foreign:
            self.basis += "; no measurements of this domain's library ship, so those of another library are used"

    def draw(self, payload_bytes: float, rates: list[Floats], noise: dict[str, np.random.Generator],
             draws: int) -> _OptionTimes:
        overhead, step, efficiency, scatter, reach = self._parameters(noise["references"], draws)
        transfer = priors()["transfer"]
        wide = transfer["foreign"] if self.foreign or self.assumed else transfer["generation"] if self.another else 0.0
        rng = noise["transfer"]
        errors = {name: rng.normal(0.0, math.hypot(transfer[name], wide if name != "efficiency" else wide / 3), draws)
                  for name in ("overhead", "step", "efficiency")}
        further = np.log2(np.maximum(self.target.ranks / reach, 1.0))
        model = rng.normal(0.0, 1.0, draws) * np.hypot(transfer["per_doubling"] * further, scatter)
        lost = self._lost(rng, draws) * further if cost_of(self.op).exchange else np.zeros(draws)
        middle = [np.full(draws, np.median(rate)) for rate in rates]
        still = np.zeros(draws)

        def time(parameters: Sequence[Floats], rates: list[Floats], slip: dict[str, Floats], beyond: Floats) -> Floats:
            overhead, step, efficiency = parameters
            factor: Floats = np.exp(beyond)
            reached = np.minimum(efficiency * np.exp(slip["efficiency"]), _MOST_EFFICIENT)
            return self._time(payload_bytes, overhead * np.exp(slip["overhead"]), step * np.exp(slip["step"]),
                              reached, rates) * factor
        none = dict.fromkeys(errors, still)
        flat = [np.full(draws, np.median(values)) for values in (overhead, step, efficiency)]
        full = time((overhead, step, efficiency), rates, errors, model + lost)
        alone = {"facts": time(flat, rates, none, still),
                 "references": time((overhead, step, efficiency), middle, none, still),
                 "transfer": time(flat, middle, errors, model + lost)}
        return _OptionTimes(full, {name: float(np.var(np.log(values))) for name, values in alone.items()})

    def _parameters(self, rng: np.random.Generator, draws: int) -> tuple[Floats, ...]:
        if self.assumed or not (self.pool or self.own):
            known = priors()["hccl"]
            rate_share = "exchange_efficiency" if cost_of(self.op).exchange else "efficiency"
            overhead, step, efficiency = (np.exp(rng.normal(*log_spread(known[name]["values"]), draws))
                                          for name in ("overhead_us", "step_us", rate_share))
            return (overhead / 1e6, step / 1e6, efficiency, np.full(draws, _CONSTANTS_LOG_SCATTER),
                    np.full(draws, _CONSTANTS_RANKS))
        table, weights = [], []
        for pool, total in ((self.own, _OWN if self.pool else 1.0), (self.pool, 1 - _OWN if self.own else 1.0)):
            homes = {reference.domain for reference in pool}
            for reference in pool:
                alike = sum(other.domain == reference.domain for other in pool)
                table.append(reference)
                weights.append(total / len(homes) / alike)
        at = rng.choice(len(table), size=draws, p=np.array(weights) / sum(weights))
        columns = [np.array([getattr(reference, name) for reference in table], float)[at]
                   for name in ("overhead_s", "step_s", "efficiency", "scatter", "ranks")]
        return tuple(columns)

    def _lost(self, rng: np.random.Generator, draws: int) -> Floats:
        values = np.array(priors()["exchange_lost_per_doubling"]["values"])
        return np.maximum(rng.normal(values.mean(), values.std(ddof=1), draws), 0.0)

    def _time(self, payload_bytes: float, overhead: Floats, step: Floats, efficiency: Floats,
              rates: list[Floats]) -> Floats:
        ranks, levels = self.target.ranks, self.target.levels()
        known = profile(self.algorithm, ranks, tuple(level.ranks for level in levels[:-1]))
        share = exchange_share(self.target.domain, self.op, ranks)
        total = overhead.copy()
        for at, (steps, bytes_share) in enumerate(zip(known.steps, known.shares, strict=True)):
            hop = levels[at].latency_s if self.assumed else 0.0
            total = total + steps * (step + hop) + bytes_share * payload_bytes / (efficiency * share * rates[at])
        return total


def _closest(pool: Sequence[Reference], library: str | None, op: str, choice: Choice) -> list[Reference]:
    """The most similar references: same algorithm and protocol, else same algorithm, else same operation."""
    if library == "hccl":
        pool = [reference for reference in pool if reference.library == "hccl"]
    for name in dict.fromkeys((op, cost_of(op).similar or op)):
        same = [reference for reference in pool if reference.op == name]
        for part in ([r for r in same if (r.algorithm, r.protocol) == (choice.algorithm, choice.protocol)],
                     [r for r in same if r.algorithm == choice.algorithm], same):
            if part:
                return part
    return list(pool)


def _rates(target: Target, rng: np.random.Generator, draws: int) -> list[Floats]:
    """[level][draw] one-way rate per rank; if sources disagree, each draw takes one of their values.

    A draw takes the same source at every level.
    """
    chance = rng.random(draws)
    return [values_of(level.rate_Bps, chance) / level.per for level in target.levels()]


def values_of(figure: Figure, chance: Floats) -> Floats:
    """[draw] the main value of a fact or that of another source, as numbers from 0 to 1 choose."""
    if not figure.alternatives:
        return np.full(len(chance), figure.value)
    others = np.array([other.value for other in figure.alternatives], float)
    at = np.minimum(((chance - _MAIN) / (1 - _MAIN) * len(others)).astype(int), len(others) - 1)
    return np.where(chance < _MAIN, figure.value, others[np.maximum(at, 0)])


def _bound_s(target: Target, op: str, payload_bytes: float, fabric: Fabric, traffic: str | None) -> float:
    """Lower bound on the time in seconds, at the highest nominal rate of all sources."""
    nominal = target.domain.tiers[-1].rate_Bps
    assert nominal is not None      # otherwise `fabric` is None
    rate_Bps = max(nominal.all_values()) / (target.domain.dies if target.dies else 1)
    rate_Bps *= exchange_share(target.domain, op, target.ranks)
    return least_share(op, target.ranks, fabric.in_network, traffic) * payload_bytes / rate_Bps


def _shares(times: Floats, picked: NDArray[np.int64], lead: int, drawn: _OptionTimes) -> dict[str, float]:
    """Variance of log time that each source causes alone, as shares that sum to 1."""
    medians = np.log(np.median(times, axis=1))
    found = {**drawn.by_source, "algorithm": float(np.var(medians[picked]))}
    total = sum(found.values())
    return {name: round(value / total, 3) if total else 0.0 for name, value in found.items()}
