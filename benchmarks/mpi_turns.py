"""collbench's loops over MPI and those of mpi_loops.c, in turn on the same ranks and communicators.

    mpirun -n RANKS python mpi_turns.py LIBRARY SECONDS TURNS OPS SIZES LOOP

LIBRARY is mpi_loops.c, compiled. LOOP is `native` or `python` to compare collbench's loop of that name with the plain
one, or `osu` to compare the compiled one with OSU's. MPI's times differ between two launches by more than the loops do,
so both run in one. Prints a JSON line for each turn, case and mode: the times of one message by both, in us.
"""

import ctypes
import json
import statistics
import sys

from collbench.collectives.cases.case import Case
from collbench.collectives.interfaces import CallSettings
from collbench.collectives.loop.clock import SAME
from collbench.collectives.loop.measure import ModeSamples, measure
from collbench.collectives.records.record import MODES, Policy, makespans_ns
from collbench.collectives.transports.mpi import MpiCommunicator, open_transport

LETTERS = {"ping_pong": b"p", "all_reduce": b"r", "all_to_all": b"a"}
_LARGE = 8192           # OSU makes fewer calls of messages above this
LARGEST = 4 << 20       # OSU's default, the size of its buffers


class Turns:
    """One case, measured by each loop when it is its turn. Times are of one message, in us, the same on all ranks."""

    def __init__(self, case: Case, comm: MpiCommunicator, loops: ctypes.CDLL, seconds: float) -> None:
        self.case, self.comm, self.loops, self.seconds = case, comm, loops, seconds
        self.letter = ord(LETTERS[case.op])

    def sampled(self, loop: str, mode: str) -> tuple[float, float]:
        """Medians of samples, from the first begin to the last end: collbench's, and those of the plain loop in C."""
        taken, begin, elapsed, counted = self._ours(loop=loop, modes=(mode,), alignment="agreed")
        ours = statistics.median(makespans_ns(begin, elapsed, counted)) / taken.calls / self.case.operation.messages
        slots = 1 if taken.cache == "warm" else taken.calls
        theirs = self.loops.plain(self.letter, self.case.bytes, taken.calls, slots, self.seconds)
        return ours / 1e3, self._checked(theirs) / 1e3

    def averaged(self) -> tuple[float, float]:
        """Means over isolated calls and timed ranks, which begin as OSU's do: collbench's, and those of OSU's loop."""
        pairwise, large = self.case.op == "ping_pong", self.case.bytes > _LARGE
        iterations = (1000 if large else 10000) if pairwise else (100 if large else 1000)
        skip = iterations // (100 if pairwise else 10)
        _, _, elapsed, counted = self._ours(modes=("isolated",), alignment="none" if pairwise else "barrier",
                                            min_samples=iterations // 4, max_samples=iterations)
        ours = statistics.fmean(row[sample] for row in elapsed for sample in counted) / self.case.operation.messages
        theirs = self.loops.average(self.letter, self.case.bytes, iterations, skip, LARGEST)
        return ours / 1e3, self._checked(theirs) / 1e3

    def _checked(self, time_ns: float) -> float:
        if time_ns < 0:
            raise SystemExit(f"{self.case.name}: not enough memory for the buffers of mpi_loops.c")
        return time_ns

    def _ours(self, **policy: object) -> tuple[ModeSamples, list[list[int]], list[list[int]], list[int]]:
        """The samples of one mode: of this rank, begins and times of all timed ranks, and which samples count."""
        settings = {"case_s": self.seconds, "precision": 0.0, **policy}
        outcome = measure(self.case, self.comm, SAME, Policy(**settings), self.seconds, self.comm.size)
        if outcome.status != "ok":
            raise SystemExit(f"{self.case.name}: {outcome.status}: {outcome.reason}")
        taken = outcome.modes[0]
        everyone = self.comm.timed.allgather((taken.begin_ns, taken.elapsed_ns))
        begin, elapsed = zip(*(everyone[rank] for rank in self.case.operation.timed(self.case)), strict=True)
        counted = sorted(set(range(taken.warmup, len(taken.elapsed_ns))) - set(taken.late))
        return taken, list(begin), list(elapsed), counted


def cases(ops: str, sizes: str, ranks: int) -> list[Case]:
    """Every operation at every size."""
    return [Case(op=op, ranks=ranks, bytes=size, dtype="float32", redop="sum" if op == "all_reduce" else None)
            for op in ops.split(",") for size in map(int, sizes.split(","))]


def main() -> None:
    """Everything that one rank does."""
    library, seconds, turns, ops, sizes, loop = sys.argv[1:]
    transport = open_transport(None, "cpu")
    transport.configure(CallSettings(loop="python" if loop == "python" else "native", compiles=transport.rank == 0))
    comm = transport.communicator(transport.size)
    assert comm is not None
    loops = ctypes.CDLL(library)
    loops.plain.restype = loops.average.restype = ctypes.c_double
    loops.plain.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_double)
    loops.average.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_size_t)
    loops.use(comm.timed.py2f(), comm.control.py2f())
    for case in cases(ops, sizes, comm.size):
        one = Turns(case, comm, loops, float(seconds))
        for _ in range(int(turns)):
            rows = ({"isolated": one.averaged()} if loop == "osu" else
                    {mode: one.sampled(loop, mode) for mode in MODES})
            for mode, (ours, theirs) in rows.items():
                if comm.rank == 0:
                    print(json.dumps({"op": case.op, "bytes": case.bytes, "mode": mode, "ours_us": ours,
                                      "theirs_us": theirs}), flush=True)
    transport.close()


if __name__ == "__main__":
    main()
