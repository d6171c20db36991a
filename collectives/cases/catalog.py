"""THE table of operations: buffer shares, bandwidth factors, and who must hold what afterwards.

Pure arithmetic: no transport, no timing, no library. Sizes and factors are those of nccl-tests
(doc/PERFORMANCE.md and src/*.cu), so a bandwidth here is the bandwidth there:

    algbw = S / t        busbw = algbw * factor(n)

S is `Case.bytes`; for operations whose buffer is made of one block a rank it is the total over ranks.
What each rank must send and must hold afterwards is said as `Piece`s; `verify` turns them into bytes.
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UsageError
from . import link_rounds

if TYPE_CHECKING:
    from .case import Case

__all__ = ["DTYPES", "GROUPS", "LINK_WINDOW", "ONE_CALL", "OPERATIONS", "REDOPS", "ROOT", "TRAFFIC", "WINDOW", "Dtype",
           "Operation", "Piece", "begins", "pairs", "partner", "received", "round_up", "sent",
           "traffic_counts", "traffics", "why_not", "window_depth"]

ROOT = 0
WINDOW = 64      # messages in flight in the windowed bandwidth tests; OSU's default
LINK_WINDOW = 4  # enough to hide the answer behind the large messages that links are measured with
_WINDOW_BYTES = 16 << 20
ONE_CALL = "one call"
REDOPS = ("sum", "prod", "min", "max", "avg")


class Dtype(NamedTuple):
    """Bytes an element, and the largest n such that all whole numbers from -n to n are exact in it."""

    itemsize: int
    exact: int
    is_float: bool


DTYPES = MappingProxyType({
    "float32": Dtype(4, 1 << 24, True),
    "float64": Dtype(8, 1 << 53, True),
    "float16": Dtype(2, 1 << 11, True),
    "bfloat16": Dtype(2, 1 << 8, True),
    "int8": Dtype(1, (1 << 7) - 1, False),
    "int32": Dtype(4, (1 << 31) - 1, False),
    "int64": Dtype(8, (1 << 63) - 1, False),
})

# How much rank s sends to rank d of n in the uneven all-to-all, as a whole-number weight.
TRAFFIC = MappingProxyType({
    "even": lambda s, d, n: 1,
    "linear": lambda s, d, n: 1 + (s + d) % n,          # pairs differ n-fold, every rank's total is the same
    "hot": lambda s, d, n: 4 if d == 0 else 1,          # one popular receiver, as an expert can be
})


class Piece(NamedTuple):
    """`count` elements of a buffer, from element `start` of block `block` that rank `source` sends.

    `source` None stands for the reduction of that range over all ranks of the group.
    """

    source: int | None
    block: int
    start: int
    count: int


class Operation(NamedTuple):
    """One row of the catalog.

    Args:
        bus_factor: busbw / algbw over n ranks.
        in_blocks: S is made of one block a rank, so it must divide among them.
        messages: messages (of S bytes) that one timed call stands for; time and bandwidth are per message.
        windowed: they are in flight at once; the receiver answers when it has them all.
        timed_by_initiators: only the first half of the ranks, who start each exchange, hold a stopwatch.
        linked: which ranks meet is what `Case.traffic` says (see `pairings`): every link by itself.
        directed: one rank of a pair sends, so that the pair has to meet twice.
        memories: where a local copy comes from and goes to (`device` is where payloads live); None for what is no
            local copy. Each rank copies by itself.
        measures: what the time of one message is, in words for a note on the record.
    """

    name: str
    bus_factor: Callable[[int], float]
    sent: Callable[["Case", int], list[Piece]]
    received: Callable[["Case", int], list[Piece]]
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
    linked: bool = False
    directed: bool = False
    memories: tuple[tuple[str, str], ...] | None = None

    def timed_ranks(self, ranks: int) -> int:
        """How many ranks, from the first, hold a stopwatch."""
        return max(1, ranks // 2) if self.timed_by_initiators else ranks


def _whole(case: "Case", rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count)]


def _nothing(case: "Case", rank: int) -> list[Piece]:
    return []


def _own_block(case: "Case", rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count // case.ranks)]


def _every_block(case: "Case", rank: int) -> list[Piece]:
    return [Piece(source, 0, 0, case.count // case.ranks) for source in range(case.ranks)]


def _block_for_each(case: "Case", rank: int) -> list[Piece]:
    return [Piece(rank, to, 0, case.count // case.ranks) for to in range(case.ranks)]


def _block_from_each(case: "Case", rank: int) -> list[Piece]:
    return [Piece(source, rank, 0, case.count // case.ranks) for source in range(case.ranks)]


def _uneven_for_each(case: "Case", rank: int) -> list[Piece]:
    counts = traffic_counts(case)
    return [Piece(rank, to, 0, counts[rank][to]) for to in range(case.ranks)]


def _uneven_from_each(case: "Case", rank: int) -> list[Piece]:
    counts = traffic_counts(case)
    return [Piece(source, rank, 0, counts[source][rank]) for source in range(case.ranks)]


def _reduced(case: "Case", rank: int) -> list[Piece]:
    return [Piece(None, 0, 0, case.count)]


def _reduced_block(case: "Case", rank: int) -> list[Piece]:
    share = case.count // case.ranks
    return [Piece(None, 0, rank * share, share)]


def _at_root(pieces: Callable) -> Callable:
    return lambda case, rank: pieces(case, rank) if rank == ROOT else []


def _from_left(case: "Case", rank: int) -> list[Piece]:
    return _whole(case, (rank - 1) % case.ranks)


def partner(case: "Case", rank: int) -> int | None:
    """Whom `rank` meets in an operation of pairs; None where it rests."""
    if not case.operation.linked:
        return (rank + case.ranks // 2) % case.ranks
    return link_rounds.partners(case.traffic, case.ranks).get(rank, (None,))[0]


def begins(case: "Case", rank: int) -> bool:
    """Whether `rank` is the one of its pair that sends first, or alone."""
    if not case.operation.linked:
        return rank < case.ranks // 2
    return link_rounds.partners(case.traffic, case.ranks).get(rank, (None, False))[1]


def pairs(case: "Case") -> list[link_rounds.Pair]:
    """(who begins, who answers) of everybody who meets in a case that measures links."""
    return list(link_rounds.who_sends(case.traffic, case.ranks) or ())


def traffics(operation: Operation, ranks: int, wanted: Sequence[str]) -> tuple[str | None, ...]:
    """Which of the traffic patterns that were asked for an operation can have; links meet in all rounds by default.

    UsageError when it needs one, and none that was asked for is for it.
    """
    if operation.linked:
        named = tuple(name for name in wanted if link_rounds.is_name(name))
        found = tuple(name for name in named if link_rounds.who_sends(name, ranks))
        if not named:
            found = link_rounds.round_names(ranks, operation.directed)
    elif operation.uneven:
        found = tuple(name for name in wanted if name in TRAFFIC)
    else:
        return (None,)
    if found or (operation.linked and ranks < 2):
        return found
    raise UsageError(f"traffic pattern {', '.join(wanted)}: not for {operation.name} over {ranks} ranks")


def _if_met(case: "Case", rank: int) -> list[Piece]:
    return [] if partner(case, rank) is None else _whole(case, rank)


def _from_partner(case: "Case", rank: int) -> list[Piece]:
    other = partner(case, rank)
    return [] if other is None else _whole(case, other)


def _window(case: "Case", rank: int) -> list[Piece]:
    if partner(case, rank) is None:
        return []
    return [Piece(rank, message, 0, case.count) for message in range(window_depth(case))]


def _window_from_partner(case: "Case", rank: int) -> list[Piece]:
    other = partner(case, rank)
    return [] if other is None else _window(case, other)


def _window_if_initiator(case: "Case", rank: int) -> list[Piece]:
    return _window(case, rank) if begins(case, rank) else []


def _window_if_partner(case: "Case", rank: int) -> list[Piece]:
    return [] if begins(case, rank) else _window_from_partner(case, rank)


def _each_way(case: "Case", rank: int) -> list[Piece]:
    return [Piece(rank, way, 0, case.count) for way in range(len(case.operation.memories))]


def _ring(n: int) -> float:
    return (n - 1) / n


def _one(n: int) -> float:
    return 1.0


def _copy(name: str, *memories: tuple[str, str]) -> Operation:
    """Local copies by each rank for itself, without any communication: the ceiling under whatever is staged."""
    ways = len(memories)
    both = "; busbw is the sum of both directions" if ways > 1 else ""
    return Operation(name, lambda n: float(ways), _each_way, _each_way,
                     f"one copy by each rank for itself, all at once{both}", memories=memories)


OPERATIONS = MappingProxyType({row.name: row for row in (
    Operation("all_reduce", lambda n: 2 * (n - 1) / n, _whole, _reduced, ONE_CALL,
              reduces=True, has_in_place=True),
    Operation("all_gather", _ring, _own_block, _every_block, ONE_CALL, in_blocks=True, has_in_place=True),
    Operation("reduce_scatter", _ring, _whole, _reduced_block, ONE_CALL,
              in_blocks=True, reduces=True, has_in_place=True),
    Operation("broadcast", _one, _at_root(_whole), lambda case, rank: _whole(case, ROOT), ONE_CALL, rooted=True),
    Operation("reduce", _one, _whole, _at_root(_reduced), ONE_CALL, reduces=True, rooted=True, has_in_place=True),
    Operation("gather", _ring, _own_block, _at_root(_every_block), ONE_CALL,
              in_blocks=True, rooted=True, has_in_place=True),
    Operation("scatter", _ring, _at_root(_block_for_each),
              lambda case, rank: [Piece(ROOT, rank, 0, case.count // case.ranks)], ONE_CALL,
              in_blocks=True, rooted=True, has_in_place=True),
    Operation("all_to_all", _ring, _block_for_each, _block_from_each, ONE_CALL,
              in_blocks=True, has_in_place=True),
    Operation("all_to_all_v", _ring, _uneven_for_each, _uneven_from_each, ONE_CALL,
              uneven=True, has_in_place=True),
    Operation("barrier", _one, _nothing, _nothing, ONE_CALL, has_payload=False),
    Operation("send_recv", _one, _whole, _from_left, "one shift around the ring"),
    Operation("ping_pong", _one, _if_met, _from_partner, "half the round trip", pairs=True, messages=2,
              timed_by_initiators=True),
    Operation("bandwidth", _one, _window_if_initiator, _window_if_partner, f"a window of {WINDOW} divided by {WINDOW}",
              pairs=True, messages=WINDOW, windowed=True, timed_by_initiators=True),
    Operation("bi_bandwidth", lambda n: 2.0, _window, _window_from_partner,
              f"a window of {WINDOW} each way divided by {WINDOW}; busbw is the sum of both directions",
              pairs=True, messages=WINDOW, windowed=True, timed_by_initiators=True),
    Operation("link_latency", _one, _if_met, _from_partner, "half the round trip of the slowest pair",
              pairs=True, messages=2, linked=True),
    Operation("link_bandwidth", _one, _window_if_initiator, _window_if_partner,
              f"a window of {LINK_WINDOW} divided by {LINK_WINDOW}, of the slowest pair",
              pairs=True, messages=LINK_WINDOW, windowed=True, linked=True, directed=True),
    Operation("link_bi_bandwidth", lambda n: 2.0, _window, _window_from_partner,
              f"a window of {LINK_WINDOW} each way divided by {LINK_WINDOW}, of the slowest pair; busbw is the sum of "
              "both directions", pairs=True, messages=LINK_WINDOW, windowed=True, linked=True),
    _copy("copy", ("device", "device")),
    _copy("copy_h2d", ("pinned", "device")),
    _copy("copy_d2h", ("device", "pinned")),
    _copy("copy_both", ("pinned", "device"), ("device", "pinned")),
    _copy("copy_h2d_pageable", ("host", "device")),
    _copy("copy_d2h_pageable", ("device", "host")),
    Operation("noop", _one, _nothing, _nothing, "what an empty call reads",
              has_payload=False),
)})
_OFF_DEVICE = tuple(row.name for row in OPERATIONS.values()
                    if row.memories and any(way != ("device", "device") for way in row.memories))

# Names that stand for several operations: `all` is what every machine has and a sweep over sizes is made for.
GROUPS = MappingProxyType({
    "all": tuple(row.name for row in OPERATIONS.values() if not row.linked and row.name not in _OFF_DEVICE),
    "copies": ("copy", *_OFF_DEVICE),
    "links": tuple(row.name for row in OPERATIONS.values() if row.linked),
})


def sent(case: "Case", rank: int) -> list[Piece]:
    """What `rank` puts in, in the order of its send buffer; empty where it sends nothing."""
    return case.operation.sent(case, rank)


def received(case: "Case", rank: int) -> list[Piece]:
    """What `rank` must hold afterwards, in the order of its receive buffer; empty where it receives nothing."""
    return case.operation.received(case, rank)


def traffic_counts(case: "Case") -> list[list[int]]:
    """Elements that rank s sends to rank d, as counts[s][d]; the busiest rank moves `case.count` of them."""
    weights = _weights(case.traffic, case.ranks)
    unit = case.count // _busiest(weights)
    return [[unit * weight for weight in row] for row in weights]


def _weights(traffic: str | None, ranks: int) -> list[list[int]]:
    weigh = TRAFFIC[traffic]
    return [[weigh(s, d, ranks) for d in range(ranks)] for s in range(ranks)]


def _busiest(weights: list[list[int]]) -> int:
    """The largest total that one rank sends or receives (what nccl-tests calls the size of an all-to-all-v)."""
    return max(*map(sum, weights), *map(sum, zip(*weights, strict=True)))


def window_depth(case: "Case") -> int:
    """Buffers of a window on each side: one a message, fewer, used in turn, where they would take more than 16 MiB."""
    return max(1, min(case.operation.messages, _WINDOW_BYTES // case.bytes))


def round_up(op: str, size: int, ranks: int, dtype: str, traffic: str | None = None) -> int:
    """The smallest payload of at least `size` bytes that `op` can divide among `ranks`; never 0."""
    unit = DTYPES[dtype].itemsize
    if OPERATIONS[op].in_blocks:
        unit *= ranks
    elif OPERATIONS[op].uneven:
        unit *= _busiest(_weights(traffic, ranks))
    return max(1, -(-size // unit)) * unit


def why_not(case: "Case") -> str | None:
    """Why no library could run this case, or None; follows from the case alone, so all ranks agree."""
    if case.operation.pairs and not case.operation.linked and case.ranks % 2:
        return f"{case.op} pairs each rank with another: {case.ranks} ranks leave one over"
    if case.in_place and case.operation.uneven:
        counts = traffic_counts(case)
        if any(counts[s][d] != counts[d][s] for s in range(case.ranks) for d in range(s)):
            return f"in place needs each pair to exchange as much as it gets; traffic {case.traffic} does not"
    return None


def check(case: "Case") -> None:
    """Raise UsageError unless `case` is one that could exist."""
    operation = OPERATIONS.get(case.op)
    if operation is None:
        raise UsageError(f"operation {case.op!r}: known are {', '.join(OPERATIONS)}")
    if case.ranks < 1:
        raise UsageError(f"{case.op} over {case.ranks} ranks: at least 1 is needed")
    if not operation.has_payload:
        if case.bytes or case.dtype or case.redop:
            raise UsageError(f"{case.op} has no payload, element type or reduce operation")
        return
    if case.dtype not in DTYPES:
        raise UsageError(f"element type {case.dtype!r}: known are {', '.join(DTYPES)}")
    if operation.reduces != (case.redop is not None) or (case.redop and case.redop not in REDOPS):
        wanted = f"one of {', '.join(REDOPS)}" if operation.reduces else "none"
        raise UsageError(f"reduce operation {case.redop!r} for {case.op}: expected {wanted}")
    _check_traffic(case)
    if case.bytes < 1 or round_up(case.op, case.bytes, case.ranks, case.dtype, case.traffic) != case.bytes:
        raise UsageError(f"{case.bytes} B do not divide for {case.op} of {case.dtype} over {case.ranks} ranks")


def _check_traffic(case: "Case") -> None:
    operation = case.operation
    if operation.linked:
        if link_rounds.who_sends(case.traffic or "", case.ranks) is None:
            raise UsageError(f"traffic pattern {case.traffic!r} for {case.op} over {case.ranks} ranks: expected "
                             "round-K, round-K-back or pair-A-B")
    elif operation.uneven != (case.traffic is not None) or (case.traffic and case.traffic not in TRAFFIC):
        wanted = f"one of {', '.join(TRAFFIC)}" if operation.uneven else "none"
        raise UsageError(f"traffic pattern {case.traffic!r} for {case.op}: expected {wanted}")
