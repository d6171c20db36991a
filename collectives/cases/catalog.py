"""The table of operations: buffer layout, bandwidth factors, and the expected result on every rank.

`operation` has the types and the formulas of bandwidth. `Piece`s describe what each rank sends and what it must hold
afterwards; `verify` turns them into bytes. Families of operations have modules of their own in `families`.
"""

import math
import re
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..errors import UsageError
from . import families, link_rounds, traffic
from .axis_traffic import axis_of, is_mesh, parse_axis_traffic
from .operation import (
    DTYPES,
    LINK_WINDOW,
    ONE_CALL,
    REDOPS,
    ROOT,
    WINDOW,
    CaseLike,
    Composition,
    Dtype,
    Grammar,
    Operation,
    Piece,
    nothing,
    window_buffers,
)

if TYPE_CHECKING:
    from .case import Case

__all__ = ["DTYPES", "GROUPS", "LINK_WINDOW", "ONE_CALL", "OPERATIONS", "REDOPS", "ROOT", "WINDOW", "CaseLike",
           "Composition", "Dtype", "Operation", "Piece", "begins", "canonical_traffic", "check", "pairs", "partner",
           "received", "round_up", "sent", "spellings", "traffic_counts", "traffics", "why_not", "why_not_taken",
           "window_depth"]


def _whole(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count)]


def _own_block(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, 0, 0, case.count // case.ranks)]


def _every_block(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(source, 0, 0, case.count // case.ranks) for source in range(case.ranks)]


def _block_for_each(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, to, 0, case.count // case.ranks) for to in range(case.ranks)]


def _block_from_each(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(source, rank, 0, case.count // case.ranks) for source in range(case.ranks)]


def _uneven_for_each(case: CaseLike, rank: int) -> list[Piece]:
    counts = traffic_counts(case)
    return [Piece(rank, to, 0, counts[rank][to]) for to in range(case.ranks) if counts[rank][to]]


def _uneven_from_each(case: CaseLike, rank: int) -> list[Piece]:
    counts = traffic_counts(case)
    return [Piece(source, rank, 0, counts[source][rank]) for source in range(case.ranks) if counts[source][rank]]


def _reduced(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(None, 0, 0, case.count)]


def _reduced_block(case: CaseLike, rank: int) -> list[Piece]:
    share = case.count // case.ranks
    return [Piece(None, 0, rank * share, share)]


def _at_root(pieces: Callable[[CaseLike, int], list[Piece]]) -> Callable[[CaseLike, int], list[Piece]]:
    return lambda case, rank: pieces(case, rank) if rank == ROOT else []


def _from_left(case: CaseLike, rank: int) -> list[Piece]:
    return _whole(case, (rank - 1) % case.ranks)


def partner(case: CaseLike, rank: int) -> int | None:
    """The partner of `rank` in a pairwise operation; None if the rank is idle."""
    met = _meeting(case, rank)
    return None if met is None else met[0]


def begins(case: CaseLike, rank: int) -> bool:
    """Whether `rank` initiates the exchange of its pair (or is the only sender)."""
    met = _meeting(case, rank)
    return met is not None and met[1]


def _meeting(case: CaseLike, rank: int) -> tuple[int, bool] | None:
    meetings, half = OPERATIONS[case.op].meetings, case.ranks // 2
    if meetings is None:
        return (rank + half) % case.ranks, rank < half
    return meetings(case.traffic or "", case.ranks).get(rank)


def pairs(case: CaseLike) -> list[link_rounds.Pair]:
    """(initiator, responder) of every pair in a case that measures links."""
    return list(link_rounds.pairs_of(case.traffic or "", case.ranks) or ())


def traffics(operation: Operation, ranks: int, wanted: Sequence[str]) -> tuple[str | None, ...]:
    """The texts of `Case.traffic` that an operation is measured with, of those that the user wants.

    UsageError if the operation needs a text and none of the given ones applies; where those are about meshes, none may
    have so many ranks.
    """
    if operation.grammar is None:
        return (None,)
    given = dict.fromkeys(text for name in wanted if (text := _parsed(operation.grammar, name)) is not None)
    found = operation.grammar.expand(operation, ranks, tuple(given))
    if found or operation.over_mesh or (operation.linked and ranks < 2):
        return found
    raise UsageError(f"traffic pattern {', '.join(wanted)}: does not apply to {operation.name} over {ranks} ranks")


def _parsed(grammar: Grammar, text: str) -> str | None:
    """The canonical form of `text`; None if it is of another grammar."""
    try:
        return grammar.parse(text)
    except UsageError:
        return None


def _grammars() -> list[Grammar]:
    """Each grammar once."""
    return list({id(row.grammar): row.grammar for row in OPERATIONS.values() if row.grammar}.values())


def canonical_traffic(text: str) -> str:
    """`text` in the canonical form of the first grammar that accepts it. UsageError if none does."""
    if is_mesh(text):
        asked = parse_axis_traffic(text)
        return asked._replace(inner=asked.inner and canonical_traffic(asked.inner)).text
    for grammar in _grammars():
        if (found := _parsed(grammar, text)) is not None:
            return found
    words = [(grammar, re.findall(r"[a-z]+(?:-[a-z]+)*", grammar.spellings())) for grammar in _grammars()]
    name = re.split("[:=]", text, maxsplit=1)[0]
    for grammar, known in words:
        if name in known:
            grammar.parse(text)     # a grammar that has this word says best what is wrong
    import difflib
    close = difflib.get_close_matches(name, {word for _, known in words for word in known}, 1)
    raise UsageError(f"traffic pattern {text!r:.80}: no operation has it; "
                     + (f"did you mean {close[0]}?" if close else "the help of --traffic lists what each has"))


def spellings() -> str:
    """What `Case.traffic` can be, for each family of operations, for help texts and messages."""
    families_of: dict[str, list[str]] = {}
    for row in OPERATIONS.values():
        if row.grammar:
            whole = all(other.grammar is row.grammar for other in OPERATIONS.values() if other.group == row.group)
            families_of.setdefault(row.grammar.spellings(), []).append(row.group if row.group and whole else row.name)
    return "; ".join(f"for {', '.join(dict.fromkeys(names))}: {words}" for words, names in families_of.items())


def _parse_round(text: str) -> str:
    if not link_rounds.is_name(text):
        raise UsageError(f"{text!r:.80}: expected {_ROUNDS}")
    return text


def _expand_rounds(operation: Operation, ranks: int, given: tuple[str, ...]) -> tuple[str, ...]:
    """All rounds, if none is named."""
    if not given:
        return link_rounds.round_names(ranks, operation.directed)
    return tuple(name for name in given if link_rounds.pairs_of(name, ranks))


def _check_round(case: CaseLike) -> str | None:
    return None if link_rounds.pairs_of(case.traffic or "", case.ranks) else f"expected {_ROUNDS}"


_ROUNDS = "round-K, round-K-back, pair-A-B"
_LINKS = Grammar(_parse_round, _expand_rounds, _check_round, lambda: _ROUNDS)
_WEIGHTS = Grammar(lambda text: traffic.parse_traffic(text).text, lambda operation, ranks, given: given,
                   lambda case: None, traffic.spellings)


def _if_met(case: CaseLike, rank: int) -> list[Piece]:
    return [] if partner(case, rank) is None else _whole(case, rank)


def _from_partner(case: CaseLike, rank: int) -> list[Piece]:
    other = partner(case, rank)
    return [] if other is None else _whole(case, other)


def _window(case: CaseLike, rank: int) -> list[Piece]:
    if partner(case, rank) is None:
        return []
    return [Piece(rank, message, 0, case.count) for message in range(window_depth(case))]


def _window_from_partner(case: CaseLike, rank: int) -> list[Piece]:
    other = partner(case, rank)
    return [] if other is None else _window(case, other)


def _window_if_initiator(case: CaseLike, rank: int) -> list[Piece]:
    return _window(case, rank) if begins(case, rank) else []


def _window_if_partner(case: CaseLike, rank: int) -> list[Piece]:
    return [] if begins(case, rank) else _window_from_partner(case, rank)


def _each_way(case: CaseLike, rank: int) -> list[Piece]:
    return [Piece(rank, way, 0, case.count) for way in range(len(OPERATIONS[case.op].memories or ()))]


def _ring(n: int) -> float:
    return (n - 1) / n


def _one(n: int) -> float:
    return 1.0


def _copy(name: str, *memories: tuple[str, str]) -> Operation:
    """Local copies on each rank without communication: the upper bound for anything that stages through memory."""
    ways = len(memories)
    both = "; busbw is the sum of both directions" if ways > 1 else ""
    return Operation(name, lambda n: float(ways), _each_way, _each_way,
                     f"one copy by each rank for itself, all at once{both}", memories=memories)


_ROWS = (
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
    Operation("all_to_all_v", _ring, _uneven_for_each, _uneven_from_each, ONE_CALL, uneven=True, has_in_place=True,
              grammar=_WEIGHTS, unit=lambda ranks, dtype, text: traffic.busiest(text or "", ranks)),
    Operation("barrier", _one, nothing, nothing, ONE_CALL, has_payload=False),
    Operation("send_recv", _one, _whole, _from_left, "one shift around the ring"),
    Operation("ping_pong", _one, _if_met, _from_partner, "half the round trip", pairs=True, messages=2,
              timed_by_initiators=True),
    Operation("bandwidth", _one, _window_if_initiator, _window_if_partner, f"a window of {WINDOW} divided by {WINDOW}",
              pairs=True, messages=WINDOW, windowed=True, timed_by_initiators=True),
    Operation("bi_bandwidth", lambda n: 2.0, _window, _window_from_partner,
              f"a window of {WINDOW} each way divided by {WINDOW}; busbw is the sum of both directions",
              pairs=True, messages=WINDOW, windowed=True, timed_by_initiators=True),
    Operation("link_latency", _one, _if_met, _from_partner, "half the round trip of the slowest pair",
              pairs=True, messages=2, linked=True, grammar=_LINKS, meetings=link_rounds.partners, group="links"),
    Operation("link_bandwidth", _one, _window_if_initiator, _window_if_partner,
              f"a window of {LINK_WINDOW} divided by {LINK_WINDOW}, of the slowest pair",
              pairs=True, messages=LINK_WINDOW, windowed=True, linked=True, directed=True,
              grammar=_LINKS, meetings=link_rounds.partners, group="links"),
    Operation("link_bi_bandwidth", lambda n: 2.0, _window, _window_from_partner,
              f"a window of {LINK_WINDOW} each way divided by {LINK_WINDOW}, of the slowest pair; busbw is the sum of "
              "both directions", pairs=True, messages=LINK_WINDOW, windowed=True, linked=True,
              grammar=_LINKS, meetings=link_rounds.partners, group="links"),
    _copy("copy", ("device", "device")),
    _copy("copy_h2d", ("pinned", "device")),
    _copy("copy_d2h", ("device", "pinned")),
    _copy("copy_both", ("pinned", "device"), ("device", "pinned")),
    _copy("copy_h2d_pageable", ("host", "device")),
    _copy("copy_d2h_pageable", ("device", "host")),
    Operation("comm_init", _one, nothing, nothing, "making a communicator over these ranks", has_payload=False,
              lifecycle=True, group="communicators"),
    Operation("comm_first_call", _one, nothing, nothing, "the first all_reduce, of 4 bytes, on a new communicator",
              has_payload=False, lifecycle=True, group="communicators"),
    Operation("comm_destroy", _one, nothing, nothing, "ending a communicator", has_payload=False, lifecycle=True,
              group="communicators"),
    Operation("noop", _one, nothing, nothing, "what an empty call reads",
              has_payload=False),
)
OPERATIONS = MappingProxyType({row.name: row for row in (*_ROWS, *families.operations())})
_OFF_DEVICE = tuple(row.name for row in OPERATIONS.values()
                    if row.memories and any(way != ("device", "device") for way in row.memories))

# Names for several operations; `all` is what every machine supports and a sweep over sizes makes sense for.
GROUPS = MappingProxyType({
    "all": tuple(row.name for row in OPERATIONS.values() if row.group is None and row.name not in _OFF_DEVICE),
    "copies": ("copy", *_OFF_DEVICE),
    **{group: tuple(row.name for row in OPERATIONS.values() if row.group == group)
       for group in dict.fromkeys(row.group for row in OPERATIONS.values()) if group},
})


def sent(case: CaseLike, rank: int) -> list[Piece]:
    """What `rank` sends, in the order of its send buffer; empty if it sends nothing."""
    return OPERATIONS[case.op].sent(case, rank)


def received(case: CaseLike, rank: int) -> list[Piece]:
    """What `rank` must hold afterwards, in the order of its receive buffer; empty if it receives nothing."""
    return OPERATIONS[case.op].received(case, rank)


def traffic_counts(case: CaseLike) -> list[list[int]]:
    """Elements that rank s sends to rank d, as counts[s][d]; the busiest rank moves `case.count` of them."""
    name = case.traffic or ""
    unit = case.count // traffic.busiest(name, case.ranks)
    return [[unit * weight for weight in row] for row in traffic.weights(name, case.ranks)]


def window_depth(case: CaseLike) -> int:
    """Buffers per side of a window: one per message, or fewer used in rotation, to stay within 16 MiB."""
    return window_buffers(OPERATIONS[case.op].messages, case.bytes)


def round_up(op: str, size: int, ranks: int, dtype: str, pattern: str | None = None) -> int:
    """The smallest message size of at least `size` bytes that `op` can divide among `ranks`; never 0."""
    row, unit = OPERATIONS[op], DTYPES[dtype].itemsize
    size = (row.fixed_bytes and row.fixed_bytes(pattern)) or size
    axis = axis_of(pattern)
    if axis:        # one size for all axes, so that their times compare
        unit *= math.lcm(*(_unit(row, size, dtype, axis.inner) for size in axis.mesh.sizes))
    else:
        unit *= _unit(row, ranks, dtype, pattern)
    return max(1, -(-size // unit)) * unit


def _unit(row: Operation, ranks: int, dtype: str, pattern: str | None) -> int:
    """Elements that a message over `ranks` ranks must be a multiple of."""
    return row.unit(ranks, dtype, pattern) if row.unit else ranks if row.in_blocks else 1


def why_not(case: "Case") -> str | None:
    """Why no library can run this case, or None. Depends on the case alone, so all ranks agree."""
    operation = OPERATIONS[case.op]
    if axis_of(case.traffic):
        if case.in_place and operation.in_blocks:
            return f"in the groups of a mesh, {case.op} is measured out of place only"
        return why_not(case.in_group)
    if operation.pairs and not operation.linked and case.ranks % 2:
        return f"{case.op} needs an even number of ranks, not {case.ranks}"
    if operation.why_not and (reason := operation.why_not(case)):
        return reason
    if case.in_place and operation.uneven:
        counts = traffic_counts(case)
        if any(counts[s][d] != counts[d][s] for s in range(case.ranks) for d in range(s)):
            return f"in-place needs equal counts in both directions of each pair; traffic {case.traffic} has not"
    return None


def why_not_taken(dtypes: Sequence[str], op: str) -> str:
    """The message that `op` is not measured with these element types."""
    row = OPERATIONS[op]
    return (f"element type {', '.join(dtypes)} for {op}: {'reductions are' if row.reduces else 'it is'} measured with "
            f"{', '.join(filter(row.takes, DTYPES))}")


def check(case: CaseLike) -> None:
    """Raise UsageError unless `case` is valid."""
    operation = OPERATIONS.get(case.op)
    if operation is None:
        raise UsageError(f"operation {case.op!r}: known are {', '.join(OPERATIONS)}")
    if case.ranks < 1:
        raise UsageError(f"{case.op} over {case.ranks} ranks: at least 1 is needed")
    if not operation.has_payload:
        if case.bytes or case.dtype or case.redop:
            raise UsageError(f"{case.op} has no message size, element type or reduce operation")
        return
    if case.dtype is None or case.dtype not in DTYPES:
        raise UsageError(f"element type {case.dtype!r}: known are {', '.join(DTYPES)}")
    if not operation.takes(case.dtype):
        raise UsageError(why_not_taken((case.dtype,), case.op))
    if operation.reduces != (case.redop is not None) or (case.redop and case.redop not in REDOPS):
        wanted = f"one of {', '.join(REDOPS)}" if operation.reduces else "none"
        raise UsageError(f"reduce operation {case.redop!r} for {case.op}: expected {wanted}")
    _check_traffic(case, operation)
    if case.bytes < 1 or round_up(case.op, case.bytes, case.ranks, case.dtype, case.traffic) != case.bytes:
        raise UsageError(f"{case.bytes} B cannot be divided for {case.op} of {case.dtype} over {case.ranks} ranks")


def _check_traffic(case: CaseLike, operation: Operation) -> None:
    problem = None
    if operation.grammar is None:
        problem = None if case.traffic is None else "expected none"
    else:
        name = operation.grammar.parse(case.traffic or "")
        problem = operation.grammar.check(case) if name == case.traffic else f"its canonical text is {name!r}"
    if problem:
        raise UsageError(f"traffic pattern {case.traffic!r} for {case.op} over {case.ranks} ranks: {problem}")
