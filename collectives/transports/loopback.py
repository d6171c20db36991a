"""Ranks as threads of one process, with every operation implemented from its definition in numpy.

It measures no fabric; the rank program is tested against it. Its results are right by construction, and faults can be
injected.
"""

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from ..cases import catalog
from ..cases.case import Case
from ..errors import UsageError
from ..interfaces import CallSettings, Layout, LoopChoice, Prepared, empty_call, layout
from ..loop.memory import HOST_POLICY, HOST_SLOTS_BYTES, HostMemory, evict_host
from ..loop.timing import maker, python_block
from ..parts import Work
from ..ranks.host_limits import room_bytes
from ..ranks.rendezvous import Place
from ..row_math import RowMath
from ..topology.device_identity import RankDevice
from . import composed
from .host_compute import compute_on_host
from .host_rows import HostRows
from .loopback_definitions import perform, swap

__all__ = ["InjectedFault", "LoopbackTransport", "run_ranks"]

_Result = TypeVar("_Result")
InjectedFault = Callable[[Case, int, np.ndarray], None]     # corrupts what a rank (the int) has received


class _Exchange:
    """A barrier at which each thread of a group deposits an item; one of the threads processes all of them."""

    def __init__(self, size: int) -> None:
        self.items: list[Any] = [None] * size
        self._groups: dict[tuple[int, ...], _Exchange] = {}
        self.outcome: Any = None
        self._in, self._out = threading.Barrier(size), threading.Barrier(size)
        self.questions: list[queue.SimpleQueue[int]] = [queue.SimpleQueue() for _ in range(size)]
        self.answers: list[queue.SimpleQueue[int]] = [queue.SimpleQueue() for _ in range(size)]
        self.words: list[queue.SimpleQueue[int]] = [queue.SimpleQueue() for _ in range(size)]
        self.arrivals = [0] * size

    def meet(self, rank: int, item: object, work: Callable[[list[Any]], _Result]) -> _Result:
        self.items[rank] = item
        if self._in.wait() == 0:
            self.outcome = work(self.items)
        self._out.wait()
        return cast(_Result, self.outcome)

    def of_group(self, members: tuple[int, ...]) -> "_Exchange":
        """The exchange between some of the threads only."""
        return self._groups.setdefault(members, _Exchange(len(members)))

    def arrived(self, number: int) -> bool:
        """Whether every thread has arrived at the barrier of this number, without waiting."""
        if self._in.broken:
            raise threading.BrokenBarrierError
        return min(self.arrivals) >= number

    def abort(self) -> None:
        self._in.abort()
        self._out.abort()
        for waiting in self.words:
            waiting.put(0)
        for group in list(self._groups.values()):
            group.abort()


class LoopbackControl:
    """The control path of one of the threads of a group; see `interfaces.Control`."""

    def __init__(self, rank: int, exchange: _Exchange, now_ns: Callable[[], int]) -> None:
        self.rank, self.size, self.now_ns = rank, len(exchange.items), now_ns
        self._exchange = exchange

    def barrier(self) -> None:
        self._exchange.meet(self.rank, None, len)

    def share(self, word: int) -> int:
        return int(self._exchange.meet(self.rank, word, lambda words: words[0]))

    def arrive(self) -> Callable[[], bool]:
        self._exchange.arrivals[self.rank] += 1
        return functools.partial(self._exchange.arrived, self._exchange.arrivals[self.rank])

    def announce(self, word: int) -> Callable[[], int]:
        if self.rank == 0:
            for waiting in self._exchange.words:
                waiting.put(word)
        return self._exchange.words[self.rank].get

    def among(self, ranks: Sequence[int]) -> "LoopbackControl":
        members = tuple(ranks)
        return LoopbackControl(members.index(self.rank), self._exchange.of_group(members), self.now_ns)


class LoopbackCommunicator(LoopbackControl):
    """One rank's view of a group of threads."""

    slots_bytes = HOST_SLOTS_BYTES
    room_bytes, evict = staticmethod(room_bytes), staticmethod(evict_host)

    def __init__(self, rank: int, exchange: _Exchange, fault: InjectedFault | None,
                 now_ns: Callable[[], int]) -> None:
        super().__init__(rank, exchange, now_ns)
        self._fault, self.kept = fault, dict[Case, int]()

    def prepare(self, case: Case, slots: int, repeats: int = 1) -> Prepared:
        place = layout(case, self.rank)
        memory = HostMemory(slots, place.slot_bytes)
        if case.composition:
            return self._composed(case, memory, place)
        calls = [functools.partial(self._run, case, row[place.send_at:place.send_at + place.send_bytes],
                                   row[place.recv_at:place.recv_at + place.recv_bytes]) for row in memory.rows]
        calls *= repeats
        return Prepared(python_block(calls, self.now_ns, self.drain), slots, memory, place, repeats=repeats,
                        make=maker(calls, self.drain))

    def _composed(self, case: Case, memory: HostMemory, place: Layout) -> Prepared:
        shared: dict[str, Any] = {}
        bound = [composed.bind(LoopbackParts(self, row, shared), case, place) for row in memory.rows]

        def run(call: Callable[[], object], recv: np.ndarray) -> object:
            marks = call()
            if self._fault:
                self._fault(case, self.rank, recv)
            return marks
        calls = [functools.partial(run, one.call, row[place.recv_at:place.recv_at + place.recv_bytes])
                 for one, row in zip(bound, memory.rows, strict=True)]
        block, marks = composed.host_block(case, calls, self.now_ns, self.drain)
        return Prepared(block, len(calls), memory, place, select=composed.selector(case, bound), marks=marks,
                        settle=composed.settler(bound))

    def carry_out(self, case: Case, send: np.ndarray, recv: np.ndarray, members: tuple[int, ...]) -> None:
        """One call among some of the ranks, without the injected fault."""
        self._exchange.of_group(members).meet(members.index(self.rank), (send, recv),
                                              functools.partial(perform, case))

    def swap_rows(self, send: np.ndarray, sends: Sequence[int], recv: np.ndarray, receives: Sequence[int],
                  members: tuple[int, ...]) -> None:
        """An all-to-all of byte counts that only sender and receiver know."""
        def deliver(parties: list[tuple[np.ndarray, Sequence[int], np.ndarray, Sequence[int]]]) -> None:
            blocks = [np.split(send.copy(), np.cumsum(sends)) for send, sends, _, _ in parties]
            for own, (_, _, recv, receives) in enumerate(parties):
                arrived = [row[own] for row in blocks]
                if [len(block) for block in arrived] != list(receives):
                    raise ValueError(f"rank {members[own]} expects {list(receives)} bytes, but the others send "
                                     f"{[len(block) for block in arrived]}")
                recv[:sum(receives)] = np.concatenate(arrived)
        self._exchange.of_group(members).meet(members.index(self.rank), (send, sends, recv, receives), deliver)

    def _run(self, case: Case, send: np.ndarray, recv: np.ndarray) -> None:
        if case.operation.linked:
            self._meet_partner(case, send, recv)
        else:
            self._exchange.meet(self.rank, (send, recv), functools.partial(perform, case))
        if self._fault:
            self._fault(case, self.rank, recv)

    def _meet_partner(self, case: Case, send: np.ndarray, recv: np.ndarray) -> None:
        """Only the two ranks meet, so that pairs do not wait for each other."""
        other = catalog.partner(case, self.rank)
        if other is not None:
            pair = self._exchange.of_group((min(self.rank, other), max(self.rank, other)))
            pair.meet(int(self.rank > other), (send, recv), swap)

    def drain(self) -> None:
        """Nothing to wait for: calls return when they are complete."""

    def all_max(self, values: Sequence[float]) -> list[float]:
        def largest(rows: list[Sequence[float]]) -> list[float]:
            return [float(max(column)) for column in zip(*rows, strict=True)]
        return list(self._exchange.meet(self.rank, values, largest))

    def gather(self, payload: bytes) -> list[bytes] | None:
        everything = self._exchange.meet(self.rank, payload, list)
        return everything if self.rank == 0 else None

    agree = LoopbackControl.share

    def ask(self, peer: int) -> int:
        self._exchange.questions[peer].put(self.rank)
        return self._exchange.answers[self.rank].get()

    def answer(self, peer: int) -> None:
        self._exchange.questions[self.rank].get()
        self._exchange.answers[peer].put(self.now_ns())


class LoopbackParts:
    """One slot of a thread; see `parts.Parts`. What is started is carried out by the wait for it."""

    def __init__(self, comm: LoopbackCommunicator, row: np.ndarray, shared: dict[str, Any]) -> None:
        self.rank, self.size, self.now_ns = comm.rank, comm.size, comm.now_ns
        self.share, self.kept, self.shared = comm.share, comm.kept, shared
        self.rows: RowMath = HostRows()
        self._comm, self._row = comm, row

    def slot(self, at: int, length: int) -> np.ndarray:
        return self._row[at:at + length]

    def scratch(self, length: int) -> np.ndarray:
        return np.zeros(length, np.uint8)

    def call(self, case: Case, send: np.ndarray, recv: np.ndarray,
             ranks: Sequence[int] | None = None) -> Callable[[], object]:
        return functools.partial(self._comm.carry_out, case, send, recv, self._members(ranks))

    def start(self, case: Case, send: np.ndarray, recv: np.ndarray,
              ranks: Sequence[int] | None = None) -> Callable[[], Callable[[], object]]:
        call = self.call(case, send, recv, ranks)
        return lambda: call

    def start_timed(self, case: Case, send: np.ndarray, recv: np.ndarray,
                    ranks: Sequence[int] | None = None) -> Callable[[], "Waiting"]:
        call = self.call(case, send, recv, ranks)
        return lambda: Waiting(call, self.now_ns)

    def compute(self, units: int, poll: Callable[[], object]) -> Work:
        return compute_on_host(units, poll, self.now_ns)

    def exchange(self, send: np.ndarray, sends: Sequence[int], recv: np.ndarray, receives: Sequence[int],
                 ranks: Sequence[int] | None = None) -> None:
        self._comm.swap_rows(send, sends, recv, receives, self._members(ranks))

    def _members(self, ranks: Sequence[int] | None) -> tuple[int, ...]:
        return tuple(range(self.size) if ranks is None else ranks)


class Waiting:
    """A call that is carried out by the wait for it: nothing overlaps."""

    def __init__(self, call: Callable[[], object], now_ns: Callable[[], int]) -> None:
        self._call, self._now_ns = call, now_ns

    def __call__(self) -> int:
        self._call()
        return self._now_ns()

    poll = staticmethod(empty_call)


class LoopbackTrial:
    """Threads need no communicator: its steps are meetings, and its first call is a sum."""

    def __init__(self, rank: int, world: _Exchange, group: _Exchange) -> None:
        self._rank, self._world, self._group = rank, world, group

    def create(self) -> None:
        self._world.meet(self._rank, None, len)

    def first_call(self) -> bool:
        ranks = len(self._group.items)
        return bool(self._group.meet(self._rank, self._rank + 1, sum) == ranks * (ranks + 1) // 2)

    destroy = create


class LoopbackTransport:
    """One rank of `run_ranks`."""

    name, library, device, buffers, threads = "loopback", "numpy definitions", "cpu", HOST_POLICY, 1
    own_device = RankDevice()
    notes: tuple[str, ...] = ()

    def __init__(self, rank: int, size: int, exchanges: dict[int, _Exchange], fault: InjectedFault | None) -> None:
        self.rank, self.size = rank, size
        self.now_ns: Callable[[], int] = time.perf_counter_ns       # tests give ranks other clocks
        self._exchanges, self._fault = exchanges, fault

    def why_not(self, case: Case) -> str | None:
        if case.composition:
            return composed.why_not(case, self.why_not)
        if case.redop and case.dtype == "bfloat16":
            return "numpy has no bfloat16 arithmetic"
        return None

    def communicator(self, ranks: int) -> LoopbackCommunicator | None:
        if self.rank >= ranks:
            return None
        return LoopbackCommunicator(self.rank, self._exchanges[ranks], self._fault, self.now_ns)

    def trial(self, ranks: int) -> "LoopbackTrial":
        return LoopbackTrial(self.rank, self._exchanges[self.size], self._exchanges[ranks])

    def configure(self, settings: CallSettings) -> LoopChoice:
        for option, wanted in (("--loop native", settings.loop == "native"), ("--persistent", settings.persistent),
                               ("--graph", settings.graph)):
            if wanted:
                raise UsageError(f"{option}: loopback is plain Python and runs every call at once")
        return LoopChoice("python", "loopback is plain Python")

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def settings_in_force(self) -> dict[str, str | None]:
        return {}

    def close(self) -> None:
        """Nothing to close."""

    def abort(self, status: int) -> None:
        for exchange in self._exchanges.values():
            exchange.abort()


def run_ranks(size: int, program: Callable[[LoopbackTransport, Place], _Result],
              fault: InjectedFault | None = None) -> _Result:
    """Run `program` as each of `size` ranks, rank 0 in this thread; returns the result of rank 0.

    An exception on any rank ends all of them and is raised here.
    """
    exchanges = {n: _Exchange(n) for n in range(1, size + 1)}
    errors: list[BaseException] = []
    results: dict[int, _Result] = {}

    def one(rank: int) -> None:
        place = Place("threads", rank, size, rank, size, None)
        try:
            results[rank] = program(LoopbackTransport(rank, size, exchanges, fault), place)
        except BaseException as error:
            if not isinstance(error, threading.BrokenBarrierError):
                errors.append(error)
            for exchange in exchanges.values():
                exchange.abort()
    others = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(1, size)]
    for thread in others:
        thread.start()
    one(0)
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return results[0]
