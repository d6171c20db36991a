"""Two systems on one job: which allows more tokens, where that changes, and what to measure to know it better."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from collbench.collectives.errors import UsageError

from ..projection.monte_carlo import Floats
from .answer import ALL, Compute, Outcome, outcome_of, summed
from .calls import Job, job_of
from .model import Phase, Workload
from .parallel import Parallel
from .price import Priced, System, weakest

__all__ = ["COMPUTATION", "Contest", "Crossing", "Narrowed", "contest", "crossings", "narrowed", "swept"]

COMPUTATION = "the time of computation"
_MOST_TOKENS = 65536
_TOKENS = 8           # batches on either side of the stated one, in powers of two
_LIKELY = 0.6         # share of draws
_LEAST_GAIN = 0.02    # of the width, below which no measurement is worth naming
_ENDS = (0.05, 0.95)


class Contest(NamedTuple):
    """Tokens/s that two systems allow, by normalisation, with all overlap allowed.

    Args:
        ahead: probability that the first allows more.
        ratio: [draw] first over second.
    """

    systems: tuple[str, str]
    ahead: dict[str, float]
    ratio: dict[str, Floats]


class Crossing(NamedTuple):
    """Two values of a knob between which the likely winner changes to `to`; between them none is likely.

    Args:
        kind: the weakest evidence at the two values.
    """

    knob: str
    measure: str
    low: int
    high: int
    to: str
    kind: str


class Narrowed(NamedTuple):
    """What one measurement would do to the answer: high end over low end of the 90 % interval, before and after."""

    what: str
    system: str
    before: float
    after: float


def contest(first: Outcome, second: Outcome) -> Contest | None:
    """None if one of them is unknown. Draws of two systems are independent."""
    if not first.rates or not second.rates:
        return None
    theirs = {rate.measure: rate.overlapped for rate in second.rates}
    ratio = {rate.measure: rate.overlapped / theirs[rate.measure] for rate in first.rates if rate.measure in theirs}
    return Contest((first.system, second.system), {name: float(np.mean(one > 1)) for name, one in ratio.items()}, ratio)


def swept(name: str, workload: Workload, job: Job, imbalance: float,
          micro_batches: int | None = None) -> list[tuple[str, list[tuple[int, Job]]]]:
    """Jobs over the batch, and over the degrees of the phase's sweep: a knob with its values."""
    def made(tokens: int, parallel: Parallel) -> Job:
        return job_of(name, workload, job.phase, parallel, tokens, imbalance, micro_batches)
    phase: Phase = workload.phases[job.phase]
    found = []
    if workload.model is not None:
        batches = sorted({max(1, int(job.batch * 2.0**power)) for power in range(-_TOKENS, _TOKENS + 1)})
        found.append(("tokens", [(batch, made(batch, job.parallel)) for batch in batches if batch <= _MOST_TOKENS]))
        for axis, degrees in phase.sweep.items():
            fit = [degree for degree in degrees if _fits(job.parallel.with_degree(axis, degree), axis)]
            found.append((axis, [(degree, made(job.batch, job.parallel.with_degree(axis, degree))) for degree in fit]))
    return [(knob, jobs) for knob, jobs in found if jobs]


def _fits(parallel: Parallel, axis: str) -> bool:
    """Whether an axis that is in use can have another degree."""
    return (axis != "ep" or parallel.ep % parallel.tp == 0) and (axis == "ep" or parallel.ep == 1)


def crossings(knob: str, jobs: Iterable[tuple[int, Job]], systems: tuple[System, System],
              compute: Compute) -> tuple[list[int], list[Crossing]]:
    """The values of a knob at which both systems are known, and where the likely winner changes, by normalisation.

    Values at which none wins in at least _LIKELY of the draws are passed over.
    """
    known: list[int] = []
    won: dict[str, list[tuple[int, str, str]]] = {}
    for value, job in jobs:
        try:
            outcomes = [outcome_of(job, system, compute) for system in systems]
        except UsageError:      # a group leaves a domain of whose cards nothing is known
            continue
        both = contest(*outcomes)
        known += [value] if both else []
        for measure, chance in (both.ahead if both else {}).items():
            kind = weakest([one.kind for one in outcomes])
            if max(chance, 1 - chance) >= _LIKELY:
                won.setdefault(measure, []).append((value, systems[0 if chance >= 0.5 else 1].name, kind))
    return known, [Crossing(knob, measure, low, high, there, weakest([before, after])) for measure, row in won.items()
                   for (low, here, before), (high, there, after) in pairwise(row) if here != there]


def narrowed(outcomes: Sequence[Outcome], systems: Sequence[System], compute: Compute) -> list[Narrowed]:
    """What each single measurement would narrow, the most useful first.

    The answer is the ratio of the first two systems in tokens/s per accelerator, or that rate of one system. A
    measurement removes the spread of one operation over one number of ranks on one system, or that of the computation.
    """
    pairs = list(zip(outcomes, systems, strict=True))[:2]
    if not pairs or any(not outcome.rates for outcome, _ in pairs):
        return []
    before = _width(_answer([outcome for outcome, _ in pairs]))
    found = []
    for at, (outcome, system) in enumerate(pairs):
        for name in dict.fromkeys(one.name for one in outcome.priced):
            still = [_still(one) if one.name == name else one for one in outcome.priced]
            other = [one for one, _ in pairs]
            other[at] = summed(outcome.job, system, still, compute)
            found.append(Narrowed(name, system.name, before, _width(_answer(other))))
    for at, (outcome, system) in enumerate(pairs):
        stated = compute.get(system.name, compute.get(ALL))
        if stated is not None:
            other = [one for one, _ in pairs]
            middle = {system.name: (sum(stated) / 2, sum(stated) / 2)}
            other[at] = summed(outcome.job, system, list(outcome.priced), middle)
            found.append(Narrowed(COMPUTATION, system.name, before, _width(_answer(other))))
    worth = [one for one in found if one.after < one.before * (1 - _LEAST_GAIN)]
    return sorted(worth, key=lambda one: one.after)


def _answer(outcomes: Sequence[Outcome]) -> Floats:
    first = outcomes[0].rates[0].overlapped
    ratio: Floats = first / outcomes[1].rates[0].overlapped if len(outcomes) > 1 else first
    return ratio


def _width(values: Floats) -> float:
    low, high = np.quantile(values, _ENDS)
    return float(high / low)


def _still(priced: Priced) -> Priced:
    if priced.time_s is None:
        return priced
    return priced._replace(time_s=np.full_like(priced.time_s, np.median(priced.time_s)))
