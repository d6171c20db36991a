"""What expert-parallel dispatch and combine move, from how tokens choose their experts.

A router sends each token to `topk` of `experts` experts, which the ranks hold in equal shares. The loads of a workload
of collbench are computed (`token_loads`). Where a table states only tokens, topk and experts, the expected number of
ranks that a token reaches follows from counting: a token misses a group that holds e experts with probability
C(experts - e, topk) / C(experts, topk).
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import comb
from types import MappingProxyType
from typing import NamedTuple

from collbench.collectives.cases.moe_workload import is_workload, parse_workload

from .algorithms import Algorithm
from .schedules import Schedule, Step
from .token_loads import least_bytes, moved_bytes

__all__ = ["KNOWN_TO_RUN", "Routing", "algorithms_for", "busiest_bytes", "destinations", "kept_copies", "kernel_named",
           "received_bytes", "remote_copies", "routing_of"]

_STATED = re.compile(r"\b(top_?k|experts|hidden)=(\d{1,9})\b")
_BALANCED = re.compile(r"\b(?:distribution|routing)=balanced\b")
# Not their parts that move something else, such as the exchange of counts.
_EXCHANGES = ("moe_dispatch", "moe_combine", "moe_pair", "moe_roundtrip")
# Names of kernels in tables and logs, and what their authors say that they do.
_KERNELS = ((r"^(?:.*_)?ll$|low.?latency", "a copy for each expert"),
            (r"^(?:normal|(?:.*_)?ht)$", "a copy for each node"))
_ITEMSIZES = {"bfloat16": 2.0, "float16": 2.0, "float32": 4.0, "nvfp4": 0.5625, "fp4": 0.5}
_OTHER_ITEMSIZE = 1.0       # fp8, int8 and the like
_SUMMED = ("bfloat16", "float16", "float32")
# Algorithms that an implementation of collbench may run, by `via` of the workload.
KNOWN_TO_RUN = MappingProxyType({
    "counts": ("a copy for each rank", "a copy for each rank, its own included", "pairwise"),
    "gather": ("a copy for each rank", "pairwise"),
    "two-stage": ("a copy for each node, forwarded", "a copy for each rank", "pairwise")})


class Routing(NamedTuple):
    """How tokens choose experts, as far as a table states it.

    Args:
        topk: experts that a token goes to.
        experts: of all ranks together; None if not stated.
        balanced: tokens spread over as many ranks as they can, instead of choosing at random.
        row_bytes: bytes of a token; 1 if not stated.
        known: operation, traffic and element type of a workload of collbench; None for a published table.
    """

    topk: int
    experts: int | None = None
    balanced: bool = False
    row_bytes: float = 1.0
    known: tuple[str, str, str] | None = None

    @property
    def via(self) -> str | None:
        """The implementation, if it is known."""
        return parse_workload(self.known[1]).via if self.known else None


@lru_cache(maxsize=4096)
def routing_of(op: str, traffic: str | None, variant: str | None, dtype: str | None) -> Routing | None:
    """The routing of an expert-parallel exchange; None if neither a workload nor the settings of a table state `topk`.

    Args:
        variant: settings of a published table.
    """
    if op not in _EXCHANGES:
        return None
    if is_workload(traffic):
        work = parse_workload(traffic or "")
        return Routing(work.topk, work.experts, work.pattern.popularity is None, known=(op, traffic or "", dtype or ""))
    dtype = dtype if op == "moe_dispatch" or dtype in _SUMMED else "bfloat16"       # in which results come back
    stated = {name.replace("_", ""): int(value) for name, value in _STATED.findall(variant or "")}
    if not stated.get("topk"):
        return None
    row = stated["hidden"] * _ITEMSIZES.get(dtype or "", _OTHER_ITEMSIZE) if stated.get("hidden") else 1.0
    return Routing(stated["topk"], stated.get("experts") or None, bool(_BALANCED.search(variant or "")), row)


@lru_cache(maxsize=4096)
def destinations(routing: Routing, groups: int) -> Fraction:
    """Expected number of distinct groups of ranks, of `groups` equal ones, that hold an expert of a token.

    The most there can be, min(topk, groups), if routing is balanced. If the number of experts is unknown, there are so
    many that each choice is independent of the others.
    """
    topk, experts = routing.topk, routing.experts
    if routing.balanced or (experts is not None and experts < max(topk, groups)):
        return Fraction(min(topk, groups))
    if experts is None:
        return groups * (1 - Fraction(groups - 1, groups) ** topk)
    each, more = divmod(experts, groups)
    missed = sum(many * comb(experts - own, topk) for own, many in ((each, groups - more), (each + 1, more)) if many)
    return groups - Fraction(missed, comb(experts, topk))


def remote_copies(routing: Routing, ranks: int) -> Fraction:
    """Copies of a token that leave its rank, one for each other rank that holds an expert of it; its mean."""
    return destinations(routing, ranks) * Fraction(ranks - 1, ranks)


def kept_copies(routing: Routing, ranks: int) -> Fraction:
    """Share of the tokens that a rank keeps because it holds an expert of them itself; its mean."""
    return destinations(routing, ranks) / ranks


def kernel_named(name: str | None) -> str | None:
    """The algorithm, of `algorithms_for`, that kernels of this name run; `name` itself if that is not known."""
    return next((known for pattern, known in _KERNELS if re.search(pattern, name or "", re.IGNORECASE)), name)


def busiest_bytes(routing: Routing, ranks: int, tokens: float) -> float:
    """Bytes that the busiest rank sends or receives: as routed if that is known, else the mean of equal ranks.

    Args:
        tokens: of each rank.
    """
    if routing.known:
        op, traffic, dtype = routing.known
        return moved_bytes(op, traffic, dtype, ranks, tokens)
    return tokens * routing.row_bytes * float(remote_copies(routing, ranks))


def received_bytes(routing: Routing, ranks: int, tokens: float) -> float:
    """Bytes that some rank must receive whatever the implementation; 0 if the routing is not known."""
    return least_bytes(*routing.known, ranks, tokens) if routing.known else 0.0


def _two_steps(inside: Fraction, outside: Fraction) -> Schedule:
    """What stays in a node, then what leaves it, each sent to all at once."""
    return tuple(step for step in (Step(1, inside, inside=True), Step(1, outside)) if step.share)


@lru_cache(maxsize=256)
def algorithms_for(routing: Routing) -> tuple[Algorithm, ...]:
    """How a dispatch may be carried out; a combine is the same in reverse.

    Shares are of the bytes that leave a rank if each other rank that needs a token gets one copy of it
    (`remote_copies`). By the documentation of DeepEP, low-latency kernels send a copy for each expert, and normal ones
    one to each node, where it is forwarded while the next one arrives.
    """
    def relative(build: Callable[[int, int], tuple[Fraction, Fraction]]) -> Callable[[int, int], Schedule]:
        def schedule(ranks: int, node: int) -> Schedule:
            unit = remote_copies(routing, ranks)
            inside, outside = build(ranks, min(node, ranks))
            return _two_steps(inside / unit, outside / unit)
        return schedule

    def spread(copies: Callable[[int], Fraction]) -> Callable[[int, int], tuple[Fraction, Fraction]]:
        return lambda n, node: (copies(n) * Fraction(node - 1, n), copies(n) * Fraction(n - node, n))

    def by_node(forwards: bool) -> Callable[[int, int], tuple[Fraction, Fraction]]:
        def build(n: int, node: int) -> tuple[Fraction, Fraction]:
            nodes = -(-n // node)
            inside = destinations(routing, n) * Fraction(node - 1, node) if forwards or nodes == 1 else Fraction(0)
            return inside, destinations(routing, nodes) * Fraction(nodes - 1, nodes)
        return build

    def pairwise(n: int, node: int) -> Schedule:
        node = min(node, n)
        steps = (Step(node - 1, Fraction(1, n - 1), inside=True), Step(n - node, Fraction(1, n - 1)))
        return tuple(step for step in steps if step.times)

    def with_own(n: int, node: int) -> tuple[Fraction, Fraction]:
        inside, outside = spread(lambda ranks: destinations(routing, ranks))(n, node)
        return inside + kept_copies(routing, n), outside

    return (Algorithm("a copy for each rank", relative(spread(lambda n: destinations(routing, n)))),
            Algorithm("a copy for each rank, its own included", relative(with_own)),
            Algorithm("pairwise", pairwise),
            Algorithm("a copy for each expert", relative(spread(lambda n: Fraction(routing.topk)))),
            Algorithm("a copy for each node", relative(by_node(False)), nodes=True),
            Algorithm("a copy for each node, forwarded", relative(by_node(True)), nodes=True))
