"""The compiled loop on mpi4py's handles and buffers: fills in the table of calls that native/loop.c executes."""

import ctypes
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from ..cases import catalog
from ..cases.case import Case
from ..interfaces import Layout, LoopSpec, Memory, Prepared, SampleBatch, WarmSpec
from ..loop.memory import HostMemory
from ..native.build import names
from .mpi_calls import OPS, Buffers, datatype, persistent_request

__all__ = ["NativeLoop"]

_IN_PLACE_SEND, _IN_PLACE_RECEIVE = 1, 2


class NativeLoop:
    """Prepares cases that the compiled loop times."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._kinds = names(library.collbench_kinds())
        self._starts = names(library.collbench_starts(), "start_")

    def has(self, case: Case) -> bool:
        """Whether loop.c has the calls of this operation; the same answer on every rank."""
        return case.operation.pairs or case.op in self._kinds

    def prepare(self, comm: MPI.Intracomm, control: MPI.Intracomm, case: Case, slots: Sequence[Buffers],
                memory: Memory, place: Layout, persistent: bool, repeats: int) -> Prepared:
        """Like `Communicator.prepare`. A failing MPI call raises RuntimeError with MPI's message.

        On host memory the compiled loop takes whole series of samples. Elsewhere it makes the calls of one sample and
        reads the clock; the memory itself is filled and compared between samples.
        """
        table = self._library.collbench_new(len(slots), repeats)
        if not table:
            raise MemoryError("no memory for the table of calls")
        kept = [self._fill(table, index, comm, case, slot, persistent) for index, slot in enumerate(slots)]

        def release() -> None:
            self._library.collbench_free(table)
            kept.clear()
            for slot in slots:
                slot.free()
        sampler = self._sampler(table, control, memory, place) if isinstance(memory, HostMemory) else None
        return Prepared(self._block(table), len(slots), memory, place, "native", release, sampler, repeats=repeats,
                        make=lambda count: _check(self._library.collbench_make(table, count)))

    def _block(self, table: int) -> Callable[[int], tuple[int, int]]:
        readings, run = (ctypes.c_int64 * 2)(), self._library.collbench_run

        def block(start_ns: int) -> tuple[int, int]:
            _check(run(table, start_ns, readings))
            return readings[0], readings[1]
        return block

    def _sampler(self, table: int, control: MPI.Intracomm, memory: HostMemory,
                 place: Layout) -> Callable[[LoopSpec, int, int], SampleBatch]:
        def sampler(spec: LoopSpec, first: int, count: int) -> SampleBatch:
            self._set_up(table, control, memory, place, spec)
            rows, wrong = np.zeros((3, count), np.int64), ctypes.c_int()
            taken = self._library.collbench_samples(table, first, count, *(row.ctypes.data for row in rows),
                                                    ctypes.addressof(wrong))
            _check(-min(taken, 0))
            begin_ns, elapsed_ns, late_ns = rows[:, :taken].tolist()
            return SampleBatch(begin_ns, elapsed_ns, late_ns, bool(wrong.value))
        return sampler

    def _set_up(self, table: int, control: MPI.Intracomm, memory: HostMemory, place: Layout, spec: LoopSpec) -> None:
        rows, start = memory.rows, spec.start
        self._library.collbench_set_buffers(table, rows.ctypes.data, rows.shape[1], spec.poison, place.send_at,
                                            place.send_bytes, place.recv_at, place.recv_bytes)
        for expected, patterns in enumerate((spec.sent, spec.expected)):
            for odd, (tiles, piece_bytes) in enumerate(patterns):
                self._library.collbench_set_pattern(table, expected, odd, tiles.ctypes.data, *tiles.shape, piece_bytes)
        self._library.collbench_set_start(table, self._starts[start.rule], control.py2f(), start.lead_ns, start.epoch,
                                          start.offset, start.drift, spec.answers)
        warm = spec.warm or WarmSpec(0, 0, False, (0, 0))
        restores = warm.restores and place.send_bytes > 0
        self._library.collbench_set_warm(table, spec.warm is not None, warm.turn, warm.first, restores, *warm.exposed)

    def _fill(self, table: int, index: int, comm: MPI.Intracomm, case: Case, slot: Buffers,
              persistent: bool) -> object:
        """Fill in one call; returns what must live as long as the table."""
        if persistent and (request := persistent_request(comm, case, slot)):
            self._library.collbench_set_started(table, index, request.py2f())
            return request
        peer, other = _neighbours(comm, case)
        count = case.count // case.ranks if case.operation.in_blocks else case.count
        op = OPS[case.redop].py2f() if case.redop else MPI.OP_NULL.py2f()
        self._library.collbench_set(
            table, index, self._kinds[_kind(comm, case)], _in_place(comm, case), comm.py2f(),
            datatype(case).py2f(), op, slot.send_address, count, slot.recv_address, count, peer, other)
        if case.operation.windowed:
            messages = case.operation.messages
            sends, receives = (messages if size else 0 for size in (len(slot.send_bytes), len(slot.recv_bytes)))
            self._library.collbench_set_window(table, index, sends, receives, catalog.window_depth(case), case.bytes)
        return self._vectors(table, index, comm, case) if case.operation.uneven else None

    def _vectors(self, table: int, index: int, comm: MPI.Intracomm, case: Case) -> list[np.ndarray]:
        counts = catalog.traffic_counts(case)
        arrays: list[np.ndarray] = []
        for row in (counts[comm.rank], [line[comm.rank] for line in counts]):
            arrays += [np.array(row, np.intc), np.array([0, *itertools.accumulate(row[:-1])], np.intc)]
        self._library.collbench_set_vectors(table, index, *(array.ctypes.data for array in arrays))
        return arrays


def _check(error: int) -> None:
    if error:
        raise RuntimeError(MPI.Get_error_string(error))


def _kind(comm: MPI.Intracomm, case: Case) -> str:
    """The kind of this rank's call, as loop.c names it."""
    if not case.operation.pairs:
        return case.op
    if catalog.partner(case, comm.rank) is None:
        return "noop"
    kinds = ("window_first", "window_second") if case.operation.windowed else ("ping", "pong")
    return kinds[not catalog.begins(case, comm.rank)]


def _in_place(comm: MPI.Intracomm, case: Case) -> int:
    if not case.in_place or (case.operation.rooted and comm.rank != catalog.ROOT):
        return 0
    return _IN_PLACE_RECEIVE if case.op == "scatter" else _IN_PLACE_SEND


def _neighbours(comm: MPI.Intracomm, case: Case) -> tuple[int, int]:
    """The rank that this one sends to, and the rank that it receives from (or the root)."""
    if case.operation.pairs:
        partner = catalog.partner(case, comm.rank)
        return (catalog.ROOT if partner is None else partner,) * 2
    if case.op == "send_recv":
        return (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return catalog.ROOT, catalog.ROOT
