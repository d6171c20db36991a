"""Ranks as threads of one process, and every operation written down as its definition says, in numpy.

No fabric is measured here. It is what the rank program is tested against: a library whose answers are right by
construction, and that can be told to be wrong.
"""

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ..cases import catalog
from ..cases.case import Case
from ..errors import UsageError
from ..interfaces import Prepared, layout
from ..loop.memory import HOST_POLICY, HOST_SLOTS_BYTES, HostMemory, evict_host
from ..loop.timing import python_block
from ..ranks.host_limits import room_bytes
from ..ranks.rendezvous import Place

__all__ = ["Fault", "LoopbackTransport", "run_ranks"]

Result = TypeVar("Result")
Fault = Callable[[Case, int, np.ndarray], None]     # spoils what a rank (the int) received, after the operation

_UFUNCS = {"sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum, "avg": np.add}


class _Meeting:
    """Where threads of a group leave something for each other; the last to come does the work."""

    def __init__(self, size: int) -> None:
        self.left: list[object] = [None] * size
        self._pairs: dict[tuple[int, int], _Meeting] = {}
        self.outcome: object = None
        self._in, self._out = threading.Barrier(size), threading.Barrier(size)
        self.questions = [queue.SimpleQueue() for _ in range(size)]
        self.answers = [queue.SimpleQueue() for _ in range(size)]

    def meet(self, rank: int, thing: object, work: Callable[[list], object]) -> object:
        self.left[rank] = thing
        if self._in.wait() == 0:
            self.outcome = work(self.left)
        self._out.wait()
        return self.outcome

    def of_two(self, rank: int, other: int) -> "_Meeting":
        """Where two of them meet without the others."""
        return self._pairs.setdefault((min(rank, other), max(rank, other)), _Meeting(2))

    def abort(self) -> None:
        self._in.abort()
        self._out.abort()
        for pair in list(self._pairs.values()):
            pair.abort()


class LoopbackCommunicator:
    """One rank's view of a group of threads."""

    slots_bytes = HOST_SLOTS_BYTES
    room_bytes, evict = staticmethod(room_bytes), staticmethod(evict_host)

    def __init__(self, rank: int, meeting: _Meeting, fault: Fault | None, now_ns: Callable[[], int]) -> None:
        self.rank, self.size = rank, len(meeting.left)
        self._meeting, self._fault = meeting, fault
        self.now_ns = now_ns

    def prepare(self, case: Case, slots: int) -> Prepared:
        place = layout(case, self.rank)
        memory = HostMemory(slots, place.slot_bytes)
        calls = [functools.partial(self._run, case, row[place.send_at:place.send_at + place.send_bytes],
                                   row[place.recv_at:place.recv_at + place.recv_bytes]) for row in memory.rows]
        return Prepared(python_block(calls, self.now_ns, self.drain), slots, memory, place)

    def _run(self, case: Case, send: np.ndarray, recv: np.ndarray) -> None:
        if case.operation.linked:
            self._meet_partner(case, send, recv)
        else:
            self._meeting.meet(self.rank, (send, recv), functools.partial(_perform, case))
        if self._fault:
            self._fault(case, self.rank, recv)

    def _meet_partner(self, case: Case, send: np.ndarray, recv: np.ndarray) -> None:
        """Only the two, so that no pair waits for another one."""
        other = catalog.partner(case, self.rank)
        if other is not None:
            self._meeting.of_two(self.rank, other).meet(int(self.rank > other), (send, recv), _exchange)

    def drain(self) -> None:
        """Calls here return when they are complete."""

    def barrier(self) -> None:
        self._meeting.meet(self.rank, None, len)

    def all_max(self, values: Sequence[float]) -> list[float]:
        def largest(rows: list[Sequence[float]]) -> list[float]:
            return [float(max(column)) for column in zip(*rows, strict=True)]
        return list(self._meeting.meet(self.rank, values, largest))

    def gather(self, payload: bytes) -> list[bytes] | None:
        everything = self._meeting.meet(self.rank, payload, list)
        return everything if self.rank == 0 else None

    def agree(self, word: int) -> int:
        return self._meeting.meet(self.rank, word, lambda words: words[0])

    share = agree

    def ask(self, peer: int) -> int:
        self._meeting.questions[peer].put(self.rank)
        return self._meeting.answers[self.rank].get()

    def answer(self, peer: int) -> None:
        self._meeting.questions[self.rank].get()
        self._meeting.answers[peer].put(self.now_ns())


class LoopbackTransport:
    """One rank of `run_ranks`."""

    name, library, device, buffers, threads, notes = "loopback", "numpy definitions", "cpu", HOST_POLICY, 1, ()

    def __init__(self, rank: int, size: int, meetings: dict[int, _Meeting], fault: Fault | None) -> None:
        self.rank, self.size = rank, size
        self.now_ns: Callable[[], int] = time.perf_counter_ns       # a program may give a rank another clock
        self._meetings, self._fault = meetings, fault

    def why_not(self, case: Case) -> str | None:
        if case.redop and case.dtype == "bfloat16":
            return "numpy has no bfloat16 arithmetic"
        return None

    def communicator(self, ranks: int) -> LoopbackCommunicator | None:
        if self.rank >= ranks:
            return None
        return LoopbackCommunicator(self.rank, self._meetings[ranks], self._fault, self.now_ns)

    def configure(self, loop: str, persistent: bool, builds: bool, graph: bool = False) -> tuple[str, str | None]:
        if graph:
            raise UsageError("--graph: loopback runs every call at once")
        return "python", "loopback is Python throughout"

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def close(self) -> None:
        """Nothing outlives the threads."""


def run_ranks(size: int, program: Callable[[LoopbackTransport, Place], Result], fault: Fault | None = None) -> Result:
    """Run `program` as each of `size` ranks, rank 0 in this thread; returns what rank 0 returned.

    An exception on any rank ends all of them and is raised here.
    """
    meetings = {n: _Meeting(n) for n in range(1, size + 1)}
    errors: list[BaseException] = []

    def one(rank: int) -> Result | None:
        place = Place("threads", rank, size, rank, size, None)
        try:
            return program(LoopbackTransport(rank, size, meetings, fault), place)
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):
                errors.append(error)
            for meeting in meetings.values():
                meeting.abort()
            return None
    others = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(1, size)]
    for thread in others:
        thread.start()
    result = one(0)
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return result


def _perform(case: Case, buffers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Do the operation for all ranks at once; sends are copied first, since buffers may overlap."""
    sends, receives = [send.copy() for send, _ in buffers], [recv for _, recv in buffers]
    _DEFINITIONS[case.op](case, sends, receives)


def _combined(case: Case, sends: list[np.ndarray]) -> np.ndarray:
    typed = [send.view(case.dtype) for send in sends]
    with np.errstate(over="ignore"):
        total = functools.reduce(_UFUNCS[case.redop], typed)
    if case.redop == "avg":
        total = (total / case.ranks).astype(total.dtype) if total.dtype.kind == "f" else total // case.ranks
    return total.view(np.uint8)


def _all_reduce(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    total = _combined(case, sends)
    for recv in receives:
        recv[:] = total


def _reduce(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    receives[catalog.ROOT][:] = _combined(case, sends)


def _reduce_scatter(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv, part in zip(receives, np.split(_combined(case, sends), case.ranks), strict=True):
        recv[:] = part


def _broadcast(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv in receives:
        recv[:] = sends[catalog.ROOT]


def _all_gather(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv in receives:
        recv[:] = np.concatenate(sends)


def _gather(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    receives[catalog.ROOT][:] = np.concatenate(sends)


def _scatter(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for recv, part in zip(receives, np.split(sends[catalog.ROOT], case.ranks), strict=True):
        recv[:] = part


def _all_to_all(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    parts = [np.split(send, case.ranks) for send in sends]
    for rank, recv in enumerate(receives):
        recv[:] = np.concatenate([row[rank] for row in parts])


def _all_to_all_v(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    ends = [np.cumsum(row)[:-1] * case.itemsize for row in catalog.traffic_counts(case)]
    parts = [np.split(send, end) for send, end in zip(sends, ends, strict=True)]
    for rank, recv in enumerate(receives):
        recv[:] = np.concatenate([row[rank] for row in parts])


def _send_recv(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for rank, recv in enumerate(receives):
        recv[:] = sends[rank - 1]


def _pairs(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for rank, recv in enumerate(receives):
        if recv.size:
            recv[:] = sends[catalog.partner(case, rank)]


def _exchange(buffers: list[tuple[np.ndarray, np.ndarray]]) -> None:
    (send, recv), (other_send, other_recv) = buffers
    sent = send.copy()
    if recv.size:
        recv[:] = other_send
    if other_recv.size:
        other_recv[:] = sent


def _copy(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    for send, recv in zip(sends, receives, strict=True):
        recv[:] = send


def _nothing(case: Case, sends: list[np.ndarray], receives: list[np.ndarray]) -> None:
    """A barrier is that all have come, which they have."""


_DEFINITIONS = {"all_reduce": _all_reduce, "reduce": _reduce, "reduce_scatter": _reduce_scatter,
                "broadcast": _broadcast, "all_gather": _all_gather, "gather": _gather, "scatter": _scatter,
                "all_to_all": _all_to_all, "all_to_all_v": _all_to_all_v, "send_recv": _send_recv,
                "ping_pong": _pairs, "bandwidth": _pairs, "bi_bandwidth": _pairs, "barrier": _nothing, "noop": _nothing,
                **dict.fromkeys(catalog.GROUPS["copies"], _copy)}
