"""Several calls with buffers of their own in one slot, for operations made of several calls.

The send buffer of a slot holds what is only sent, then what calls in place send and receive; the receive buffer begins
there and goes on with what is only received. So an operation may mix calls of both kinds, and every byte is checked.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import catalog

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

    from .case import Case

__all__ = ["Place", "Placed", "SideCall", "arrange", "extent", "image", "shared"]

_ALIGNMENT = 64


class SideCall(NamedTuple):
    """One of the calls, as one rank makes it.

    Args:
        case: as the group sees it, over the ranks of the group.
        members: the ranks of the group, in increasing order.
        number: this rank's number in the group.
        salt: different for calls whose data must differ.
    """

    case: "Case"
    members: Sequence[int]
    number: int
    salt: int


class Place(NamedTuple):
    """Bytes of a slot."""

    at: int
    length: int


class Placed(NamedTuple):
    """A call with its buffers in the slot."""

    call: SideCall
    send: Place
    recv: Place


class Arrangement(NamedTuple):
    """All calls with their buffers; `send_bytes` are the first of the slot, `recv_bytes` begin at `recv_at`."""

    placed: list[Placed]
    send_bytes: int
    recv_at: int
    recv_bytes: int


def arrange(calls: Iterable[SideCall]) -> Arrangement:
    """Where the buffers of these calls are."""
    sized = [(call, *_sizes(call)) for call in calls]
    in_place = [_is_in_place(call) and send == recv for call, send, recv in sized]
    sends, both, receives = (sum(map(_padded, sizes)) for sizes in (
        [send for (_, send, _), alike in zip(sized, in_place, strict=True) if not alike],
        [send for (_, send, _), alike in zip(sized, in_place, strict=True) if alike],
        [recv for (_, _, recv), alike in zip(sized, in_place, strict=True) if not alike]))
    at = [0, sends, sends + both]       # of the next call in each of the three parts
    placed: list[Placed] = []
    for (call, send, recv), alike in zip(sized, in_place, strict=True):
        if alike:
            placed.append(Placed(call, Place(at[1], send), Place(at[1], recv)))
            at[1] += _padded(send)
        else:
            placed.append(Placed(call, Place(at[0], send), Place(at[2], recv)))
            at[0] += _padded(send)
            at[2] += _padded(recv)
    return Arrangement(placed, sends + both, sends, both + receives)


def extent(calls: Iterable[SideCall]) -> tuple[int, int]:
    """Bytes of the send and of the receive buffer."""
    found = arrange(calls)
    return found.send_bytes, found.recv_bytes


def shared(calls: Iterable[SideCall]) -> int:
    """Bytes that are in both."""
    found = arrange(calls)
    return found.send_bytes - found.recv_at


def image(calls: Iterable[SideCall], salt: int, sent: bool, made: int | None = None) -> "np.ndarray":
    """All bytes (uint8) of the send, or of the receive buffer; `POISON` between the calls.

    Args:
        made: only so many of the calls are made, the first ones; None for all.
    """
    import numpy as np

    from . import values
    found = arrange(calls)
    whole = np.full(found.send_bytes if sent else found.recv_bytes, values.POISON, np.uint8)
    for number, (call, send, recv) in enumerate(found.placed):
        is_made = made is None or number < made
        at, length = (send.at, send.length) if sent else (recv.at - found.recv_at, recv.length)
        if length and (sent or is_made or send == recv):    # in place, a call that is not made leaves what was sent
            pieces = (catalog.received if is_made and not sent else catalog.sent)(call.case, call.number)
            whole[at:at + length] = values.image(call.case, pieces, salt + call.salt)
    return whole


def _sizes(call: SideCall) -> tuple[int, int]:
    """Bytes that the call sends and receives."""
    send, recv = (sum(piece.count for piece in pieces(call.case, call.number)) * call.case.itemsize
                  for pieces in (catalog.sent, catalog.received))
    return send, recv


def _is_in_place(call: SideCall) -> bool:
    return call.case.in_place or call.case.op == "broadcast"


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT
