"""The messages that carry out an operation that only moves data, derived from its row of the catalog.

A transport uses them where its library has no call for an operation: a new one needs no code in any transport.
"""

from typing import NamedTuple

from . import catalog

__all__ = ["Message", "messages"]


class Message(NamedTuple):
    """`count` elements at element `at` of this rank's send (or receive) buffer, to (or from) `peer`."""

    peer: int
    at: int
    count: int      # type: ignore[assignment]  # hides tuple.count, which nothing uses


def messages(case: catalog.CaseLike, rank: int) -> tuple[list[Message], list[Message]] | None:
    """What `rank` sends and what it receives; None if the operation reduces, which messages alone cannot do.

    Between two ranks the messages are in the same order on both sides. What a rank keeps for itself is a message to
    and one from itself.
    """
    if catalog.OPERATIONS[case.op].reduces:
        return None
    sends = [Message(peer, _place(case, piece), piece.count) for peer in range(case.ranks)
             for piece in catalog.received(case, peer) if piece.source == rank]
    receives: list[Message] = []
    at = 0
    for piece in catalog.received(case, rank):
        assert piece.source is not None
        receives.append(Message(piece.source, at, piece.count))
        at += piece.count
    return sends, receives


def _place(case: catalog.CaseLike, wanted: catalog.Piece) -> int:
    """Where the sender has this piece in its send buffer, in elements."""
    at = 0
    for piece in catalog.sent(case, wanted.source or 0):
        if piece.block == wanted.block and piece.start <= wanted.start < piece.start + piece.count:
            return at + wanted.start - piece.start
        at += piece.count
    raise AssertionError(f"{case.op}: rank {wanted.source} does not send block {wanted.block} that another receives")
