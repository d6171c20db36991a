"""A workload on several systems: costs, comparison of the first two, and where it changes."""

from collections.abc import Sequence

from collbench.collectives.errors import UsageError

from .answer import ALL, NO_COMPUTE, Compute, outcome_of
from .calls import job_of
from .compare import Crossing, contest, crossings, narrowed, swept
from .imbalance import imbalance_of
from .model import Workload
from .parallel import Parallel
from .price import OnDomain, System
from .report import Report

__all__ = ["study"]


def study(name: str, workload: Workload, phase: str, systems: Sequence[System], parallel: Parallel | None = None,
          tokens: int | None = None, imbalance: str = "1", micro_batches: int | None = None,
          compute: Compute = NO_COMPUTE, sweep: bool = True) -> Report:
    """A step of a workload on each system.

    Args:
        parallel, tokens, micro_batches: None: those of the phase.
        imbalance: bytes of the busiest rank in exchanges between experts over those with balanced routing, or a
            routing pattern, such as `zipf:1.2`, from which they follow.
        compute: time of computation in a step, by system; where it is not stated, only communication is counted.
        sweep: look for crossovers of the first two systems, if both are domains.

    Raises:
        UsageError: a computation is stated of none of the systems, the phase is unknown, the model does not fit the
            degrees, or facts of a domain are missing.
    """
    if unknown := {*compute} - {ALL, *(system.name for system in systems)}:
        raise UsageError(f"--compute {', '.join(sorted(unknown))}: none of the systems, which are "
                         f"{', '.join(system.name for system in systems)}")
    plain = job_of(name, workload, phase, parallel, tokens, 1.0, micro_batches)
    factor = imbalance_of(imbalance, workload.model, plain.parallel, plain.batch)
    job = job_of(name, workload, phase, parallel, tokens, factor, micro_batches)
    outcomes = [outcome_of(job, system, compute) for system in systems]
    known = [(outcome, system) for outcome, system in zip(outcomes, systems, strict=True) if outcome.rates][:2]
    both = contest(known[0][0], known[1][0]) if len(known) == 2 else None
    ranges: list[tuple[str, int, int]] = []
    changes: list[Crossing] = []
    if sweep and both is not None and all(isinstance(system, OnDomain) for _, system in known):
        pair = (known[0][1], known[1][1])
        for knob, jobs in swept(name, workload, job, factor, micro_batches):
            values, found = crossings(knob, jobs, pair, compute)
            changes += found
            ranges += [(knob, values[0], values[-1])] if len(values) > 1 else []
    return Report(workload, job, factor, tuple(outcomes), compute, both, tuple(ranges), tuple(changes),
                  tuple(narrowed([outcome for outcome, _ in known], [system for _, system in known], compute)))
