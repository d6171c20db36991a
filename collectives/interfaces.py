"""The protocols between the timing loop and a communication library."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from .cases import catalog
from .cases.case import Case

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from .topology.device_identity import RankDevice

__all__ = ["NO_DEVICE", "CallSettings", "Communicator", "Control", "EnterPhase", "Kept", "Layout", "LoopChoice",
           "LoopKind", "LoopSpec", "Memory", "Pattern", "Phase", "Prepared", "RawBytes", "SampleBatch", "StartSpec",
           "Transport", "Trial", "WarmSpec", "empty_call", "ignore_phase", "ignore_step", "in_place_layout", "layout"]

NO_DEVICE = "buffers are in host memory: there is no device memory to copy from or to"

LoopKind = Literal["python", "native"]
RawBytes = Any  # uint8 [byte]: a numpy array or a tensor
Kept = Any      # a pattern in the form that its memory compares fastest: the pattern itself, or device tensors

# What the main thread of a rank is doing, as the watchdog reports it.
Phase = Literal["start-up", "communicators", "between cases", "waiting for its next case", "clocks", "set-up", "verify",
                "warm-up", "timed", "gather", "device health", "writing the journal", "finalize"]
EnterPhase = Callable[[Phase], object]


def ignore_phase(phase: Phase) -> None:
    """An `EnterPhase` for callers without a watchdog."""


def empty_call() -> None:
    """The call that the `noop` operation times; its time is the overhead of the harness."""


def ignore_step(number: int) -> None:
    """For calls that do the same in every step."""


class Layout(NamedTuple):
    """Offsets and lengths in bytes of a rank's send and receive buffers in a slot; they overlap in-place."""

    send_at: int
    send_bytes: int
    recv_at: int
    recv_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return max(self.send_at + self.send_bytes, self.recv_at + self.recv_bytes)


class Pattern(NamedTuple):
    """Bytes made of equally long pieces, each of which repeats its tile; a plain image is one piece with one tile.

    Large buffers are filled from and compared with tiles that stay in the first-level caches: a full second copy
    would evict the data that is about to be sent.

    Args:
        tiles: uint8 [piece, byte].
        piece_bytes: length of every piece; the last repetition of a tile may be cut.
    """

    tiles: "np.ndarray"
    piece_bytes: int

    @property
    def size(self) -> int:
        """Total bytes."""
        return len(self.tiles) * self.piece_bytes

    def image(self) -> "np.ndarray":
        """All bytes, as uint8."""
        import numpy as np
        return np.concatenate([np.resize(tile, self.piece_bytes) for tile in self.tiles])


class Memory(Protocol):
    """The slots of a prepared case, as verification uses them. Rows are slots; `at` is a byte offset within a row."""

    by_core: bool       # whether the core of this rank does the comparing, rather than a device

    def keep(self, pattern: Pattern) -> Kept:
        """Move a pattern, once, to where the slots are."""

    def poison(self, value: int) -> None:
        """Overwrite every byte of every slot."""

    def poke(self, at: int, length: int, value: int) -> None:
        """Overwrite a few bytes of the first slot."""

    def write(self, rows: slice, at: int, pattern: Kept) -> None:
        """Copy `pattern` into each of these slots."""

    def equal(self, rows: slice, at: int, pattern: Kept) -> bool:
        """Whether each of these slots holds exactly `pattern`."""

    def read(self, row: int, at: int, length: int) -> "np.ndarray":
        """Bytes of one slot, on the host."""


class StartSpec(NamedTuple):
    """How ranks start a sample together.

    Args:
        rule: start at once, after a barrier, or at a time on rank 0's clock that rank 0 announces; for `met` it does so
            after a barrier.
        lead_ns: how far ahead of its own clock rank 0 sets that time.
        epoch, offset, drift: rank 0's clock minus this rank's at local time t is offset + drift * (t - epoch), in ns.
    """

    rule: Literal["none", "barrier", "agreed", "met"]
    lead_ns: int = 0
    epoch: float = 0.0
    offset: float = 0.0
    drift: float = 0.0


class WarmSpec(NamedTuple):
    """What the warm state of `loop.caches` does before and after each of several samples, for a compiled loop.

    Args:
        turn: which data the buffers hold: in all of these samples, slot j sends and must receive element
            (turn + j) % 2 of `LoopSpec.sent` and `LoopSpec.expected`.
        first: the sample before which the call was made already.
        restores: whether the input is written again before the call, which overwrites it.
        exposed: offset and bytes of the part of the receive buffer that is no part of the send buffer.
    """

    turn: int
    first: int
    restores: bool
    exposed: tuple[int, int]


class LoopSpec(NamedTuple):
    """All that a compiled loop needs to know beyond the calls: plain values.

    Args:
        sent, expected: what slot j of sample i sends and must then receive is element (i + j) % 2.
        poison: the byte that receive buffers are overwritten with before each sample.
        start: how each sample starts.
        warm: what is done instead of filling the buffers before each sample; None fills them.
        answers: this rank does not wait for the start, so that it is ready for the message of the rank that does.
    """

    sent: tuple[Kept, Kept]
    expected: tuple[Kept, Kept]
    poison: int
    start: StartSpec
    warm: WarmSpec | None = None
    answers: bool = False


class SampleBatch(NamedTuple):
    """Consecutive samples from a compiled loop: begin, elapsed time and lateness in ns.

    `wrong`: the last sample left a wrong result, which is still in the slots; all others were right.
    """

    begin_ns: list[int]
    elapsed_ns: list[int]
    late_ns: list[int]
    wrong: bool


class Prepared(NamedTuple):
    """A case ready to run.

    Args:
        block: `block(start_ns)` waits until this rank's clock shows `start_ns` (0: does not wait), reads the clock,
            makes `repeats` calls on each slot in turn, drains, reads the clock again and returns both readings.
        slots: buffers, each for `repeats` calls of a block.
        make: `make(count)` makes the first so many calls of a block and waits until they are complete; None where a
            call differs from the one before it.
        release: frees what was allocated.
        sampler: a compiled loop, where there is one: `sampler(spec, first, count)` takes up to `count` samples, the
            first of which has number `first`. It stops early after a wrong one.
        stopwatch: whose clock the second reading comes from.
        graph: whether the calls are one captured graph.
        as_called: the block on the host's clock, where `block` is on the device's: what a program that makes these
            calls one after another waits for.
        host_bound: for each block so far, whether the device had to wait for the host to queue a call, so that its
            clock may tell the speed of the host.
        select: `select(sample)` prepares the calls for the steps of that sample, outside the timed region.
        marks: for each block so far, by the names of `Composition.marks`: ns from the begin of a call until the moment
            that the mark stands for, summed over the calls of the block.
        settle: completes what the calls of a sample have started and not waited for, outside the timed region.
    """

    block: Callable[[int], tuple[int, int]]
    slots: int
    memory: Memory
    layout: Layout
    loop: LoopKind = "python"
    release: Callable[[], object] = empty_call
    sampler: Callable[[LoopSpec, int, int], SampleBatch] | None = None
    stopwatch: Literal["host", "device"] = "host"
    graph: bool = False
    as_called: Callable[[int], tuple[int, int]] | None = None
    host_bound: Sequence[bool] = ()
    select: Callable[[int], object] = ignore_step
    marks: Mapping[str, Sequence[int]] = MappingProxyType({})
    settle: Callable[[], object] = empty_call
    repeats: int = 1
    make: Callable[[int], object] | None = None

    @property
    def calls(self) -> int:
        """Calls of a block."""
        return self.slots * self.repeats

    @property
    def sends(self) -> bool:
        """Whether this rank sends data."""
        return self.layout.send_bytes > 0

    @property
    def receives(self) -> bool:
        """Whether this rank receives data."""
        return self.layout.recv_bytes > 0

    @property
    def send_at(self) -> int:
        """Offset in bytes of the send buffer."""
        return self.layout.send_at

    @property
    def recv_at(self) -> int:
        """Offset in bytes of the receive buffer."""
        return self.layout.recv_at


class Control(Protocol):
    """The control path between some ranks, separate from the operations being timed."""

    rank: int
    size: int

    def now_ns(self) -> int:
        """This rank's monotonic clock in nanoseconds."""

    def barrier(self) -> None:
        """Wait for all ranks."""

    def share(self, word: int) -> int:
        """Broadcast an integer from rank 0 with the lowest latency that the control path has."""

    def arrive(self) -> Callable[[], bool]:
        """Enter a barrier without waiting; what it returns tells whether all ranks have entered.

        It must be called until they have. Barriers are entered in the same order by all ranks.
        """

    def announce(self, word: int) -> Callable[[], int]:
        """Begin to broadcast an integer from rank 0; what it returns waits for it."""

    def among(self, ranks: Sequence[int]) -> "Control":
        """The control path between these ranks only, of whom this rank is one. Collective over them."""


class Communicator(Control, Protocol):
    """The first `size` ranks of the job, with a control path that is separate from the operations being timed."""

    slots_bytes: int        # limit for the buffers of all calls of a sample together; the same on every rank

    def prepare(self, case: Case, slots: int, repeats: int = 1) -> Prepared:
        """Allocate `slots` buffers and bind a call to each, of which a block makes `repeats`."""

    def drain(self) -> None:
        """Wait until every operation that this rank started is complete."""

    def room_bytes(self, local_ranks: int) -> int | None:
        """Free memory for buffers, when `local_ranks` share it; None if unknown."""

    def evict(self) -> None:
        """Evict the buffers from the caches."""

    def all_max(self, values: Sequence[float]) -> list[float]:
        """Element-wise maximum over all ranks, on all ranks."""

    def gather(self, payload: bytes) -> list[bytes] | None:
        """Every rank's payload on rank 0 in rank order, None elsewhere."""

    def agree(self, word: int) -> int:
        """Broadcast an integer from rank 0, backing off while waiting so that idle ranks do not burn a core."""

    def ask(self, peer: int) -> int:
        """The clock of `peer` in its nanoseconds; `peer` must call `answer`."""

    def answer(self, peer: int) -> None:
        """Send this rank's clock to `peer`, which calls `ask`."""


class CallSettings(NamedTuple):
    """How calls are to be made.

    Args:
        loop: the timing loop; `auto` is the compiled one if it can be had.
        persistent: use persistent collectives.
        graph: capture the calls of a streamed sample as a graph.
        compiles: this rank is the one of its host that compiles the loop.
    """

    loop: Literal["auto", "native", "python"] = "auto"
    persistent: bool = False
    graph: bool = False
    compiles: bool = True


class LoopChoice(NamedTuple):
    """The timing loop that a transport will use, and why it is not the compiled one."""

    loop: LoopKind
    reason: str | None


class Trial(Protocol):
    """A communicator over the first ranks of the job, made, used and ended again, to measure how long that takes."""

    def create(self) -> None:
        """Make it. Every rank of the job calls this, also those outside."""

    def first_call(self) -> bool:
        """One all_reduce of a few bytes, complete on return; whether the result is right. Collective over its ranks."""

    def destroy(self) -> None:
        """End it. Every rank of the job calls this."""


class Transport(Protocol):
    """A communication library, started on this rank."""

    name: str        # value of --transport
    library: str     # the library underneath, with its version
    device: str      # where buffers are
    buffers: str     # how they are allocated
    own_device: "RankDevice"  # the accelerator of this rank; empty for buffers on the host
    threads: int     # busy threads of a rank while it communicates, its own included
    rank: int
    size: int

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how this transport works, for the record of every point-to-point bandwidth case."""

    def why_not(self, case: Case) -> str | None:
        """Why this library has no such operation, if that is known without trying; None otherwise."""

    def communicator(self, ranks: int) -> Communicator | None:
        """One over the first `ranks` ranks, ready for use; None on the others. Collective over the job."""

    def trial(self, ranks: int) -> Trial:
        """A communicator over the first `ranks` ranks that is not made yet."""

    def configure(self, settings: CallSettings) -> LoopChoice:
        """Fix how `prepare` will make calls. Collective over the job.

        Raises:
            UsageError: this transport cannot do what was requested explicitly.
        """

    def versions(self) -> dict[str, str]:
        """Versions of the libraries involved, for the provenance."""

    def settings_in_force(self) -> dict[str, str | None]:
        """The library's own values of the settings in the environment, if it can be asked; None: it knows no such."""

    def close(self) -> None:
        """Leave the job in order; collective."""

    def abort(self, status: int) -> None:
        """End the whole job at once, with this exit status."""


def layout(case: Case, rank: int) -> Layout:
    """Send and receive buffers of `rank` side by side, or overlapping where NCCL's in-place convention puts them."""
    composition = case.composition
    if composition:
        send_bytes, recv_bytes = composition.extent(case, rank)
        if composition.shared:
            return Layout(0, send_bytes, send_bytes - composition.shared(case, rank), recv_bytes)
    else:
        send_bytes, recv_bytes = (sum(piece.count for piece in pieces(case, rank)) * case.itemsize
                                  for pieces in (catalog.sent, catalog.received))
    if case.in_place or case.op == "broadcast":
        return in_place_layout(case, rank, send_bytes, recv_bytes)
    return Layout(0, send_bytes, -(-send_bytes // 64) * 64, recv_bytes)


def in_place_layout(case: Case, rank: int, send_bytes: int, recv_bytes: int) -> Layout:
    """The smaller buffer is the rank's own block of the larger one (NCCL user guide, "In-place Operations")."""
    own = rank * min(send_bytes, recv_bytes) if case.operation.in_blocks else 0
    if send_bytes < recv_bytes:
        return Layout(own, send_bytes, 0, recv_bytes)
    return Layout(0, send_bytes, own if recv_bytes < send_bytes else 0, recv_bytes)
