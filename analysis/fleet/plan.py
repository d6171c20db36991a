"""Which pairs of nodes to measure next: disjoint ones, all at once. Pure arithmetic."""

import random
from collections.abc import Iterable, Sequence

from .judge import GOOD, Judgement, Pair, Rule, judge

__all__ = ["next_round"]


def next_round(nodes: Sequence[str], pairs: Sequence[Pair], rule: Rule, seed: str) -> list[tuple[str, str]]:
    """Disjoint pairs for the next round; none if everything is known.

    The first round pairs all nodes at random: neighbours in a list often share a switch, and so a fault. Afterwards
    each suspect meets a good node that it has not met; a link that was bad between two good nodes is measured again;
    and the others keep the load as it was, with new partners where there are some.

    Args:
        pairs: of all earlier rounds.
        seed: for the order of the nodes, together with the number of the round.
    """
    found = judge(nodes, pairs, rule)
    number = max((pair.round for pair in pairs), default=0) + 1
    order = list(nodes)
    random.Random(f"{seed} {number}").shuffle(order)
    if pairs and not _open(found, pairs):
        return []
    met = {frozenset(pair.nodes) for pair in pairs}
    chosen: list[tuple[str, str]] = []
    free = dict.fromkeys(order)
    good = {one.node for one in found.nodes if one.verdict == GOOD} if pairs else set()
    suspects = [node for node in order if pairs and node not in good | {one.node for one in found.bad}]

    def take(first: str, second: str) -> None:
        chosen.append((first, second))
        del free[first], free[second]

    for node in suspects:
        partner = _first(other for other in free if other in good and frozenset((node, other)) not in met)
        if node in free and partner:
            take(node, partner)
    for link in found.links:
        if not link.confirmed and link.times == link.bad and all(node in free for node in link.nodes):
            take(*link.nodes)
    while len(free) > 1:
        node, *others = free
        fresh = _first(other for other in others if frozenset((node, other)) not in met)
        take(node, fresh or others[0])
    return chosen


def _open(found: Judgement, pairs: Sequence[Pair]) -> bool:
    """Whether another round may tell more."""
    waiting = any(not link.confirmed and link.times == link.bad for link in found.links)
    measured = {node for pair in pairs for node in pair.nodes}
    return waiting or bool(found.unknown) or not {one.node for one in found.nodes} <= measured


def _first(nodes: Iterable[str]) -> str | None:
    return next(iter(nodes), None)
