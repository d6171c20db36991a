"""Short texts for messages."""

from collections.abc import Iterable

__all__ = ["name_ranks"]


def name_ranks(ranks: Iterable[int]) -> str:
    """`rank 3`, or `ranks 1-4, 7`: runs of consecutive ranks are abbreviated."""
    ordered = sorted(ranks)
    spans: list[tuple[int, int]] = []
    for rank in ordered:
        if spans and rank == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], rank)
        else:
            spans.append((rank, rank))
    words = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"rank{'s' if len(ordered) > 1 else ''} {words}"
