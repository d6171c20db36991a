"""The registry of collective algorithms: what each one sends, step by step, in exact arithmetic.

An algorithm is a schedule: a list of `Step`s, each a number of consecutive messages with the share of the message size
that the busiest rank sends in each. Steps on the critical path, bytes sent, bytes reduced and the machine level that a
step crosses all follow from the schedule, also for rank counts that are not a power of two.

Sources: Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005, for the shapes of MPI libraries; NCCL src/graph/tuning.cc
(2.30) for ring, chain-and-tree and in-switch step counts; Bruck et al., IEEE TPDS 8(11), 1997; Sanders, Speck and
Traeff, 2009, for pipelined trees; the HCCL user guide for mesh, NHR and pairwise.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.cases.catalog import OPERATIONS

from .operations import COSTS, is_routed
from .schedules import Schedule, Step, direct, folded, log2_ceil, log2_floor, paired, repeated, shifted

__all__ = ["ALGORITHMS", "Algorithm", "Profile", "algorithm_named", "algorithms_of", "canonical_name",
           "involves_others", "profile"]

_LIBRARY_CHOSE = ("default", "auto", "automatic")


class Algorithm(NamedTuple):
    """An algorithm for an operation.

    Args:
        schedule: (ranks, ranks per node) -> steps; only hierarchical algorithms use the ranks per node.
        nodes: the ranks per node must be known.
        in_network: needs switches that reduce.
        named: a candidate only if the data or a library's selection rule names it.
        neighbours: only one rank of a node at a time sends to another node.
    """

    name: str
    schedule: Callable[[int, int], Schedule]
    nodes: bool = False
    in_network: bool = False
    named: bool = False
    neighbours: bool = False

    def steps(self, ranks: int, node: int = 1) -> int:
        """Number of consecutive messages on the critical path."""
        return sum(step.times for step in self.schedule(ranks, node))

    def factor(self, ranks: int, node: int = 1) -> Fraction:
        """Bytes that one rank sends on the critical path, as a share of the message size."""
        return sum((step.times * step.share for step in self.schedule(ranks, node)), Fraction(0))

    def reduced(self, ranks: int, node: int = 1) -> Fraction:
        """Bytes that one rank reduces on the critical path, as a share of the message size."""
        return sum((step.times * step.share for step in self.schedule(ranks, node) if step.reduces), Fraction(0))


class Profile(NamedTuple):
    """An algorithm at one rank count, split by machine level; index 0 is the innermost level.

    Args:
        steps: [level] messages on the critical path, by the outermost level that they cross.
        shares: [level] bytes that the busiest rank sends in those messages, as a share of the message size.
        boundary: [level] level crossings of a ring through all ranks in order: the latency of a pipelined ring.
    """

    steps: tuple[int, ...]
    shares: tuple[float, ...]
    boundary: tuple[int, ...]


def _flat(build: Callable[[int], Schedule]) -> Callable[[int, int], Schedule]:
    return lambda ranks, node: build(ranks)


def _share(n: int) -> Fraction:
    return Fraction(n - 1, n)


def _ring(n: int) -> Schedule:
    return shifted(n - 1, Fraction(1, n))


def _ring_twice(n: int) -> Schedule:
    return (*shifted(n - 1, Fraction(1, n), reduces=True), *_ring(n))


def _doubling(n: int) -> Schedule:
    """Recursive doubling; ranks beyond the largest power of two fold in before it and out after it."""
    return folded(n, lambda core: [(1 << bit, Fraction(1), True) for bit in range(core.bit_length() - 1)])


def _halving_doubling(n: int) -> Schedule:
    """Rabenseifner: reduce-scatter by halving, all-gather by doubling, with the same fold."""
    def core_steps(core: int) -> list[tuple[int, Fraction, bool]]:
        halving = [(core >> bit, Fraction(1, 1 << bit), True) for bit in range(1, core.bit_length())]
        return halving + [(distance, share, False) for distance, share, _ in reversed(halving)]
    return folded(n, core_steps)


def _halving(n: int) -> Schedule:
    """Recursive halving: each step sends half of the remaining data to a partner at half the distance.

    A folded rank leaves its block with the rank that it folds into. The first ranks then hold two blocks and the halves
    are uneven; the busiest rank sends the larger one.
    """
    core = 1 << log2_floor(n)
    fold = n - core

    def core_steps(core: int) -> list[tuple[int, Fraction, bool]]:
        ranks = [core >> bit for bit in range(1, core.bit_length())]
        return [(half, Fraction(2 * min(fold, half) + max(0, half - fold), n), True) for half in ranks]
    return folded(n, core_steps, out_share=Fraction(1, n))


def _bruck_gather(n: int) -> Schedule:
    """Bruck's all-gather: the number of blocks held doubles each round; the last round sends the remainder."""
    return tuple(Step(1, Fraction(min(1 << bit, n - (1 << bit)), n)) for bit in range(log2_ceil(n)))


def _bruck_exchange(n: int) -> Schedule:
    """Bruck's all-to-all: round j sends the blocks whose distance has bit j set."""
    return tuple(Step(1, Fraction(sum(d >> bit & 1 for d in range(n)), n)) for bit in range(log2_ceil(n)))


def _in_pairs(schedule: Schedule, n: int) -> Schedule:
    """The same steps as exchanges between ranks that differ in one bit; only for a power of two of ranks."""
    if n & (n - 1):
        return schedule
    return tuple(step._replace(exchange=(1 << bit, 0)) for bit, step in enumerate(schedule))


def _log_halving(n: int) -> Schedule:
    """Reduce-scatter in ceil(log2 n) steps for any n: Bruck's all-gather in reverse, with reduction."""
    return tuple(step._replace(reduces=True) for step in reversed(_bruck_gather(n)))


def _tree(n: int, share: Fraction = Fraction(1), reduces: bool = False) -> Schedule:
    """Binomial tree: the distance doubles every round; each round sends the whole message."""
    return tuple(paired(1 << bit, share, reduces) for bit in range(log2_ceil(n)))


def _both_trees(n: int) -> Schedule:
    return (*_tree(n, reduces=True), *_tree(n))


def _pipelined(n: int, ways: int) -> Schedule:
    """A tree in small chunks: each of `ways` passes costs the depth in latency, but the message size only once."""
    depth = log2_ceil(n)
    return tuple(step for way in range(ways) for step in _tree(n, Fraction(1, depth), ways == 2 and way == 0))


def _chain_and_tree(n: int, node: int) -> Schedule:
    """NCCL's tree: a chain inside a node and a double binary tree over nodes, up then down, pipelined."""
    inside, over = min(n, node) - 1, log2_ceil(-(-n // node))
    share = Fraction(1, max(1, inside + over))
    return tuple(step for reduces in (True, False)
                 for step in (repeated(inside, share, reduces), *(paired(node << bit, share, reduces)
                                                                 for bit in range(over))) if step.times)


def _hierarchical(n: int, node: int) -> Schedule:
    """Reduce-scatter inside a node, a ring over nodes for each part, all-gather inside a node."""
    q, over = min(n, node), -(-n // node)
    inside = [repeated(q - 1, Fraction(1, q), reduces) for reduces in (True, False)]
    across = [Step(over - 1, Fraction(1, q * over), reduces) for reduces in (True, False)]
    return tuple(step for step in (inside[0], *across, inside[1]) if step.times)


def _hierarchical_gather(n: int, node: int) -> Schedule:
    q, over = min(n, node), -(-n // node)
    return tuple(step for step in (Step(over - 1, Fraction(1, n)), repeated(q - 1, Fraction(1, q))) if step.times)


def _hierarchical_exchange(n: int, node: int) -> Schedule:
    """All-to-all inside a node, then along rails between nodes."""
    q, over = min(n, node), -(-n // node)
    return tuple(step for step in (repeated(q - 1, Fraction(1, q)), Step(over - 1, Fraction(1, over))) if step.times)


def _scatter_gather(n: int) -> Schedule:
    """Van de Geijn: scatter by halving, then a ring all-gather."""
    depth = log2_ceil(n)
    return (*(paired(1 << depth - 1 - bit, _share(n) / depth) for bit in range(depth)), *_ring(n))


def _linear(n: int, share: Fraction) -> Schedule:
    return shifted(n - 1, share)


def _in_switch(n: int) -> Schedule:
    """To the switch and back; both directions overlap, so the message size counts once."""
    return (Step(1, Fraction(1)), Step(1, Fraction(0)))


_MESH = Algorithm("direct", _flat(lambda n: direct(1, _share(n))))
_GATHERS = (Algorithm("ring", _flat(_ring), neighbours=True), Algorithm("bruck", _flat(_bruck_gather)), _MESH,
            Algorithm("recursive doubling", _flat(lambda n: _in_pairs(_bruck_gather(n), n))),
            Algorithm("hierarchical", _hierarchical_gather, nodes=True))
_PIPELINE = Algorithm("pipelined chain", _flat(lambda n: shifted(n - 1, Fraction(1, n - 1))), neighbours=True)
_BINOMIAL = Algorithm("binomial tree", _flat(_tree))
_ONE_TREE = Algorithm("pipelined tree", _flat(lambda n: _pipelined(n, 1)))
_LINEAR_ROOT = Algorithm("linear", _flat(lambda n: _linear(n, Fraction(1))))
_BLOCKS = (Algorithm("binomial tree", _flat(lambda n: _tree(n, _share(n) / log2_ceil(n)))),
           Algorithm("linear", _flat(_ring)))
_EXCHANGE = (Algorithm("pairwise", _flat(_ring)), _MESH, Algorithm("bruck", _flat(_bruck_exchange)),
             Algorithm("hypercube", _flat(lambda n: _in_pairs(_bruck_exchange(n), n))),
             Algorithm("hierarchical", _hierarchical_exchange, nodes=True))
_FAN = (Algorithm("one after another", _flat(lambda n: shifted(n - 1, Fraction(1, n - 1)))),)
_WITHOUT_DATA = (Algorithm("dissemination", _flat(lambda n: log2_ceil(n) * (Step(1, Fraction(0)),))),
                 Algorithm("tree up and down", _flat(lambda n: 2 * _tree(n, Fraction(0)))),
                 Algorithm("ring", _flat(lambda n: shifted(n - 1, Fraction(0)))))

# Of two algorithms that fit equally well, the earlier one is chosen.
_OF_OPERATION: dict[str, tuple[Algorithm, ...]] = {
    "all_reduce": (
        Algorithm("ring", _flat(_ring_twice), neighbours=True),
        Algorithm("recursive doubling", _flat(_doubling)),
        Algorithm("rabenseifner", _flat(_halving_doubling)),
        Algorithm("reduce and broadcast trees", _flat(_both_trees)),
        Algorithm("pipelined tree", _flat(lambda n: _pipelined(n, 2))),
        Algorithm("chain and tree", _chain_and_tree, nodes=True, neighbours=True),
        Algorithm("hierarchical", _hierarchical, nodes=True),
        Algorithm("direct", _flat(lambda n: direct(2, _share(n)))),
        Algorithm("in-switch", _flat(_in_switch), in_network=True),
        Algorithm("all to all ranks", _flat(lambda n: direct(1, Fraction(n - 1)))),
        Algorithm("non-uniform hierarchical ring", _flat(lambda n: (*_log_halving(n), *_bruck_gather(n))), named=True),
    ),
    "all_gather": _GATHERS,
    "reduce_scatter": (Algorithm("ring", _flat(lambda n: shifted(n - 1, Fraction(1, n), reduces=True)),
                                 neighbours=True),
                       Algorithm("recursive halving", _flat(_halving)), _MESH,
                       Algorithm("reduce and scatter", _flat(lambda n: (*_tree(n, reduces=True),
                                                                        *_tree(n, _share(n) / log2_ceil(n))))),
                       Algorithm("non-uniform hierarchical ring", _flat(_log_halving), named=True)),
    "broadcast": (_BINOMIAL, Algorithm("scatter and all-gather", _flat(_scatter_gather)), _PIPELINE, _ONE_TREE,
                  _LINEAR_ROOT),
    "reduce": (_BINOMIAL, Algorithm("reduce-scatter and gather", _flat(
        lambda n: (*_halving(n), *_tree(n, _share(n) / log2_ceil(n))))), _PIPELINE, _ONE_TREE, _LINEAR_ROOT),
    "gather": _BLOCKS,
    "scatter": _BLOCKS,
    "all_to_all": _EXCHANGE,
    "all_to_all_v": _EXCHANGE,
    "barrier": _WITHOUT_DATA,
    # Ranks learn of each other along a tree, or all of all: logarithmic or linear, as a barrier.
    "comm_init": _WITHOUT_DATA,
    "comm_first_call": _WITHOUT_DATA,
    "comm_destroy": _WITHOUT_DATA,
    # Messages to or from one rank share its link, so that they end one after another however they are sent.
    "incast": _FAN,
    "outcast": _FAN,
    "permutation": (Algorithm("one message", _flat(lambda n: direct(1, Fraction(1)))),),
    "send_recv": (Algorithm("neighbour shift", _flat(lambda n: shifted(1, Fraction(1))), neighbours=True),),
}


def _named(names: tuple[str, ...]) -> tuple[Algorithm, ...]:
    """The first algorithm of each name, of whatever operation."""
    known: dict[str, Algorithm] = {}
    for algorithm in (algorithm for row in _OF_OPERATION.values() for algorithm in row):
        known.setdefault(algorithm.name, algorithm)
    return tuple(known[name] for name in names)


# An operation without a row of its own runs the algorithms that its row of costs names.
ALGORITHMS: "MappingProxyType[str, tuple[Algorithm, ...]]" = MappingProxyType({
    **_OF_OPERATION, **{op: _named(row.algorithms) for op, row in COSTS.items()
                        if row.algorithms and op not in _OF_OPERATION}})

# Operations outside the catalog, for example an expert-parallel dispatch, mostly resemble an all-to-all exchange.
_UNKNOWN = _EXCHANGE


def involves_others(op: str) -> bool:
    """Whether more ranks change what a rank does; not so for pairs of ranks, or one rank alone."""
    return op in ALGORITHMS or op not in OPERATIONS or is_routed(op)


def algorithms_of(op: str) -> tuple[Algorithm, ...]:
    """Algorithms of `op`; those of an all-to-all exchange if the operation is unknown."""
    return ALGORITHMS.get(op, _UNKNOWN)


# How libraries, tools and papers spell the names of the registry, in lower case without separators.
_SPELLINGS = {
    "ring": r"ring",
    "recursive doubling": r"rec(?:ursive)?doubling|recdoub|recdbl",
    "recursive halving": r"rec(?:ursive)?halving|rechalv",
    "rabenseifner": r"rabenseifner|recursivehalvingdoubling",
    "reduce-scatter and gather": r"rabenseifner|reducescattergather",
    "scatter and all-gather": r"scatterallgather|vandegeijn",
    "bruck": r"bruck",
    "pairwise": r"pairwise",
    "binomial tree": r"binomial",
    "linear": r"linear",
    "dissemination": r"dissemination",
    "pipelined chain": r"pipeline|chain(?!andtree)",
    "chain and tree": r"(?:^|default|nccl|selected)tree",
    "in-switch": r"nvls(?!tree)|sharp|inswitch",
    "direct": r"twoshot|2shot|fullmesh",
    "all to all ranks": r"oneshot|1shot",
}


@lru_cache(maxsize=4096)
def algorithm_named(op: str, name: str | None) -> Algorithm | None:
    """The algorithm of `op` that `name` stands for, in whatever spelling; None if there is none, or more than one."""
    known = {algorithm.name: algorithm for algorithm in algorithms_of(op)}
    if name is None or name in known:
        return known.get(name or "")
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    found = {one: match[0] for one, spelling in _SPELLINGS.items() if (match := re.search(spelling, plain))}
    ours = [one for one in found if one in known]
    return known[ours[0]] if len(ours) == 1 and len(set(found.values())) == 1 else None


def canonical_name(op: str, name: str | None) -> str | None:
    """The name in the registry of the algorithm that `name` stands for; `name` itself if the registry lacks it.

    None if it only says that the library chose.
    """
    if name is not None and name.lower() in _LIBRARY_CHOSE:
        return None
    found = algorithm_named(op, name)
    return found.name if found else name


@lru_cache(maxsize=65536)
def profile(algorithm: Algorithm, ranks: int, levels: tuple[int, ...] = ()) -> Profile:
    """`algorithm` over `ranks` ranks of a machine whose inner levels connect `levels` ranks each, ascending.

    A step counts towards the outermost level that any of its messages crosses. The last level connects all ranks.
    """
    node = levels[-1] if levels else 1
    steps, shares = [0] * (len(levels) + 1), [Fraction(0)] * (len(levels) + 1)
    for step in algorithm.schedule(ranks, node):
        level = step.level(ranks, levels)
        steps[level] += step.times
        shares[level] += step.times * step.share
    # A ring leaves a level once per group of that level.
    out = [ranks, *(-(-ranks // size) if ranks > size else 0 for size in levels)]
    walk = [out[i] - (out[i + 1] if i + 1 < len(out) else 0) for i in range(len(out))]
    return Profile(tuple(steps), tuple(map(float, shares)), tuple(walk))
