"""What a row of the catalog consists of: element types, pieces of buffers, the grammar of traffic texts, an operation.

Pure arithmetic: no transport, no timing, no library. Sizes and factors are those of nccl-tests
(doc/PERFORMANCE.md and src/*.cu), so bandwidths compare directly:

    algbw = S / t        busbw = algbw * factor(n)

S is `Case.bytes`; for operations whose buffer has one block per rank it is the total over ranks.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from .case import Case

__all__ = ["DTYPES", "LINK_WINDOW", "ONE_CALL", "REDOPS", "ROOT", "WINDOW", "CaseLike", "Composition", "Dtype",
           "Grammar", "Operation", "Piece", "never", "no_names", "no_ranks", "no_scratch", "nothing",
           "two_steps", "window_buffers"]

ROOT = 0
WINDOW = 64      # messages in flight in the windowed bandwidth tests; OSU's default
_WINDOW_BYTES = 16 << 20
LINK_WINDOW = 4  # enough to hide the acknowledgement at the large sizes used for links
ONE_CALL = "one call"
REDOPS = ("sum", "prod", "min", "max", "avg")


class Dtype(NamedTuple):
    """An element type.

    Args:
        itemsize: bytes per element.
        exact: the largest n such that every integer from -n to n is exact in the type.
        is_float: whether averages are rounded rather than cut off.
        reduces: whether reductions are measured with it; others are only moved, and compared byte by byte.
    """

    itemsize: int
    exact: int
    is_float: bool
    reduces: bool = True


DTYPES = MappingProxyType({
    "float32": Dtype(4, 1 << 24, True),
    "float64": Dtype(8, 1 << 53, True),
    "float16": Dtype(2, 1 << 11, True),
    "bfloat16": Dtype(2, 1 << 8, True),
    "int8": Dtype(1, (1 << 7) - 1, False),
    "int32": Dtype(4, (1 << 31) - 1, False),
    "int64": Dtype(8, (1 << 63) - 1, False),
    "uint8": Dtype(1, (1 << 8) - 1, False, reduces=False),
    "fp8_e4m3": Dtype(1, (1 << 8) - 1, False, reduces=False),
})


class Piece(NamedTuple):
    """`count` elements of a buffer, from element `start` of block `block` sent by rank `source`.

    If `source` is None, the piece is the reduction of that range over all ranks of the group.
    """

    source: int | None
    block: int
    start: int
    count: int      # type: ignore[assignment]  # hides tuple.count, which nothing uses


class CaseLike(Protocol):
    """The properties of a `Case` that the table depends on."""

    @property
    def op(self) -> str:
        """Name of the operation."""

    @property
    def ranks(self) -> int:
        """Ranks of the group."""

    @property
    def bytes(self) -> int:
        """Message size S."""

    @property
    def count(self) -> int:
        """Elements in S."""

    @property
    def dtype(self) -> str | None:
        """Element type."""

    @property
    def redop(self) -> str | None:
        """Reduce operation."""

    @property
    def in_place(self) -> bool:
        """Whether send and receive buffer are one."""

    @property
    def traffic(self) -> str | None:
        """Traffic pattern, or the pairs of a link round."""

    @property
    def members(self) -> int:
        """How many ranks of the job, the first ones, take part."""

    @property
    def composition(self) -> "Composition | None":
        """What differs if it is made of several calls."""


def nothing(case: CaseLike, rank: int) -> list[Piece]:
    """No pieces: of operations without data, and of those with a composition."""
    return []


def no_names(case: CaseLike) -> tuple[str, ...]:
    """For operations that are measured in one state only, or without marks."""
    return ()


def window_buffers(messages: int, size: int) -> int:
    """Buffers per side of a window: one per message of `size` bytes, or fewer used in rotation, to stay within 16 MiB.
    """
    return max(1, min(messages, _WINDOW_BYTES // size))


def no_ranks(case: CaseLike) -> Sequence[int]:
    """For operations that all ranks are timed in."""
    return ()


def two_steps(case: CaseLike) -> int:
    """The steps of an operation that always does the same: two sets of data in turn show a stale result."""
    return 2


def never(case: CaseLike) -> bool:
    """For operations whose steps differ in data only."""
    return False


def no_scratch(case: CaseLike) -> int:
    """Of an operation that needs no memory but its buffers."""
    return 0


def no_cases(case: "Case") -> "tuple[Case, ...]":
    """For operations that are compared with no others of the same run."""
    return ()


def one_call(case: "Case") -> int:
    """For operations that take about as long as a single call of their volume."""
    return 1


class Grammar(NamedTuple):
    """How `Case.traffic` reads for a family of operations.

    Args:
        parse: (text) -> its canonical form, which is what `Case.traffic` and every key hold. UsageError if the text
            is none of this grammar.
        expand: (operation, ranks, texts given by the user that this grammar accepts, in canonical form) -> the texts
            to measure, maybe none. A family decides here what it measures by default.
        check: (case) -> why the text does not suit the case; None if it does.
        spellings: () -> what can be written, for help texts and messages.
    """

    parse: Callable[[str], str]
    expand: Callable[["Operation", int, tuple[str, ...]], tuple[str, ...]]
    check: Callable[[CaseLike], str | None]
    spellings: Callable[[], str]


class Composition(NamedTuple):
    """What differs in an operation made of several calls, or whose data are not made of pieces.

    A module of the same name as the operation's family in `collectives/transports/composed/` carries it out.

    Args:
        extent: (case, rank) -> bytes of the send and of the receive buffer.
        image: (case, rank, salt, step, sent) -> all bytes (uint8) that the rank sends, or must hold afterwards, in a
            step. What the call does not write must be `values.POISON` there, so that a write out of bounds is seen.
        volume: (case) -> bytes that a rank moves, roughly, to forecast the time of a call.
        steps: (case) -> how many steps differ in data; see `step`. At least 2, so that a stale result of the call
            before is seen.
        calls: (case) -> how many calls it consists of, for the same forecast.
        beside: (case) -> cases that are measured in the same run, to compare it with.
        states: (case) -> the states in which it is measured in turn, such as `alone` and `loaded`: samples alternate
            between them, so that they are compared under equal conditions. The time of the case is that of the last.
            Each state has `steps` steps of its own: step s is step s // len(states) of state s % len(states).
        background: (case) -> ranks that are not timed: in the last state they make their calls again and again for as
            long as the others are timed, in all other states they are idle.
        marks: (case) -> names of the clock readings that each call returns, in order, such as the end of one part.
        shared: (case, rank) -> bytes at the end of the send buffer that are the begin of the receive buffer, for calls
            that are made in place; None for two buffers side by side.
        varies: (case) -> whether steps differ in their calls, too, so that a captured graph cannot stand for all.
        scratch: (case) -> bytes that a rank needs beside the buffers of its slots, at most.
    """

    extent: Callable[["Case", int], tuple[int, int]]
    image: Callable[["Case", int, int, int, bool], "np.ndarray"]
    volume: Callable[["Case"], int]
    steps: Callable[[CaseLike], int] = two_steps
    shared: Callable[["Case", int], int] | None = None
    states: Callable[[CaseLike], tuple[str, ...]] = no_names
    background: Callable[[CaseLike], Sequence[int]] = no_ranks
    marks: Callable[[CaseLike], tuple[str, ...]] = no_names
    varies: Callable[[CaseLike], bool] = never
    scratch: Callable[[CaseLike], int] = no_scratch
    calls: Callable[["Case"], int] = one_call
    beside: "Callable[[Case], tuple[Case, ...]]" = no_cases

    def step(self, case: CaseLike, sample: int, slot: int) -> int:
        """The step that a slot makes in a sample: sample i is in state i % states, and neighbours differ in data."""
        states = len(self.states(case)) or 1
        return sample % states + states * ((sample // states + slot) % self.steps(case))

    def all_steps(self, case: CaseLike) -> range:
        """All steps of all states."""
        return range(self.steps(case) * (len(self.states(case)) or 1))


class Operation(NamedTuple):
    """One row of the catalog.

    Args:
        bus_factor: busbw / algbw over n ranks.
        sent, received: the pieces that a rank sends, and those that it must hold afterwards.
        measures: what the time of one message covers, as a note on the record.
        in_blocks: S consists of one block per rank, so it must be divisible by the rank count.
        uneven: block sizes follow a traffic pattern.
        messages: messages (of S bytes) per timed call; time and bandwidth are per message.
        windowed: all messages are in flight at once; the receiver acknowledges the whole window.
        meetings: of a pairwise operation: (traffic, ranks) -> partner of each rank that has one, and whether the rank
            initiates the exchange; None if rank i meets rank i + n/2.
        summed: busbw is the sum over all pairs, and not the rate of one.
        rates_messages: the figure is messages per second (busbw / S), which is highest at the smallest size.
        timed_by_initiators: only the first half of the ranks, which start each exchange, are timed.
        linked: measures single links; `Case.traffic` selects the pairs (see `link_rounds`).
        directed: only one rank of a pair sends, so each pair is measured in both directions.
        memories: source and destination memory of each local copy (`device` is where the buffers are); None if the
            operation is not a local copy.
        lifecycle: a step in the life of a communicator, which every rank of the job takes part in.
        why_not: (case) -> why no library can run it; None if one may.
        grammar: how `Case.traffic` reads; None if the operation has no traffic.
        unit: (ranks, element type, traffic) -> elements that the message size must be a multiple of; None for 1, or
            the rank count if `in_blocks`.
        fixed_bytes: (traffic) -> the message size, where the traffic decides it; None where it is free.
        options: (traffic) -> the options of `collbench run` that select it; None for `--traffic`.
        over_mesh: its groups are those of a mesh: if one is given, it is measured over all of its ranks only.
        composition: of an operation that is not one call on pieces; `sent` and `received` are empty then.
        dtypes: element types that it is measured with; None for all (all that can be reduced, if it reduces).
        group: the name that selects this and similar operations together; None for those of `all`.
    """

    name: str
    bus_factor: Callable[[int], float]
    sent: Callable[[CaseLike, int], list[Piece]]
    received: Callable[[CaseLike, int], list[Piece]]
    measures: str
    in_blocks: bool = False
    uneven: bool = False
    reduces: bool = False
    rooted: bool = False
    pairs: bool = False
    has_in_place: bool = False
    has_payload: bool = True
    messages: int = 1
    windowed: bool = False
    timed_by_initiators: bool = False
    meetings: Callable[[str, int], Mapping[int, tuple[int, bool]]] | None = None
    summed: bool = False
    rates_messages: bool = False
    linked: bool = False
    directed: bool = False
    memories: tuple[tuple[str, str], ...] | None = None
    lifecycle: bool = False
    why_not: Callable[[CaseLike], str | None] | None = None
    grammar: Grammar | None = None
    unit: Callable[[int, str, str | None], int] | None = None
    fixed_bytes: Callable[[str | None], int | None] | None = None
    options: Callable[[str], list[str]] | None = None
    over_mesh: bool = False
    composition: Composition | None = None
    dtypes: tuple[str, ...] | None = None
    group: str | None = None

    def takes(self, dtype: str) -> bool:
        """Whether it is measured with this element type."""
        return (self.dtypes is None or dtype in self.dtypes) and (DTYPES[dtype].reduces or not self.reduces)

    def states(self, case: CaseLike) -> tuple[str, ...]:
        """The states that its samples take turns in; empty if there is only one."""
        return case.composition.states(case) if case.composition else ()

    def background(self, case: CaseLike) -> Sequence[int]:
        """The ranks that load the machine while the others are timed."""
        return self.composition.background(case) if self.composition else ()

    def timed(self, case: CaseLike) -> Sequence[int]:
        """The ranks that are timed, in increasing order."""
        if background := self.background(case):
            return [rank for rank in range(case.members) if rank not in background]
        return range(max(1, case.ranks // 2) if self.timed_by_initiators else case.members)

    @property
    def on_axes(self) -> bool:
        """Whether it is a collective that the groups of a mesh can make (see `axis_traffic`)."""
        whole = self.has_payload and self.composition is None
        return whole and self.group is None and not self.pairs and self.memories is None
