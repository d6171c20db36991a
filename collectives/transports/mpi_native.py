"""The compiled loop on mpi4py's own handles and buffers: fills the table that native/loop.c walks through."""

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from mpi4py import MPI

from ..cases import catalog
from ..cases.case import Case
from ..interfaces import Layout, Prepared
from ..loop.alignment import Alignment
from ..loop.memory import HostMemory
from ..loop.verify import POISON, Inspector
from .mpi_calls import OPS, Buffers, datatype, persistent_request

if TYPE_CHECKING:
    from ..interfaces import Sampler

__all__ = ["NativeLoop"]

_KINDS = ("noop", "barrier", "all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "gather", "scatter",
          "all_to_all", "all_to_all_v", "send_recv", "ping", "pong", "window_first", "window_second")
_IN_PLACE_SEND, _IN_PLACE_RECEIVE = 1, 2


class NativeLoop:
    """Makes prepared cases out of slots, timed by the compiled loop."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def prepare(self, comm: MPI.Intracomm, control: MPI.Intracomm, case: Case, slots: Sequence[Buffers],
                memory: HostMemory, place: Layout, persistent: bool) -> Prepared:
        """As `Communicator.prepare`. A failing MPI call raises RuntimeError with what MPI says."""
        table = self._library.collbench_new(len(slots))
        if not table:
            raise MemoryError("no memory for the table of calls")
        kept = [self._fill(table, index, comm, case, slot, persistent) for index, slot in enumerate(slots)]

        def release() -> None:
            self._library.collbench_free(table)
            kept.clear()
            for slot in slots:
                slot.free()
        return Prepared(self._block(table), len(slots), memory, place, "native", release,
                        self._sampler(table, control))

    def _block(self, table: int) -> Callable[[int], tuple[int, int]]:
        readings, run = (ctypes.c_int64 * 2)(), self._library.collbench_run

        def block(start_ns: int) -> tuple[int, int]:
            _check(run(table, start_ns, readings))
            return readings[0], readings[1]
        return block

    def _sampler(self, table: int, control: MPI.Intracomm) -> "Sampler":
        def sampler(inspector: Inspector, alignment: Alignment, first: int,
                    count: int) -> tuple[list[int], list[int], list[int]]:
            self._set_up(table, control, inspector, alignment)
            figures = np.zeros((3, count), np.int64)
            wrong, done = ctypes.c_int(), 0
            while done < count:
                taken = self._library.collbench_samples(table, first + done, count - done,
                                                        *(row[done:].ctypes.data for row in figures),
                                                        ctypes.addressof(wrong))
                _check(-min(taken, 0))
                done += taken
                _account(inspector, first + done - 1, taken, bool(wrong.value))
            return tuple(figures.tolist())
        return sampler

    def _set_up(self, table: int, control: MPI.Intracomm, inspector: Inspector, alignment: Alignment) -> None:
        prepared, clock = inspector.prepared, alignment.clock
        place, rows = prepared.layout, prepared.memory.rows
        self._library.collbench_set_buffers(table, rows.ctypes.data, rows.shape[1], POISON, place.send_at,
                                            place.send_bytes, place.recv_at, place.recv_bytes)
        for wanted, patterns in enumerate((inspector.sends, inspector.wanted)):
            for odd, (tiles, piece_bytes) in enumerate(patterns):
                self._library.collbench_set_pattern(table, wanted, odd, tiles.ctypes.data, *tiles.shape, piece_bytes)
        self._library.collbench_set_start(table, alignment.code, control.py2f(), alignment.lead_ns, clock.epoch,
                                          clock.offset, clock.drift)

    def _fill(self, table: int, index: int, comm: MPI.Intracomm, case: Case, slot: Buffers,
              persistent: bool) -> object:
        """Describe one call; returns what must live as long as the table."""
        if persistent and (request := persistent_request(comm, case, slot)):
            self._library.collbench_set_started(table, index, request.py2f())
            return request
        peer, other = _neighbours(comm, case)
        count = case.count // case.ranks if case.operation.in_blocks else case.count
        op = OPS[case.redop].py2f() if case.redop else MPI.OP_NULL.py2f()
        self._library.collbench_set(
            table, index, _KINDS.index(_kind(comm, case)), _in_place(comm, case), comm.py2f(),
            datatype(case).py2f(), op, _address(slot.send_bytes), count, _address(slot.recv_bytes), count, peer, other)
        if case.operation.windowed:
            messages = case.operation.messages
            sends, receives = (messages if len(raw) else 0 for raw in (slot.send_bytes, slot.recv_bytes))
            self._library.collbench_set_window(table, index, sends, receives, catalog.window_depth(case), case.bytes)
        return self._vectors(table, index, comm, case) if case.operation.uneven else None

    def _vectors(self, table: int, index: int, comm: MPI.Intracomm, case: Case) -> list[np.ndarray]:
        counts = catalog.traffic_counts(case)
        arrays = []
        for row in (counts[comm.rank], [line[comm.rank] for line in counts]):
            arrays += [np.array(row, np.intc), np.array([0, *itertools.accumulate(row[:-1])], np.intc)]
        self._library.collbench_set_vectors(table, index, *(array.ctypes.data for array in arrays))
        return arrays


def _check(error: int) -> None:
    if error:
        raise RuntimeError(MPI.Get_error_string(error))


def _account(inspector: Inspector, last: int, taken: int, last_is_wrong: bool) -> None:
    """Let the inspector know of samples that the loop compared; the wrong one it looks at itself."""
    right = taken - last_is_wrong
    if inspector.prepared.receives:
        inspector.checks += right * inspector.prepared.slots
    if last_is_wrong:
        inspector.check(last, "timed")


def _kind(comm: MPI.Intracomm, case: Case) -> str:
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
    """Whom this rank sends to, and whom it receives from (or the root)."""
    if case.operation.pairs:
        partner = catalog.partner(case, comm.rank)
        return (catalog.ROOT if partner is None else partner,) * 2
    if case.op == "send_recv":
        return (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    return catalog.ROOT, catalog.ROOT


def _address(raw: object) -> int:
    return raw.ctypes.data if isinstance(raw, np.ndarray) else raw.data_ptr()
