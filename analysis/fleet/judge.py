"""The verdict on each node of a fleet, from what pairs of nodes measured. Pure arithmetic.

A pair of nodes tells nothing about which of the two is slow, but a node that is slow is slow with every partner. So the
score of a node is its best time over its partners: it forgives a slow partner and a passing disturbance. Scores, as
logarithms, are compared with those of all nodes by median and MAD, which up to almost half of the nodes may distort.

Pairs are also slow by accident. How often is known from the pairs of the other nodes, and a node is accused only if
accidents would hardly ever accuse any node of such a fleet in such a way. So noise costs rounds, not innocent nodes.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

__all__ = ["BROKEN", "CANNOT_TELL", "GOOD", "SLOW", "Judgement", "LinkFinding", "NodeVerdict", "Pair", "Rule", "judge",
           "status_of"]

GOOD: Final = "good"
SLOW: Final = "slow"
BROKEN: Final = "broken"
CANNOT_TELL: Final = "cannot tell"
Word = Literal["good", "slow", "broken", "cannot tell"]

_STATUSES: Mapping[Word, int] = {GOOD: 0, SLOW: 1, BROKEN: 1, CANNOT_TELL: 4}      # 2 is a UsageError
_FEWEST_NODES = 4           # with times, to call one of them slow: fewer have no distribution
_TO_SIGMA = 1.4826          # of a normal distribution: standard deviation over MAD
_WIDTH = 5.0                # standard deviations beyond which a score is an outlier; a MAD of few nodes is uncertain
_PROOF = 2                  # bad pairs with different partners that are good elsewhere
_CHANCE = 0.02              # most accusations by accident per sweep
_FAILED = "failed"          # beside the cases, what may be bad about a pair


class Rule(NamedTuple):
    """Thresholds, as shares of the time.

    Args:
        slowdown: less than this is never called slow.
        notice: a case in which a slowdown by this much would be lost in the spread of the nodes cannot tell.
    """

    slowdown: float = 0.3
    notice: float = 1.0


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """What one launch over two nodes measured.

    Args:
        times_s: by case, seconds per message, the median of the launch; empty if it failed.
        failure: why there is no (right) result, in a clause; empty if there is.
    """

    round: int
    nodes: tuple[str, str]
    times_s: Mapping[str, float] = {}
    failure: str = ""


class NodeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a node.

    Args:
        factor: how many times as slow as the median node, in its worst case, the median over its pairs; None if it is
            neither slow nor good, or has no times.
        factor_lo, factor_hi: the extremes over its pairs.
        case: the case of `factor`.
        pairs: launches that it took part in and that ended.
        bad: those that were slow or failed.
        chance: how many nodes of such a fleet would look as bad by accident; None for a node that does not.
        reason: a clause.
    """

    node: str
    verdict: Word
    factor: float | None = None
    factor_lo: float | None = None
    factor_hi: float | None = None
    case: str = ""
    pairs: int = 0
    bad: int = 0
    chance: float | None = None
    reason: str = ""


class LinkFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A pair that was slow or failed although both its nodes are good with others.

    Args:
        times: launches of this pair; `bad` of them were slow or failed.
        factor: of the slow ones, the median; None if they failed.
        chance: how many links of such a fleet would look as bad by accident.
        confirmed: every launch was bad, there were at least two, and accidents hardly explain it.
    """

    nodes: tuple[str, str]
    what: Literal["slow", "failed"]
    times: int
    bad: int
    factor: float | None
    case: str
    reason: str
    chance: float
    confirmed: bool


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """Of a sweep.

    Args:
        noticed: by case, the smallest factor that would have been called slow; None with too few nodes.
        blind: cases in which a slowdown as large as `Rule.notice` would not have been noticed.
    """

    nodes: tuple[NodeVerdict, ...]
    links: tuple[LinkFinding, ...]
    noticed: Mapping[str, float | None]
    blind: tuple[str, ...]

    @property
    def bad(self) -> tuple[NodeVerdict, ...]:
        """The nodes that are slow or broken."""
        return tuple(node for node in self.nodes if node.verdict in (SLOW, BROKEN))

    @property
    def unknown(self) -> tuple[NodeVerdict, ...]:
        """The nodes that the sweep cannot tell about."""
        return tuple(node for node in self.nodes if node.verdict == CANNOT_TELL)

    @property
    def status(self) -> int:
        """Exit status: 1 a node or a link is bad, 4 cannot tell about some node, else 0."""
        if any(link.confirmed for link in self.links):
            return 1
        found = {status_of(node.verdict) for node in self.nodes}
        return next(status for status in (1, 4, 0) if status in found)


class _Reference(NamedTuple):
    """Where the scores of the nodes are, in logarithms of seconds."""

    centre: float
    limit: float        # above the centre, from which a score is slow


class _Seen(NamedTuple):
    """A pair and how it compares: its slow cases with their factors; all its factors."""

    pair: Pair
    slow: dict[str, float]
    factors: dict[str, float]

    @property
    def is_good(self) -> bool:
        return not self.pair.failure and not self.slow

    def is_bad_in(self, kind: str) -> bool:
        """Whether the case `kind` was slow; a launch that failed is bad in every respect."""
        return bool(self.pair.failure) or kind in self.slow


class _Accidents(NamedTuple):
    """How often pairs are bad for no fault of a node.

    Args:
        kinds: the cases, and _FAILED.
        seen: the pairs that count: those without a node that is suspected.
    """

    kinds: tuple[str, ...]
    seen: tuple[_Seen, ...]

    def chance(self, tries: int, bad: Sequence[_Seen], launches: int, without: frozenset[str] = frozenset()) -> float:
        """Expected number, of `tries` nodes or links, that are bad in so many of their launches by accident.

        Args:
            bad: launches that were bad in one and the same respect, of `launches`; if there is no such respect, the
                number is infinite.
            without: a link that does not count, if its nodes are given.
        """
        shared = [kind for kind in self.kinds if all(one.is_bad_in(kind) for one in bad)]
        ways = tries * len(self.kinds) * math.comb(launches, len(bad))
        return min((ways * self._rate(kind, without) ** len(bad) for kind in shared), default=math.inf)

    def _rate(self, kind: str, without: frozenset[str]) -> float:
        """Share of pairs that are bad; never 0, however few were measured (Jeffreys' estimate)."""
        counted = [one.is_bad_in(kind) for one in self.seen if frozenset(one.pair.nodes) != without]
        return (sum(counted) + 0.5) / (len(counted) + 1)


def status_of(verdict: Word) -> int:
    """Exit status of a verdict on one node."""
    return _STATUSES[verdict]


def judge(nodes: Sequence[str], pairs: Iterable[Pair], rule: Rule) -> Judgement:
    """The verdict on every node, and the links between good nodes that are bad.

    A node is good if a pair of it is as fast as others. It is slow or broken if none is, at least two were bad, and
    their other nodes are good with others. What else is bad cannot be told apart.

    Args:
        nodes: all of the fleet, measured or not.
        pairs: of all rounds.
    """
    pairs = [pair for pair in pairs if set(pair.nodes) <= set(nodes)]
    references = _references(pairs, rule)
    seen = [_compare(pair, pairs, references, rule) for pair in pairs]
    blind = tuple(case for case, found in references.items() if found and found.limit > math.log1p(rule.notice))
    proven = {node for one in seen if one.is_good for node in one.pair.nodes}
    lonely = all(found is None for found in references.values())
    suspected = {node for node in nodes if node not in proven and any(node in one.pair.nodes for one in seen)}
    accidents = _Accidents((*references, _FAILED), tuple(one for one in seen if not set(one.pair.nodes) & suspected))
    about = _Fleet(len(nodes), frozenset(proven), accidents, blind, lonely)
    return Judgement(
        nodes=tuple(_of_node(node, [one for one in seen if node in one.pair.nodes], about) for node in nodes),
        links=tuple(_links(seen, about)),
        noticed={case: math.exp(found.limit) if found else None for case, found in references.items()},
        blind=blind)


class _Fleet(NamedTuple):
    """What a verdict depends on beside the pairs of its node.

    Args:
        proven: nodes with a good pair.
        blind: as in `Judgement`.
        lonely: too few nodes were measured to compare times.
    """

    nodes: int
    proven: frozenset[str]
    accidents: _Accidents
    blind: tuple[str, ...]
    lonely: bool


def _references(pairs: Sequence[Pair], rule: Rule) -> dict[str, _Reference | None]:
    """By case; None for one that too few nodes have measured."""
    best: dict[str, dict[str, float]] = {}
    for pair in pairs:
        for case, time_s in pair.times_s.items():
            scores = best.setdefault(case, {})
            for node in pair.nodes:
                scores[node] = min(scores.get(node, math.inf), math.log(time_s))
    return {case: _reference(list(scores.values()), rule) if len(scores) >= _FEWEST_NODES else None
            for case, scores in best.items()}


def _reference(scores: list[float], rule: Rule) -> _Reference:
    centre = statistics.median(scores)
    sigma = _TO_SIGMA * statistics.median(abs(score - centre) for score in scores)
    return _Reference(centre, max(math.log1p(rule.slowdown), _WIDTH * sigma))


def _compare(pair: Pair, pairs: Sequence[Pair], references: Mapping[str, _Reference | None], rule: Rule) -> _Seen:
    """A pair is slow if it is beyond the limit, and slower than its round: other load slows the whole round."""
    factors, slow = {}, {}
    for case, time_s in pair.times_s.items():
        reference = references[case]
        if reference is None:
            continue
        excess = math.log(time_s) - reference.centre
        factors[case] = math.exp(excess)
        if excess <= reference.limit:
            continue
        beside = [math.log(other.times_s[case]) for other in pairs
                  if other is not pair and other.round == pair.round and case in other.times_s]
        in_round = math.log(time_s) - statistics.median_low(beside) if beside else excess
        if in_round > math.log1p(rule.slowdown):
            slow[case] = factors[case]
    return _Seen(pair, slow, factors)


def _of_node(node: str, seen: Sequence[_Seen], fleet: _Fleet) -> NodeVerdict:
    bad = [one for one in seen if not one.is_good]
    unknown = NodeVerdict(node=node, verdict=CANNOT_TELL, pairs=len(seen), bad=len(bad))
    if not seen:
        return replace(unknown, reason="it was not measured")
    cleared = {_partner(one, node) for one in bad} & fleet.proven       # good elsewhere, so not to blame
    blamed = [one for one in bad if _partner(one, node) in cleared]
    chance = fleet.accidents.chance(fleet.nodes, blamed, len(blamed) + len(seen) - len(bad)) if blamed else math.inf
    sure = len(cleared) >= _PROOF and chance <= _CHANCE
    if len(bad) < len(seen):
        if sure:
            return replace(unknown, chance=chance, reason=f"bad with {_listed(cleared)}, which are good with others, "
                           "but not with all of its partners: it may come and go")
        return _when_good(unknown, [one for one in seen if one.is_good], fleet)
    if not sure:
        return replace(unknown, reason=_why_unsure(bad, node, cleared, fleet))
    unknown = replace(unknown, chance=chance)
    failed = [one for one in blamed if one.pair.failure]
    if failed:
        return replace(unknown, verdict=BROKEN, reason=f"{failed[-1].pair.failure} (with {_listed(cleared)})")
    case = max(sorted({case for one in blamed for case in one.slow}),
               key=lambda name: statistics.median(one.factors.get(name, 0.0) for one in blamed))
    return replace(_with_factor(unknown, case, blamed), verdict=SLOW, reason=f"with {_listed(cleared)}")


def _why_unsure(bad: Sequence[_Seen], node: str, cleared: set[str], fleet: _Fleet) -> str:
    """Why a node without a good pair is not accused, in a clause."""
    unproven = {_partner(one, node) for one in bad} - fleet.proven
    if len(cleared) >= _PROOF:
        return f"bad with {_listed(cleared)}, but so few pairs, or so noisy ones, may be so by accident: add --rounds"
    if unproven:
        return f"{_described(bad[-1])} with {_listed(unproven)}, with no good pair of either: it cannot be isolated"
    return f"{_described(bad[0])} with {_listed(cleared)}; no second partner to confirm it: add --rounds"


def _when_good(unknown: NodeVerdict, good: Sequence[_Seen], fleet: _Fleet) -> NodeVerdict:
    """Of a node with good pairs: cannot tell, if a slow one would not have been noticed."""
    if fleet.lonely:
        return replace(unknown, reason=f"its results are right, but fewer than {_FEWEST_NODES} nodes were measured: "
                       "there is nothing to call it slow against")
    cases = sorted({case for one in good for case in one.factors})
    worst = max(cases, key=lambda case: min(one.factors.get(case, math.inf) for one in good), default="")
    node = _with_factor(unknown, worst, good) if worst else unknown
    if fleet.blind:
        return replace(node, reason=f"nodes differ too much in {', '.join(fleet.blind)} to notice a slow one")
    return replace(node, verdict=GOOD)


def _with_factor(node: NodeVerdict, case: str, seen: Sequence[_Seen]) -> NodeVerdict:
    factors = [one.factors[case] for one in seen if case in one.factors]
    return replace(node, case=case, factor=statistics.median(factors), factor_lo=min(factors), factor_hi=max(factors))


def _links(seen: Sequence[_Seen], fleet: _Fleet) -> Iterable[LinkFinding]:
    """Pairs of good nodes that were bad."""
    between: dict[frozenset[str], list[_Seen]] = {}
    for one in seen:
        between.setdefault(frozenset(one.pair.nodes), []).append(one)
    for nodes, launches in between.items():
        bad = [one for one in launches if not one.is_good]
        if not bad or not nodes <= fleet.proven:
            continue
        failed = [one for one in bad if one.pair.failure]
        case = max((case for one in bad for case in one.slow), default="",
                   key=lambda name: max(one.slow.get(name, 0.0) for one in bad))
        chance = fleet.accidents.chance(len(between), bad, len(launches), nodes)
        yield LinkFinding(
            nodes=launches[0].pair.nodes, what="failed" if failed else "slow", times=len(launches), bad=len(bad),
            factor=None if failed else statistics.median(one.factors[case] for one in bad if case in one.factors),
            case="" if failed else case, reason=failed[-1].pair.failure if failed else "",
            chance=min(chance, float(len(between))),
            confirmed=len(bad) == len(launches) >= _PROOF and chance <= _CHANCE)


def _described(one: _Seen) -> str:
    if one.pair.failure:
        return one.pair.failure
    case = max(one.slow, key=one.slow.__getitem__)
    return f"{one.slow[case]:.2f}x as slow in {case}"


def _partner(one: _Seen, node: str) -> str:
    first, second = one.pair.nodes
    return second if node == first else first


def _listed(nodes: Iterable[str]) -> str:
    names = sorted(nodes)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
