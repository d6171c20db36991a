"""Which ranks exchange messages in the patterns of `families.patterns`. Pure arithmetic, the same on every rank.

A text names the pattern and is what `Case.traffic` and every key hold, so what a text means must never change.
"""

import itertools
import math
import re
from functools import lru_cache

from ..errors import UsageError
from .traffic import shuffled

__all__ = ["FANS", "HALOS", "HALVES", "PERMUTATIONS", "derangement", "directions", "fan_width", "halves", "neighbours",
           "parse_fan", "parse_halo", "parse_halves", "parse_permutation", "sides"]

FANS, PERMUTATIONS = "fan[:K]", "permutation:SEED"
HALVES, HALOS = "halves, random-halves:SEED", "line, ring, torus:DIMENSIONS, torus:AxB[xC[xD]]"

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_FAN = re.compile(r"fan(?::([1-9][0-9]{0,8}))?")
_PERMUTATION = re.compile(rf"permutation:{_NUMBER}")
_HALVES = re.compile(rf"halves|random-halves:{_NUMBER}")
_HALO = re.compile(r"line|ring|torus:(?:[2-4]|[1-9][0-9]{0,8}(?:x[1-9][0-9]{0,8}){1,3})")


def _matching(form: re.Pattern[str], text: str, spelling: str) -> str:
    if not form.fullmatch(text):
        raise UsageError(f"{text!r:.80}: expected {spelling}")
    return text


def parse_fan(text: str) -> str:
    """`fan` (between one rank and all others) or `fan:K` (and K others). UsageError for anything else."""
    return _matching(_FAN, text, FANS)


def parse_permutation(text: str) -> str:
    """`permutation:SEED`. UsageError for anything else."""
    return _matching(_PERMUTATION, text, PERMUTATIONS)


def parse_halves(text: str) -> str:
    """`halves` or `random-halves:SEED`. UsageError for anything else."""
    return _matching(_HALVES, text, HALVES)


def parse_halo(text: str) -> str:
    """`line`, `ring`, or a torus by its number of dimensions or by its sides. UsageError for anything else."""
    return _matching(_HALO, text, HALOS)


def fan_width(text: str, ranks: int) -> int:
    """How many ranks rank 0 exchanges data with: ranks 1 to this."""
    match = _FAN.fullmatch(text)
    return int(match[1]) if match and match[1] else max(1, ranks - 1)


@lru_cache(maxsize=64)
def derangement(text: str, ranks: int) -> tuple[int, ...]:
    """The rank that each rank sends to: all permutations without a rank that sends to itself are equally likely.

    About one permutation in e is one of these, so the first that is, in an order that depends on the seed, comes soon.
    """
    seed = text.rpartition(":")[2]
    tries = (shuffled(ranks, f"derangement/{seed}/{attempt}") for attempt in itertools.count())
    return next(tuple(to) for to in tries if all(rank != other for rank, other in enumerate(to)) or ranks < 2)


@lru_cache(maxsize=64)
def halves(text: str, ranks: int) -> dict[int, tuple[int, bool]]:
    """Partner of each rank in the other half, and whether the rank is in the first; with an odd count one is left out.

    `halves` are the lower and the upper half of the ranks, and i meets i + n/2. Those of `random-halves` are random,
    and so are the pairs.
    """
    order = list(range(ranks)) if text == "halves" else shuffled(ranks, f"halves/{text.rpartition(':')[2]}")
    half = ranks // 2
    return {rank: (other, first) for here, there in zip(order[:half], order[half:2 * half], strict=True)
            for rank, other, first in ((here, there, True), (there, here, False))}


@lru_cache(maxsize=256)
def sides(text: str, ranks: int) -> tuple[int, ...] | None:
    """Ranks along each dimension, the last of which varies fastest; None if these ranks cannot be arranged so.

    A torus given by its number of dimensions has the most even sides of at least 2.
    """
    if text in ("line", "ring"):
        return (ranks,)
    words = text.partition(":")[2].split("x")
    if len(words) > 1:
        given = tuple(map(int, words))
        return given if math.prod(given) == ranks and min(given) > 1 else None
    return _even_sides(ranks, int(words[0]), ranks)


def _even_sides(ranks: int, dimensions: int, most: int) -> tuple[int, ...] | None:
    """The most even sides, none above `most`, in ascending order: the one with the smallest largest side."""
    if dimensions == 1:
        return (ranks,) if 2 <= ranks <= most else None
    found = ((*rest, side) for side in range(2, min(most, ranks) + 1) if ranks % side == 0
             if (rest := _even_sides(ranks // side, dimensions - 1, side)))
    return next(found, None)


def directions(text: str, ranks: int) -> int:
    """Messages that the busiest rank sends: two for each dimension, but one on a line of two ranks."""
    if text == "line":
        return 1 if ranks <= 2 else 2
    return 2 * max(1, text.count("x") + 1 if "x" in text else int(text[-1]) if text.startswith("torus") else 1)


def neighbours(text: str, ranks: int, rank: int) -> dict[int, int]:
    """The neighbour of `rank` in each direction that has one: 2 d is down and 2 d + 1 is up along dimension d.

    UsageError if the ranks cannot be arranged so.
    """
    shape = sides(text, ranks)
    if shape is None:
        raise UsageError(f"{text}: {ranks} ranks cannot be arranged so")
    found = {}
    for dimension, side in enumerate(shape):
        stride = math.prod(shape[dimension + 1:])
        at = rank // stride % side
        for way, step in enumerate((-1, 1)):
            if text != "line" or 0 <= at + step < side:
                found[2 * dimension + way] = rank + ((at + step) % side - at) * stride
    return found
