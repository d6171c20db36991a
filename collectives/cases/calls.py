"""Lists of calls: what a program asks of its communication library, in order.

A list is measured as one case and exchanged as a file; see `call_files`.
"""

import hashlib

import msgspec

__all__ = ["Call", "CallList"]


class Call(msgspec.Struct, frozen=True):
    """One call, made `count` times in a row.

    Args:
        op: operation of the catalog.
        bytes: message size S in bytes, as in `Case.bytes`.
        axis: the axis of the mesh whose groups make the call, all at once; None for all ranks together.
        count: how often.
        overlap: whether it may run while what follows it runs: it is started, and waited for only before the next call
            on the same axis that does not overlap, or at the end.
        per_rank: whether `bytes` is what each rank contributes, of which the message has as many as the axis has ranks.
    """

    op: str
    bytes: int
    axis: str | None = None
    count: int = 1
    overlap: bool = False
    per_rank: bool = False


class CallList(msgspec.Struct, frozen=True):
    """Calls in order, and what is known of them. Lists with the same calls have the same digest.

    Args:
        name: of the list; the file's name without its ending.
        mesh: text of the mesh that the axes belong to (see `mesh`); None if the list has none, or leaves it open.
        title: what the list is, in words.
        source: the file it was read from, as it was given.
    """

    name: str
    calls: tuple[Call, ...]
    mesh: str | None = None
    title: str | None = None
    source: str | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that occur, in order of first use."""
        return tuple(dict.fromkeys(call.axis for call in self.calls if call.axis))

    @property
    def bytes(self) -> int:
        """The sum of all message sizes."""
        return sum(call.bytes * call.count for call in self.calls)

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that differ for different calls."""
        rows = [(call.op, call.bytes, call.axis, call.count, call.overlap, *([True] if call.per_rank else []))
                for call in self.calls]
        return hashlib.sha256(repr(rows).encode()).hexdigest()[:8]
