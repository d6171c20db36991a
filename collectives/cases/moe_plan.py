"""Which rows of which buffer go where in one step of a mixture-of-experts exchange, for one rank.

A row is one token on its way to one rank (or, in two stages, to one node). Rows travel in the order of their
destination and, for the same destination, of their token.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from . import routing
from .moe_workload import Workload, parse_workload

__all__ = ["FirstStage", "Plan", "SecondStage", "Shape", "arrivals", "plan", "shares_of"]


class Shape(NamedTuple):
    """What routing depends on: canonical text of the workload, ranks, tokens of the busiest rank, and step."""

    traffic: str
    ranks: int
    tokens: int
    step: int

    @property
    def work(self) -> Workload:
        """The workload."""
        return parse_workload(self.traffic)


class FirstStage(NamedTuple):
    """What a rank sends and gets back; to ranks, or, in two stages, to the rank at the same place in each node.

    Args:
        tokens: the token of each row that the rank sends, int64 [row].
        sends: rows to each destination, int64 [destination].
        receives: rows from each source, int64 [source].
        weights: what the result of each row that comes back is multiplied by, int64 [row].
    """

    tokens: np.ndarray
    sends: np.ndarray
    receives: np.ndarray
    weights: np.ndarray


class SecondStage(NamedTuple):
    """What a rank passes on within its node.

    Args:
        rows: which of the rows that arrived in the first stage is passed on, int64 [row].
        sends, receives: rows to and from each rank of the node, int64 [rank of the node].
        weights: as of the first stage.
    """

    rows: np.ndarray
    sends: np.ndarray
    receives: np.ndarray
    weights: np.ndarray


class Plan(NamedTuple):
    """The rows of one rank in one step.

    Args:
        second: None where rows go directly to their ranks.
        selected: rows that the rank keeps of the tokens of all ranks one after another, and their weights; int64 [row].
    """

    first: FirstStage
    second: SecondStage | None
    selected: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=64)
def _places(shape: Shape, source: int) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each pick, and its weight, 1 or 2; int [token, pick]."""
    experts = routing.picks(shape.traffic, shape.ranks, shape.tokens, source, shape.step)
    weights = 1 + np.add(*np.indices(experts.shape)) % 2
    return routing.holders(shape.traffic, shape.ranks)[source][experts], weights


def shares_of(shape: Shape, source: int, rank: int) -> np.ndarray:
    """The weight of each token of `source` at `rank`, int64 [token]: the sum over its experts there, 0 without any."""
    placed, weights = _places(shape, source)
    total: np.ndarray = np.where(placed == rank, weights, 0).sum(1)
    return total


def arrivals(shape: Shape, rank: int) -> list[tuple[int, np.ndarray]]:
    """(source, its tokens) of the rows that `rank` receives, in the order in which they arrive.

    In two stages they come from the ranks of the node, which are sent those of the ranks at their own place.
    """
    group = shape.work.group
    sources: list[int] = list(range(shape.ranks))
    if shape.work.via == "two-stage":
        sources.sort(key=lambda source: (source % group, source // group))
    return [(source, np.flatnonzero(shares_of(shape, source, rank))) for source in sources]


def plan(shape: Shape, rank: int) -> Plan:
    """All rows of `rank`."""
    two_stage = shape.work.via == "two-stage"
    arrived = arrivals(shape, rank)
    selected = np.concatenate([source * shape.tokens + tokens for source, tokens in arrived])
    weights = np.concatenate([shares_of(shape, source, rank)[tokens] for source, tokens in arrived])
    if two_stage:
        return Plan(*_two_stages(shape, rank), selected, weights)
    outgoing = [shares_of(shape, rank, to) for to in range(shape.ranks)]
    tokens = [np.flatnonzero(share) for share in outgoing]
    first = FirstStage(np.concatenate(tokens), _lengths(tokens), _lengths([tokens for _, tokens in arrived]),
                       np.concatenate([share[at] for share, at in zip(outgoing, tokens, strict=True)]))
    return Plan(first, None, selected, weights)


def _two_stages(shape: Shape, rank: int) -> tuple[FirstStage, SecondStage]:
    group = shape.work.group
    node, place = divmod(rank, group)
    nodes = range(shape.ranks // group)
    sent = [_to_node(shape, rank, to) for to in nodes]
    passed = [(source * group + place, _to_node(shape, source * group + place, node)) for source in nodes]
    tokens = np.concatenate(sent)
    first = FirstStage(tokens, _lengths(sent), _lengths([tokens for _, tokens in passed]),
                       np.ones(len(tokens), np.int64))
    onward = [np.concatenate([shares_of(shape, source, node * group + to)[tokens] for source, tokens in passed])
              for to in range(group)]
    rows = [np.flatnonzero(share) for share in onward]
    receives = [sum(int(np.count_nonzero(shares_of(shape, source * group + other, rank))) for source in nodes)
                for other in range(group)]
    return first, SecondStage(np.concatenate(rows), _lengths(rows), np.array(receives, np.int64),
                              np.concatenate([share[at] for share, at in zip(onward, rows, strict=True)]))


def _to_node(shape: Shape, source: int, node: int) -> np.ndarray:
    """The tokens of `source` that go to any rank of `node`."""
    return np.flatnonzero((_places(shape, source)[0] // shape.work.group == node).any(1))


def _lengths(parts: list[np.ndarray]) -> np.ndarray:
    return np.array([len(part) for part in parts], np.int64)
