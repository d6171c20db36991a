"""The life of communicators as cases of a sweep: how long it takes to make one, to use it first, and to end it.

Every rank of the job takes part, also those outside, because libraries make communicators that way. So these cases are
measured before the others, which only the ranks of their group attend.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ..cases.case import Case
from ..interfaces import EnterPhase, Transport
from ..loop.measure import ModeSamples, Outcome
from ..records.record import Mismatch
from ..statistics.stopping import median_precision
from .session import Session

__all__ = ["lifecycle_cases", "measure_lifecycle"]

_STEPS = ("comm_init", "comm_first_call", "comm_destroy")
_FEWEST = 3
_LONG_S = 20.0      # after that, one sample is enough


class _Reading(NamedTuple):
    """When a step began and how long it took on this rank, in ns."""

    begin_ns: int
    elapsed_ns: int


def lifecycle_cases(cases: Sequence[Case]) -> dict[int, list[Case]]:
    """The cases of this kind by rank count, which are measured together."""
    groups: dict[int, list[Case]] = {}
    for case in sorted(cases, key=lambda case: (case.ranks, case.op)):
        if case.operation.lifecycle:
            groups.setdefault(case.ranks, []).append(case)
    return groups


def measure_lifecycle(ranks: int, session: Session, transport: Transport, time_s: float,
                      enter: EnterPhase) -> tuple[dict[str, list[Outcome]], float]:
    """Outcomes of all ranks by operation, on rank 0, and the clocks' error in ns. Collective over the job.

    `time_s` limits the time for the samples together; a few are taken however long they take.
    """
    readings: dict[str, list[_Reading]] = {step: [] for step in _STEPS}
    wrong = checks = 0
    own = session.communicators[ranks]
    for _ in _samples(session, time_s, enter):
        trial = transport.trial(ranks)
        enter("timed")
        readings["comm_init"].append(_timed(session, trial.create))
        if own is not None:
            own.barrier()
            begin = own.now_ns()
            right = trial.first_call()
            readings["comm_first_call"].append(_Reading(begin, own.now_ns() - begin))
            wrong, checks = wrong + (not right), checks + 1
        readings["comm_destroy"].append(_timed(session, trial.destroy))
    if own is None:
        return {}, 0.0
    enter("clocks")
    clock, error_ns = session.clocks.refresh(own)
    enter("gather")
    outcomes: dict[str, list[Outcome]] = {}
    for step, taken in readings.items():
        modes = ModeSamples("isolated", "python", "host", False, 1, 0, [],
                            [clock.to_reference(reading.begin_ns) for reading in taken],
                            [reading.elapsed_ns for reading in taken],
                            median_precision([reading.elapsed_ns for reading in taken]), "time", alignment="barrier")
        fault = Mismatch(rank=own.rank, index=0, expected="the sum over its ranks", found="another value",
                         when="in the first call") if wrong else None
        outcome = Outcome("wrong" if own.all_max([wrong])[0] else "ok", None, checks, wrong, fault, [modes])
        gathered = own.gather(msgspec.json.encode(outcome)) or ()
        outcomes[step] = [msgspec.json.decode(raw, type=Outcome) for raw in gathered]
    return outcomes, error_ns


def _timed(session: Session, step: Callable[[], object]) -> _Reading:
    """One step that all ranks of the job begin together."""
    world = session.world
    world.barrier()
    begin = world.now_ns()
    step()
    return _Reading(begin, world.now_ns() - begin)


def _samples(session: Session, time_s: float, enter: EnterPhase) -> Iterator[int]:
    """A number for each sample, at least one, until rank 0 finds that they have taken long enough. Collective."""
    world, policy = session.world, session.policy
    begin, sample = world.now_ns(), 0
    while True:
        yield sample
        sample += 1
        enter("set-up")
        spent_s = (world.now_ns() - begin) / 1e9
        more = sample < policy.max_samples and spent_s < _LONG_S and (
            sample < _FEWEST or spent_s < time_s)
        if not world.agree(int(more)):
            return
