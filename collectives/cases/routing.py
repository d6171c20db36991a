"""Which ranks the tokens of a mixture-of-experts layer go to: a pure function of workload, rank count and step.

Everything is computed from integers, so that it is the same on every rank, machine and version of numpy.

Each token selects `topk` different experts such that expert e is selected by a share min(1, c w[e]) of the tokens.
Here w is the popularity of the experts by the pattern, and c makes the shares add up to `topk`. This is systematic
sampling (Madow 1949): the shares are laid end to end on a line, in a random order, and the token selects the experts
that it meets at u, u + 1, u + 2 ... for a random u. There are `_ORDERS` orders, so a token's selection is one of few,
which are tabulated: the loads of 384 ranks with 4,096 tokens each take less than a second.

A token that selects several experts of one rank is sent there once.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UsageError
from .moe_patterns import Setting
from .moe_workload import Workload, parse_workload

if TYPE_CHECKING:       # numpy would make every command slow to start
    import numpy as np

__all__ = ["expert_loads", "holders", "loads", "picks", "popularity", "shares", "source_tokens"]

_UNIT = 1 << 32         # a share of 1
_ORDERS = 32
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_DRAWN = 1 << 18        # tokens at once: more do not fit in the cache


class _Table(NamedTuple):
    """All selections that occur in a step.

    Args:
        edges: the first random number of each selection, ascending; None if tokens take the selections in turn.
        picks: experts [selection, topk].
    """

    edges: "np.ndarray | None"
    picks: "np.ndarray"


def picks(traffic: str, ranks: int, tokens: int, source: int, step: int = 0) -> "np.ndarray":
    """The experts of each token of rank `source`, int32 [token, topk]; those of a token are all different.

    Args:
        traffic: text of a workload.
        tokens: tokens of a rank; where ranks have different numbers, of the one with most.
        step: steps repeat after `steps` of the workload.
    """
    work = parse_workload(traffic)
    own = int(source_tokens(traffic, ranks, tokens)[source])
    table = _table(work.text, ranks, step % work.steps)
    chosen: np.ndarray = table.picks[_selections(work, table, tokens, [source], step % work.steps)[0, :own]]
    return chosen


def loads(traffic: str, ranks: int, tokens: int, step: int = 0) -> "np.ndarray":
    """Token rows that each rank sends to each rank, int64 [source, destination]; arguments as of `picks`.

    A row from a rank to itself is counted.
    """
    import numpy as np
    work = parse_workload(traffic)
    _, group_of = _served(traffic, ranks)
    rows = np.empty((ranks, ranks), np.int64)
    for source, taken in _taken(work, ranks, tokens, step % work.steps):
        reached = _reached(traffic, ranks, step % work.steps, int(group_of[source]))
        rows[source] = np.bincount(reached.take(taken, axis=0).ravel(), minlength=ranks + 1)[:ranks]
    return rows


def expert_loads(traffic: str, ranks: int, tokens: int, step: int = 0) -> "np.ndarray":
    """Tokens of all ranks that select each expert, int64 [expert]; arguments as of `picks`."""
    import numpy as np
    work = parse_workload(traffic)
    table = _table(work.text, ranks, step % work.steps)
    total = np.zeros(work.experts, np.int64)
    for _, taken in _taken(work, ranks, tokens, step % work.steps):
        total += np.bincount(table.picks.take(taken, axis=0).ravel(), minlength=work.experts)
    return total


def source_tokens(traffic: str, ranks: int, tokens: int) -> "np.ndarray":
    """Tokens of each rank, int64 [rank]; at most `tokens`, and fewer where the sources are ragged."""
    import numpy as np
    work = parse_workload(traffic)
    if not work.pattern.ragged or ranks < 2:
        return np.full(ranks, tokens, np.int64)
    first, = work.values
    assert isinstance(first, Decimal)
    factor, last = Fraction(first), ranks - 1
    held = np.empty(ranks, np.int64)
    order = Setting(tuple(range(ranks)), work.seed, 0, work.steps).hosts()
    for place, rank in enumerate(order):
        held[rank] = tokens * (last + (factor - 1) * place) // (factor * last)
    return held


def popularity(traffic: str, ranks: int, step: int = 0) -> tuple[int, ...]:
    """Weight of each expert, whole numbers; equal for `balanced`.

    Raises:
        UsageError: fewer experts than a token selects have a weight, or a recorded table cannot be read.
    """
    work = parse_workload(traffic)
    if work.pattern.popularity is None:
        return (1,) * work.experts
    at = Setting(_owners(work, ranks), work.seed, step % work.steps, work.steps)
    try:
        weights = work.pattern.popularity(at, *work.values)
    except ValueError as error:
        raise UsageError(f"traffic pattern {traffic!r:.200}: {error}") from None
    able = sum(map(bool, weights))
    if len(weights) != work.experts or able < work.topk:
        raise UsageError(f"traffic pattern {traffic!r:.200}: {able} of {len(weights)} experts have tokens, but "
                         f"experts={work.experts} and topk={work.topk} were asked for")
    return tuple(weights)


def shares(weights: tuple[int, ...], topk: int) -> list[int]:
    """The share of the tokens that select each expert, in units of 2**-32: min(1, c w), adding up to `topk` exactly."""
    order = sorted(range(len(weights)), key=lambda expert: -weights[expert])
    always, rest = 0, sum(weights)
    while always < topk and weights[order[always]] * (topk - always) > rest:
        rest -= weights[order[always]]
        always += 1
    shared = [0] * len(weights)
    below = before = 0
    for place, expert in enumerate(order):
        if place < always:
            shared[expert] = _UNIT
            continue
        below += weights[expert]
        upto = (topk - always) * _UNIT * below // max(rest, 1)
        shared[expert], before = upto - before, upto
    return shared


@lru_cache(maxsize=64)
def holders(traffic: str, ranks: int) -> "np.ndarray":
    """The rank to which each rank sends the tokens for each expert, int32 [source, expert].

    That is the rank that holds the expert; of several replicas a rank uses its own, otherwise they are taken in turn.
    Replicas are dealt to the most loaded experts: always to the one with the largest expected load for a replica, on
    the rank with the fewest further replicas, and among those on the one with the least load.
    """
    import numpy as np
    work = parse_workload(traffic)
    replicas = [[owner] for owner in _owners(work, ranks)]
    if work.redundant:
        _replicate(replicas, popularity(traffic, ranks), ranks, work.redundant)
    served = np.empty((ranks, work.experts), np.int32)
    for expert, on in enumerate(replicas):
        served[:, expert] = [on[source % len(on)] for source in range(ranks)]
        served[on, expert] = on
    served.setflags(write=False)
    return served


@lru_cache(maxsize=64)
def _served(traffic: str, ranks: int) -> "tuple[np.ndarray, np.ndarray]":
    """The different rows of `holders`, and which of them each source has."""
    import numpy as np
    served, group_of = np.unique(holders(traffic, ranks), axis=0, return_inverse=True)
    return served, group_of.reshape(-1)


@lru_cache(maxsize=64)
def _reached(traffic: str, ranks: int, step: int, group: int) -> "np.ndarray":
    """The ranks that each row of the table reaches from the sources of a group, [row, topk].

    `ranks` stands for one that the same row reaches already.
    """
    import numpy as np
    served, _ = _served(traffic, ranks)
    met = np.sort(served[group].astype(np.intp)[_table(parse_workload(traffic).text, ranks, step).picks], axis=1)
    met[:, 1:][met[:, 1:] == met[:, :-1]] = ranks
    return met


def _owners(work: Workload, ranks: int) -> tuple[int, ...]:
    if work.placement == "round-robin":
        return tuple(expert % ranks for expert in range(work.experts))
    return tuple(expert * ranks // work.experts for expert in range(work.experts))


def _replicate(replicas: list[list[int]], weights: tuple[int, ...], ranks: int, redundant: int) -> None:
    further = [0] * ranks
    for _ in range(redundant):
        apart = [expert for expert, on in enumerate(replicas) if len(on) < ranks]
        if not apart:
            return
        expert = max(apart, key=lambda expert: (Fraction(weights[expert], len(replicas[expert])), -expert))
        load = [Fraction(0)] * ranks
        for other, on in enumerate(replicas):
            for rank in on:
                load[rank] += Fraction(weights[other], len(on))
        rank = min((rank for rank in range(ranks) if rank not in replicas[expert]),
                   key=lambda rank: (further[rank], load[rank], rank))
        replicas[expert].append(rank)
        further[rank] += 1


@lru_cache(maxsize=64)
def _table(traffic: str, ranks: int, step: int) -> _Table:
    import numpy as np
    work = parse_workload(traffic)
    if work.pattern.popularity is None:
        order = np.argsort(np.array(_owners(work, ranks)), kind="stable").astype(np.int32)
        apart = np.arange(work.topk) * work.experts // work.topk
        return _Table(None, order[(np.arange(work.experts)[:, None] + apart) % work.experts])
    share = np.array(shares(popularity(traffic, ranks, step), work.topk), np.int64)
    edges, chosen = [], []
    for number in range(_ORDERS):
        keys = _mixed(np.arange(work.experts, dtype=np.uint64), work.seed, number)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        ends = np.cumsum(share[order])
        starts = np.unique((ends - share[order]) % _UNIT)
        met = starts[:, None] + np.arange(work.topk) * _UNIT
        edges.append(starts + number * _UNIT)
        chosen.append(order[np.searchsorted(ends, met, side="right")])
    return _Table(np.concatenate(edges), np.concatenate(chosen))


def _selections(work: Workload, table: _Table, tokens: int, sources: Sequence[int], step: int) -> "np.ndarray":
    """The row of the table that each token takes, int64 [source, token]."""
    import numpy as np
    token = np.arange(tokens, dtype=np.uint64)
    if table.edges is None:
        # A stride near the golden section spreads even a few tokens; coprime, so that all selections get a turn.
        first = np.array(sources, np.uint64)[:, None] * np.uint64(tokens) + token
        turn: np.ndarray = (first * np.uint64(_stride(work.experts)) + np.uint64(_mix(work.seed + 1) % work.experts
                            + step)) % np.uint64(work.experts)
        return turn.astype(np.int64)
    states = np.array([_state(work.seed, _ORDERS + step, source) for source in sources], np.uint64)
    numbers = _scrambled(token * np.uint64(_GOLDEN) + states[:, None])
    return np.searchsorted(table.edges, (numbers >> np.uint64(27)).astype(np.int64), side="right") - 1


def _taken(work: Workload, ranks: int, tokens: int, step: int) -> "Iterator[tuple[int, np.ndarray]]":
    """Each source with the row of the table that each of its tokens takes; several sources are drawn at once."""
    table, held = _table(work.text, ranks, step), source_tokens(work.text, ranks, tokens).tolist()
    together = max(1, _DRAWN // max(1, tokens))
    for begin in range(0, ranks, together):
        sources = range(begin, min(begin + together, ranks))
        for source, rows in zip(sources, _selections(work, table, tokens, sources, step), strict=True):
            yield source, rows[:held[source]]


def _stride(experts: int) -> int:
    """A whole number near 0.618 `experts` without a common divisor with it."""
    return next(stride for stride in range(experts * 618 // 1000 + 1, 2 * experts + 2)
                if Fraction(stride, experts).denominator == experts)


def _mix(value: int) -> int:
    """A well-mixed 64-bit number (the finaliser of SplitMix64, Steele et al. 2014)."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def _mixed(index: "np.ndarray", *salts: int) -> "np.ndarray":
    """SplitMix64 at each index, uint64, from a state that depends on the salts."""
    import numpy as np
    return _scrambled(index * np.uint64(_GOLDEN) + np.uint64(_state(*salts)))


def _state(*salts: int) -> int:
    state = 0
    for salt in salts:
        state = _mix((state + (salt + 1) * _GOLDEN) & _MASK)
    return state


def _scrambled(value: "np.ndarray") -> "np.ndarray":
    """As `_mix`, of each element; changes the array."""
    import numpy as np
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value
