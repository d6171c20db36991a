"""What the timing loop may ask of a communication library, and nothing more."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from .cases import catalog
from .cases.case import Case

if TYPE_CHECKING:
    from .loop.alignment import Alignment
    from .loop.memory import Memory
    from .loop.verify import Inspector

    Sampler = Callable[[Inspector, Alignment, int, int], tuple[list[int], list[int], list[int]]]

__all__ = ["NO_DEVICE", "Communicator", "Layout", "Prepared", "Transport", "empty_call", "in_place_layout", "layout"]

NO_DEVICE = "payloads are on the host here: there is no other memory to copy from or to"


def empty_call() -> None:
    """What the `noop` operation times, so that the harness can say what it costs itself."""


class Layout(NamedTuple):
    """Where in a slot a rank's send and receive buffers lie, in bytes; they overlap where the case is in-place."""

    send_at: int
    send_bytes: int
    recv_at: int
    recv_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return max(self.send_at + self.send_bytes, self.recv_at + self.recv_bytes)


class Prepared(NamedTuple):
    """A case ready to run.

    `block(start_ns)` waits until this rank's clock shows `start_ns` (0: does not wait), reads the clock, makes one call
    on each slot in turn, drains, reads the clock again, and returns both readings. Where a compiled loop takes whole
    series of samples, `sampler` does what `timing.time_samples` does; `loop` names which it is. `stopwatch` is whose
    clock the second reading comes from, and `graph` whether the calls are one captured graph.
    """

    block: Callable[[int], tuple[int, int]]
    slots: int
    memory: "Memory"
    layout: Layout
    loop: Literal["python", "native"] = "python"
    release: Callable[[], object] = empty_call
    sampler: "Sampler | None" = None
    stopwatch: Literal["host", "device"] = "host"
    graph: bool = False

    @property
    def sends(self) -> bool:
        """Whether this rank puts anything in."""
        return self.layout.send_bytes > 0

    @property
    def receives(self) -> bool:
        """Whether this rank must hold anything afterwards."""
        return self.layout.recv_bytes > 0

    @property
    def send_at(self) -> int:
        """Offset in bytes of what is sent."""
        return self.layout.send_at

    @property
    def recv_at(self) -> int:
        """Offset in bytes of what is received."""
        return self.layout.recv_at


class Communicator(Protocol):
    """The first `size` ranks of the job, with a control path that never uses what is being timed."""

    rank: int
    size: int
    slots_bytes: int        # that the buffers of all calls of a sample may take together; the same on every rank

    def prepare(self, case: Case, slots: int) -> Prepared:
        """Allocate `slots` buffers and make ready a call on each."""

    def now_ns(self) -> int:
        """Monotonic nanoseconds of this rank."""

    def drain(self) -> None:
        """Return when every started operation is complete on this rank."""

    def room_bytes(self, local_ranks: int) -> int | None:
        """Memory that this rank can take where payloads live, when `local_ranks` share it; None where nobody tells."""

    def evict(self) -> None:
        """Push the buffers out of the caches."""

    def barrier(self) -> None:
        """Wait for all, on the control path."""

    def all_max(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over all ranks, on all ranks."""

    def gather(self, payload: bytes) -> list[bytes] | None:
        """Every rank's payload on rank 0 in rank order, None elsewhere."""

    def agree(self, word: int) -> int:
        """Rank 0's word on all ranks. Patient: a rank that waits long for rank 0 leaves the processor to others."""

    def share(self, word: int) -> int:
        """Rank 0's word on all ranks, as fast as the control path can."""

    def ask(self, peer: int) -> int:
        """The clock of `peer`, which answers, in its nanoseconds."""

    def answer(self, peer: int) -> None:
        """Tell `peer`, which asks, this rank's clock."""


class Transport(Protocol):
    """A communication library, started on this rank."""

    name: str        # torch, mpi: what --transport takes
    library: str     # what does the work, with its version
    device: str      # where payloads live
    buffers: str     # how they are allocated
    threads: int     # busy threads a rank has while it communicates, its own included
    rank: int
    size: int
    notes: tuple[str, ...]      # what a reader of any record must know about how this transport does things

    def why_not(self, case: Case) -> str | None:
        """Why this library has no such operation, where that is known without trying; None to try."""

    def communicator(self, ranks: int) -> Communicator | None:
        """One over the first `ranks` ranks; None on the others. Collective over the job."""

    def configure(self, loop: str, persistent: bool, builds: bool,
                  graph: bool = False) -> tuple[Literal["python", "native"], str | None]:
        """Settle what `prepare` will use: the loop, and the reason where it is not a compiled one. Collective.

        With `graph`, streamed calls are captured.

        One rank of each host `builds` the compiled loop. UsageError when what is wanted by name cannot be had.
        """

    def versions(self) -> dict[str, str]:
        """Versions of what takes part, for the provenance."""

    def close(self) -> None:
        """Leave the job in order; collective."""

    def abort(self, status: int) -> None:
        """End the whole job at once, with this exit status."""


def layout(case: Case, rank: int) -> Layout:
    """Send and receive buffers of `rank` side by side, or overlapping where NCCL's in-place convention puts them."""
    send_bytes, recv_bytes = (sum(piece.count for piece in pieces(case, rank)) * case.itemsize
                              for pieces in (catalog.sent, catalog.received))
    if case.in_place or case.op == "broadcast":
        return in_place_layout(case, rank, send_bytes, recv_bytes)
    return Layout(0, send_bytes, -(-send_bytes // 64) * 64, recv_bytes)


def in_place_layout(case: Case, rank: int, send_bytes: int, recv_bytes: int) -> Layout:
    """The smaller buffer lies in the larger at the rank's own block (NCCL user guide, "In-place Operations")."""
    own = rank * min(send_bytes, recv_bytes) if case.operation.in_blocks else 0
    if send_bytes < recv_bytes:
        return Layout(own, send_bytes, 0, recv_bytes)
    return Layout(0, send_bytes, own if recv_bytes < send_bytes else 0, recv_bytes)
