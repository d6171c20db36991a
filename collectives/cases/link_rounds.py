"""The schedule for measuring every link: all pairs of ranks in the fewest rounds of disjoint pairs. Pure arithmetic.

n ranks have n (n - 1) / 2 pairs. The circle method for tournaments (Kirkman 1847) schedules them in n - 1 rounds of
n / 2 pairs for even n; for odd n in n rounds, with one rank idle in each. `Case.traffic` holds the name of a round:
`round-3` (the first of each pair sends), `round-3-back` (the second sends), `pair-2-5` (2 sends to 5, all others idle).
"""

import re
from functools import lru_cache

__all__ = ["Pair", "is_name", "pairs_of", "partners", "round_names", "rounds", "single_pair"]

Pair = tuple[int, int]      # sender (or initiator), receiver (or responder)
_NAME = re.compile(r"round-(?P<round>\d+)(?P<back>-back)?|pair-(?P<source>\d+)-(?P<target>\d+)")


@lru_cache(maxsize=8)
def rounds(ranks: int) -> tuple[tuple[Pair, ...], ...]:
    """All pairs of `ranks` ranks, each once, in rounds of disjoint pairs; () for fewer than 2.

    One seat is fixed and the others rotate by one. The initiator alternates, so that no rank initiates in every round.
    """
    if ranks < 2:
        return ()
    seats = ranks + ranks % 2           # with an odd number, the rank paired with the empty seat is idle
    table = []
    for step in range(seats - 1):
        ring = [0, *(1 + (step + place) % (seats - 1) for place in range(seats - 1))]
        met = ((ring[place], ring[-1 - place]) for place in range(seats // 2))
        pairs = (pair[::-1] if (step + place) % 2 else pair for place, pair in enumerate(met))
        table.append(tuple(pair for pair in pairs if max(pair) < ranks))
    return tuple(table)


def round_names(ranks: int, both_ways: bool) -> tuple[str, ...]:
    """Names of the rounds that cover every pair once, or once in each direction."""
    ways = ("", "-back") if both_ways else ("",)
    return tuple(f"round-{number}{way}" for number in range(1, len(rounds(ranks)) + 1) for way in ways)


def single_pair(source: int, target: int) -> str:
    """The name of the round that consists of this pair only."""
    return f"pair-{source}-{target}"


def is_name(text: str) -> bool:
    """Whether `text` has the form of a round's name."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def pairs_of(name: str, ranks: int) -> tuple[Pair, ...] | None:
    """The pairs of the round `name` over `ranks` ranks; None if there is no such round."""
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
    """Partner of each rank in a round, and whether the rank initiates; idle ranks are left out."""
    met = pairs_of(name, ranks) or ()
    return {rank: (other, begins) for source, target in met
            for rank, other, begins in ((source, target, True), (target, source, False))}
