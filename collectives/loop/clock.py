"""A common clock for all ranks: each host's offset and drift relative to rank 0, with an error bound.

All ranks of a host read one clock, so one leader rank per host queries rank 0 and shares the result: 47 exchanges
for 384 ranks on 48 hosts, not 383. A query and its reply bound the offset from both sides, however asymmetric the two
delays (Cristian, Distributed Computing 3, 1989): rank 0 read its clock between the two local readings.
Queries are repeated before each case, so the baseline for the drift grows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..interfaces import Communicator

__all__ = ["SAME", "ClockModel", "ClockReading", "Clocks", "estimate"]

_UNKNOWN_DRIFT = 500e-6     # before the drift is measured: kernels slew by at most 500 ppm (adjtimex(2))
_QUERIES = 24
_INTERVALS = 8              # time intervals of which only the best reading is kept


class ClockReading(NamedTuple):
    """One query to rank 0: local clock before, rank 0's clock, local clock after; in ns."""

    sent: int
    reference: int
    received: int

    @property
    def when(self) -> float:
        """Local time of the middle of the query."""
        return (self.sent + self.received) / 2

    @property
    def offset(self) -> float:
        """Rank 0's clock minus the local one, if both delays were equal."""
        return self.reference - self.when

    @property
    def error(self) -> float:
        """Bound on the error of `offset`: half the round trip."""
        return (self.received - self.sent) / 2


class ClockModel(NamedTuple):
    """Rank 0's clock as a linear function of the local one: offset(t) = offset + drift * (t - epoch), in ns.

    The true offset is within `error(t)` as long as the drift is constant.
    """

    epoch: float
    offset: float
    drift: float
    offset_error: float
    drift_error: float

    def to_reference(self, local_ns: int) -> int:
        """Convert a local time to rank 0's clock."""
        return local_ns + round(self.offset + self.drift * (local_ns - self.epoch))

    def to_local(self, reference_ns: int) -> int:
        """Convert a time on rank 0's clock to the local one."""
        since = reference_ns - self.offset - self.epoch      # small, so the division loses no digits
        return reference_ns - round(self.offset + since * self.drift / (1 + self.drift))

    def error(self, local_ns: float) -> float:
        """Bound in ns on the error of the offset at this local time."""
        return self.offset_error + self.drift_error * abs(local_ns - self.epoch)


SAME = ClockModel(0.0, 0.0, 0.0, 0.0, 0.0)      # for every rank on rank 0's host


def estimate(readings: Sequence[ClockReading]) -> ClockModel:
    """The clock model that fits the readings, with its error bounds. Needs at least one reading.

    The reading with the shortest round trip in each time interval bounds the offset there; the drift follows from the
    pair of intervals that bounds it most tightly.
    """
    best = _best_per_interval(readings)
    last = min(best[-2:], key=lambda reading: reading.error)
    drift, drift_error = 0.0, _UNKNOWN_DRIFT
    for first in best:
        apart = last.when - first.when
        if apart > 0 and (first.error + last.error) / apart < drift_error:
            drift, drift_error = (last.offset - first.offset) / apart, (first.error + last.error) / apart
    return ClockModel(last.when, last.offset, drift, last.error, drift_error)


def _best_per_interval(readings: Sequence[ClockReading]) -> list[ClockReading]:
    ordered = sorted(readings, key=lambda reading: reading.when)
    begin, length = ordered[0].when, max(ordered[-1].when - ordered[0].when, 1.0)
    best: dict[int, ClockReading] = {}
    for reading in ordered:
        interval = int(_INTERVALS * (reading.when - begin) / length)
        if interval not in best or reading.error < best[interval].error:
            best[interval] = reading
    return list(best.values())


class Clocks:
    """This rank's clock relative to rank 0's, updated before each case."""

    def __init__(self, hosts: Sequence[int]) -> None:
        """`hosts`: for each rank of the job the lowest rank on the same host (the same running kernel)."""
        self._hosts = list(hosts)
        self._readings: list[ClockReading] = []

    @property
    def shared(self) -> bool:
        """Whether all ranks of the job read one clock."""
        return not any(self._hosts)

    def refresh(self, communicator: Communicator) -> tuple[ClockModel, float]:
        """This rank's clock model, and the largest error bound of any rank in ns. Collective over the communicator."""
        leaders = sorted({leader for leader in self._hosts[:communicator.size] if leader})
        if not leaders:
            return SAME, 0.0
        own = SAME
        for leader in leaders:
            own = self._query(leader, communicator) or own
        models = self._share(leaders, own, communicator)
        return models.get(self._hosts[communicator.rank], SAME), max(model.offset_error for model in models.values())

    def _query(self, leader: int, communicator: Communicator) -> ClockModel | None:
        """One leader queries rank 0; its model on the leader, None on all other ranks."""
        if communicator.rank == 0:
            for _ in range(_QUERIES):
                communicator.answer(leader)
        if communicator.rank != leader:
            return None
        for _ in range(_QUERIES):
            sent = communicator.now_ns()
            reference = communicator.ask(0)
            self._readings.append(ClockReading(sent, reference, communicator.now_ns()))
        self._readings = _best_per_interval(self._readings)
        return estimate(self._readings)

    def _share(self, leaders: list[int], own: ClockModel, communicator: Communicator) -> dict[int, ClockModel]:
        """Every leader's model on every rank of the communicator."""
        width = len(ClockModel._fields)
        mine: list[float] = []
        for leader in leaders:
            mine += own if communicator.rank == leader else [-math.inf] * width
        shared = communicator.all_max(mine)
        return {leader: ClockModel(*shared[k * width:(k + 1) * width]) for k, leader in enumerate(leaders)}
