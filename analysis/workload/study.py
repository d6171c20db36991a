"""A workload on several systems: costs, comparison of the first two, and where it changes."""

from collections.abc import Sequence

from .answer import outcome_of
from .calls import job_of
from .compare import contest, crossings, narrowed, swept
from .model import Workload
from .parallel import Parallel
from .price import OnDomain, System
from .report import Report

__all__ = ["study"]


def study(name: str, workload: Workload, phase: str, systems: Sequence[System], parallel: Parallel | None = None,
          tokens: int | None = None, imbalance: float = 1.0, micro_batches: int | None = None,
          compute_s: tuple[float, float] | None = None, sweep: bool = True) -> Report:
    """A step of a workload on each system.

    Args:
        parallel, tokens, micro_batches: None: those of the phase.
        imbalance: bytes of the busiest rank over the mean, in exchanges between experts.
        compute_s: least and most time that the model computes in a step; None: unknown, and not counted.
        sweep: look for crossovers of the first two systems, if both are domains.

    Raises:
        UsageError: the phase is unknown, or the model does not fit the degrees, or facts of a domain are missing.
    """
    job = job_of(name, workload, phase, parallel, tokens, imbalance, micro_batches)
    outcomes = [outcome_of(job, system, compute_s) for system in systems]
    known = [(outcome, system) for outcome, system in zip(outcomes, systems, strict=True) if outcome.rates][:2]
    both = contest(known[0][0], known[1][0]) if len(known) == 2 else None
    ranges, changes = [], []
    if sweep and both is not None and all(isinstance(system, OnDomain) for _, system in known):
        pair = (known[0][1], known[1][1])
        for knob, jobs in swept(name, workload, job, imbalance, micro_batches):
            ranges.append((knob, jobs[0][0], jobs[-1][0]))
            changes += crossings(knob, jobs, pair, compute_s)
    return Report(workload, job, imbalance, tuple(outcomes), compute_s, both, tuple(ranges), tuple(changes),
                  tuple(narrowed([outcome for outcome, _ in known], [system for _, system in known], compute_s)))
