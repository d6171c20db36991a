"""Who talks to whom when every link is measured: all pairs in as few rounds as they fit into. Pure arithmetic.

n ranks have n (n - 1) / 2 pairs. The circle method (Kirkman 1847, of tournaments) puts them into n - 1 rounds of n / 2
disjoint pairs for even n; for odd n into n rounds, in each of which another rank rests. A pairing has a name, which
stands in `Case.traffic`: `round-3` (the first of each pair sends), `round-3-back` (the second does), `pair-2-5`
(2 sends to 5, everybody else rests).
"""

import re
from functools import lru_cache

__all__ = ["Pair", "alone", "is_name", "partners", "round_names", "rounds", "who_sends"]

Pair = tuple[int, int]      # who sends (or begins), who receives (or answers)
_NAME = re.compile(r"round-(?P<round>\d+)(?P<back>-back)?|pair-(?P<source>\d+)-(?P<target>\d+)")


@lru_cache(maxsize=8)
def rounds(ranks: int) -> tuple[tuple[Pair, ...], ...]:
    """All pairs of `ranks` ranks, each once, in rounds of disjoint pairs; () for fewer than 2.

    One seat is fixed and the others move round the table by one. Which of two begins alternates, so that no rank
    begins in all its rounds.
    """
    if ranks < 2:
        return ()
    seats = ranks + ranks % 2           # with an odd number, whoever meets the empty seat rests
    table = []
    for step in range(seats - 1):
        ring = [0, *(1 + (step + place) % (seats - 1) for place in range(seats - 1))]
        met = ((ring[place], ring[-1 - place]) for place in range(seats // 2))
        pairs = (pair[::-1] if (step + place) % 2 else pair for place, pair in enumerate(met))
        table.append(tuple(pair for pair in pairs if max(pair) < ranks))
    return tuple(table)


def round_names(ranks: int, both_ways: bool) -> tuple[str, ...]:
    """Names of the pairings that meet every pair once, or once in each direction."""
    ways = ("", "-back") if both_ways else ("",)
    return tuple(f"round-{number}{way}" for number in range(1, len(rounds(ranks)) + 1) for way in ways)


def alone(source: int, target: int) -> str:
    """The name of the pairing in which only these two meet."""
    return f"pair-{source}-{target}"


def is_name(text: str) -> bool:
    """Whether `text` could name a pairing."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def who_sends(name: str, ranks: int) -> tuple[Pair, ...] | None:
    """The pairs of the pairing called `name` over `ranks` ranks; None where there is none of that name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    if match["round"] is None:
        pair = int(match["source"]), int(match["target"])
        return (pair,) if pair[0] != pair[1] and max(pair) < ranks else None
    number, table = int(match["round"]), rounds(ranks)
    if not 1 <= number <= len(table):
        return None
    return tuple(pair[::-1] for pair in table[number - 1]) if match["back"] else table[number - 1]


@lru_cache(maxsize=1024)
def partners(name: str, ranks: int) -> dict[int, tuple[int, bool]]:
    """Each rank's partner in a pairing and whether the rank begins; a rank that rests is not in it."""
    met = who_sends(name, ranks) or ()
    return {rank: (other, begins) for source, target in met
            for rank, other, begins in ((source, target, True), (target, source, False))}
