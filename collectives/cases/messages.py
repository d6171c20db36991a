"""The messages that carry out an operation that only moves data, derived from its row of the catalog.

A transport uses them where its library has no call for an operation: a new one needs no code in any transport.
"""

from functools import lru_cache
from typing import NamedTuple

from . import catalog
from .case import Case

__all__ = ["Message", "messages", "window"]


class Message(NamedTuple):
    """`count` elements at element `at` of this rank's send (or receive) buffer, to (or from) `peer`."""

    peer: int
    at: int
    count: int      # type: ignore[assignment]  # hides tuple.count, which nothing uses


Messages = tuple[list[Message], list[Message]]      # sent, received


@lru_cache(maxsize=64)
def messages(case: Case, rank: int) -> Messages | None:
    """What `rank` sends and what it receives; None if the operation reduces, which messages alone cannot do.

    Between two ranks the messages are in the same order on both sides. What a rank keeps for itself is a message to
    and one from itself.
    """
    if catalog.OPERATIONS[case.op].reduces:
        return None
    held = _places(case, rank)
    sends = [Message(peer, _place(case, held, piece), piece.count) for peer in range(case.ranks)
             for piece in catalog.received(case, peer) if piece.source == rank]
    receives: list[Message] = []
    at = 0
    for piece in catalog.received(case, rank):
        assert piece.source is not None
        receives.append(Message(piece.source, at, piece.count))
        at += piece.count
    return sends, receives


def window(case: Case, rank: int) -> Messages:
    """The messages of a whole window: with each peer as many as the operation has, whose buffers are used in turn."""
    sends, receives = messages(case, rank) or ([], [])
    return _in_turn(case, sends), _in_turn(case, receives)


def _in_turn(case: Case, single: list[Message]) -> list[Message]:
    by_peer: dict[int, list[Message]] = {}
    for message in single:
        by_peer.setdefault(message.peer, []).append(message)
    return [own[number % len(own)] for number in range(catalog.OPERATIONS[case.op].messages)
            for own in by_peer.values()]


def _places(case: Case, rank: int) -> dict[int, list[tuple[catalog.Piece, int]]]:
    """By block, the pieces that `rank` sends, and where its send buffer has them, in elements."""
    held: dict[int, list[tuple[catalog.Piece, int]]] = {}
    at = 0
    for piece in catalog.sent(case, rank):
        held.setdefault(piece.block, []).append((piece, at))
        at += piece.count
    return held


def _place(case: Case, held: dict[int, list[tuple[catalog.Piece, int]]], wanted: catalog.Piece) -> int:
    """Where the sender has this piece in its send buffer, in elements."""
    for piece, at in held.get(wanted.block, ()):
        if piece.start <= wanted.start < piece.start + piece.count:
            return at + wanted.start - piece.start
    raise AssertionError(f"{case.op}: rank {wanted.source} does not send block {wanted.block} that another receives")
