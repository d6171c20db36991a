"""What a step costs on a system: communication, what of it is exposed, and the rate of tokens that it allows."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..projection.monte_carlo import Floats
from .calls import Job
from .place import Place
from .price import OnDomain, Priced, System, worst

__all__ = ["ALL", "ENDS", "LEVEL", "NO_COMPUTE", "Compute", "Interval", "Outcome", "Rate", "interval",
           "outcome_of", "summed"]

LEVEL = 0.9
ENDS = ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2)

ALL = ""       # the key of a computation that all systems share
# Least and most time that the model computes in a step, by system or for ALL; every time between is equally likely.
Compute = Mapping[str, tuple[float, float]]
NO_COMPUTE: Compute = MappingProxyType({})

RATES = {"per accelerator": "tokens/s", "per watt": "tokens/s/kW", "per domain": "tokens/s"}


class Interval(NamedTuple):
    """Low end, middle and high end of a 90 % interval."""

    low: float
    middle: float
    high: float


class Rate(NamedTuple):
    """Tokens per second by normalisation: without and with all the overlap that is allowed, as draws."""

    measure: str
    unit: str
    serial: Floats
    overlapped: Floats


def interval(values: Floats) -> Interval:
    """The 90 % interval of draws."""
    return Interval(*map(float, np.quantile(values, ENDS)))


@dataclass(frozen=True)
class Outcome:
    """One job on one system.

    Args:
        place: where on the domain; None on a machine that was measured. `reach`: the level that each axis reaches.
        priced: the calls.
        compute_s: [draw] of computation in a step, as the user states it; None if it is not stated.
        communication_s: [draw] of all calls of a step one after another; None if the time of one is unknown.
        fixed_s: [draw] of those that the model waits for.
        rates: bounds on the rate of tokens; none if the communication is unknown.
        kind: the weakest evidence that matters.
    """

    system: str
    job: Job
    place: Place | None
    reach: dict[str, str]
    priced: tuple[Priced, ...]
    compute_s: Floats | None
    communication_s: Floats | None
    fixed_s: Floats | None
    rates: tuple[Rate, ...]
    kind: str

    @property
    def unknown(self) -> list[Priced]:
        """Calls without a time."""
        return [one for one in self.priced if one.time_s is None]

    def step_s(self) -> tuple[Floats, Floats] | None:
        """[draw] of a step without and with overlap; of its communication alone if no computation is stated.

        Even with overlap a step takes as long as its communication.
        """
        if self.communication_s is None or self.fixed_s is None:
            return None
        if self.compute_s is None:
            return self.communication_s, self.communication_s
        hidden = self.communication_s - self.fixed_s
        return self.compute_s + self.communication_s, self.fixed_s + np.maximum(hidden, self.compute_s)

    def exposed_s(self) -> tuple[Floats, Floats] | None:
        """[draw] of communication that nothing hides: without overlap, and with all that is allowed."""
        if self.communication_s is None or self.fixed_s is None:
            return None
        hidden = self.communication_s - self.fixed_s
        left = np.zeros_like(hidden) if self.compute_s is None else np.maximum(hidden - self.compute_s, 0.0)
        return self.communication_s, self.fixed_s + left

    def shares(self) -> list[tuple[str, str, float]]:
        """Operation, axis and share of the communication, the largest first."""
        found: dict[tuple[str, str], float] = {}
        for one in self.priced:
            if one.time_s is not None:
                key = (one.call.op, str(one.call.axis))
                found[key] = found.get(key, 0.0) + float(np.median(one.time_s)) * one.call.count
        total = sum(found.values())
        return sorted(((op, axis, time / total) for (op, axis), time in found.items()), key=lambda row: -row[2])


def outcome_of(job: Job, system: System, compute: Compute = NO_COMPUTE) -> Outcome:
    """The cost of a job on a system."""
    return summed(job, system, system.price(job), compute)


def summed(job: Job, system: System, priced: list[Priced], compute: Compute) -> Outcome:
    """The sum of calls with times; draws of one system belong together, so draws are added one by one."""
    place = system.place(job) if isinstance(system, OnDomain) else None
    levels = system.reach(job) if isinstance(system, OnDomain) else {}
    times = [one.time_s for one in priced]
    if any(time is None for time in times):
        return Outcome(system.name, job, place, levels, tuple(priced), None, None, None, (), "unknown")
    draws = max(len(time) for time in times if time is not None)
    stated = compute.get(system.name, compute.get(ALL))
    computing = None if stated is None else \
        np.random.default_rng(zlib.crc32(f"{system.name}|compute".encode())).uniform(*stated, draws)
    total, fixed = np.zeros(draws), np.zeros(draws)
    for one in priced:
        assert one.time_s is not None
        total = total + one.time_s * one.call.count
        fixed = fixed + (0.0 if one.call.overlap else one.time_s * one.call.count)
    plain = Outcome(system.name, job, place, levels, tuple(priced), computing, total, fixed, (), worst(priced))
    return replace(plain, rates=_rates(plain, system))


def _rates(outcome: Outcome, system: System) -> tuple[Rate, ...]:
    steps = outcome.step_s()
    assert steps is not None
    dies = system.dies if isinstance(system, OnDomain) else 1
    serial, overlapped = (outcome.job.tokens * dies / step for step in steps)
    rates = [Rate("per accelerator", RATES["per accelerator"], serial, overlapped)]
    if isinstance(system, OnDomain):
        power = system.power_W()
        if power is not None:
            rates.append(Rate("per watt", RATES["per watt"], serial / power * 1e3, overlapped / power * 1e3))
        if system.domain.accelerators is not None:
            many = system.domain.accelerators.value
            rates.append(Rate("per domain", RATES["per domain"], serial * many, overlapped * many))
    return tuple(rates)
