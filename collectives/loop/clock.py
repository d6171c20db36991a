"""One clock for all ranks: each host's offset and drift against rank 0's, with an error that is a bound.

Ranks of one host read one clock, so one rank a host asks rank 0 and tells the others: at 384 ranks on 48 hosts that is
47 short conversations, not 383. A question and its answer bound the offset from both sides, whatever the two ways took
(Cristian, Distributed Computing 3, 1989): the answer was read after the question left and before it came back.
Questions are repeated before each case, so that the drift is known from a longer and longer stretch of time.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..interfaces import Communicator

__all__ = ["SAME", "ClockModel", "Clocks", "Reading", "estimate"]

# Beyond the first questions nothing is known of the drift; kernels slew at most this (adjtimex(2): 500 ppm).
_UNKNOWN_DRIFT = 500e-6
_QUESTIONS = 24
_APART = 8          # stretches of time that readings are thinned to


class Reading(NamedTuple):
    """One question to rank 0: this clock when it left, rank 0's at the answer, this clock when it was back; in ns."""

    sent: int
    reference: int
    received: int

    @property
    def when(self) -> float:
        """Middle of the question on this clock."""
        return (self.sent + self.received) / 2

    @property
    def offset(self) -> float:
        """Rank 0's clock minus this one, if both ways took as long."""
        return self.reference - self.when

    @property
    def error(self) -> float:
        """How wrong that can be."""
        return (self.received - self.sent) / 2


class ClockModel(NamedTuple):
    """Rank 0's clock as a straight line of this one: offset(t) = offset + drift * (t - epoch), in ns.

    The true offset is within `error(t)`, as long as the drift is constant.
    """

    epoch: float
    offset: float
    drift: float
    offset_error: float
    drift_error: float

    def to_reference(self, local_ns: int) -> int:
        """This moment on rank 0's clock."""
        return local_ns + round(self.offset + self.drift * (local_ns - self.epoch))

    def to_local(self, reference_ns: int) -> int:
        """That moment of rank 0's clock on this one."""
        since = reference_ns - self.offset - self.epoch      # small, so that the division costs no digits
        return reference_ns - round(self.offset + since * self.drift / (1 + self.drift))

    def error(self, local_ns: float) -> float:
        """Bound in ns on the offset's error at this moment."""
        return self.offset_error + self.drift_error * abs(local_ns - self.epoch)


SAME = ClockModel(0.0, 0.0, 0.0, 0.0, 0.0)      # of every rank on rank 0's host


def estimate(readings: Sequence[Reading]) -> ClockModel:
    """The line that the readings allow, with its bounds. At least one reading.

    The best reading of each stretch of time (the one with the shortest round trip) bounds the offset there; the drift
    follows from the pair of stretches that bounds it most closely.
    """
    best = _best_of_stretches(readings)
    last = min(best[-2:], key=lambda reading: reading.error)
    drift, drift_error = 0.0, _UNKNOWN_DRIFT
    for first in best:
        apart = last.when - first.when
        if apart > 0 and (first.error + last.error) / apart < drift_error:
            drift, drift_error = (last.offset - first.offset) / apart, (first.error + last.error) / apart
    return ClockModel(last.when, last.offset, drift, last.error, drift_error)


def _best_of_stretches(readings: Sequence[Reading]) -> list[Reading]:
    ordered = sorted(readings, key=lambda reading: reading.when)
    begin, length = ordered[0].when, max(ordered[-1].when - ordered[0].when, 1.0)
    best: dict[int, Reading] = {}
    for reading in ordered:
        stretch = int(_APART * (reading.when - begin) / length)
        if stretch not in best or reading.error < best[stretch].error:
            best[stretch] = reading
    return list(best.values())


class Clocks:
    """What this rank knows of its clock against rank 0's, brought up to date before each case."""

    def __init__(self, hosts: Sequence[int]) -> None:
        """`hosts`: for each rank of the job the first rank on its host (of its running kernel)."""
        self._hosts = list(hosts)
        self._readings: list[Reading] = []

    @property
    def shared(self) -> bool:
        """Whether all ranks of the job read one clock."""
        return not any(self._hosts)

    def refresh(self, communicator: "Communicator") -> tuple[ClockModel, float]:
        """This rank's clock, and the largest error of any rank's now, in ns. Collective over the communicator."""
        leaders = sorted({leader for leader in self._hosts[:communicator.size] if leader})
        if not leaders:
            return SAME, 0.0
        own = SAME
        for leader in leaders:
            own = self._question(leader, communicator) or own
        lines = self._tell(leaders, own, communicator)
        return lines.get(self._hosts[communicator.rank], SAME), max(line.offset_error for line in lines.values())

    def _question(self, leader: int, communicator: "Communicator") -> ClockModel | None:
        """Rank 0 and one leader talk; the leader learns its line."""
        if communicator.rank == 0:
            for _ in range(_QUESTIONS):
                communicator.answer(leader)
        if communicator.rank != leader:
            return None
        for _ in range(_QUESTIONS):
            sent = communicator.now_ns()
            reference = communicator.ask(0)
            self._readings.append(Reading(sent, reference, communicator.now_ns()))
        self._readings = _best_of_stretches(self._readings)
        return estimate(self._readings)

    def _tell(self, leaders: list[int], own: ClockModel, communicator: "Communicator") -> dict[int, ClockModel]:
        """Every leader's line on every rank of the communicator."""
        width = len(ClockModel._fields)
        mine: list[float] = []
        for leader in leaders:
            mine += own if communicator.rank == leader else [-math.inf] * width
        shared = communicator.all_max(mine)
        return {leader: ClockModel(*shared[k * width:(k + 1) * width]) for k, leader in enumerate(leaders)}
