"""A sweep as lines for a terminal, as a JSON document, and as rows of a history."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from collbench.collectives.records.fleet import Fleet

from ..history.nodes import PastVerdict
from ..text.units import counted
from .judge import CANNOT_TELL, GOOD, SLOW, Judgement, LinkFinding, NodeVerdict, Pair

__all__ = ["as_history", "document", "lines", "node_text"]

_SHOWN = 5          # earlier verdicts that are looked at


def node_text(node: NodeVerdict) -> str:
    """A verdict in one line: `h3: slow: 2.01x the time of the median node (1.98x to 2.05x, 3 pairs) in ...`."""
    words = f"{node.node}: {node.verdict}"
    if node.verdict == SLOW:
        words += (f": {node.factor:.2f}x the time of the median node ({node.factor_lo:.2f}x to {node.factor_hi:.2f}x, "
                  f"{counted(node.pairs, 'pair')}) in {node.case}, {node.reason}")
    elif node.reason:
        words += f": {node.reason}"
    return words


def lines(found: Judgement, pairs: Sequence[Pair], past: Mapping[str, Sequence[PastVerdict]]) -> Iterator[str]:
    """Nodes that are not good, bad links, what would have been noticed, and the counts.

    Args:
        past: earlier verdicts by node; empty without a history.
    """
    for node in found.nodes:
        if node.verdict != GOOD:
            yield node_text(node) + _history(past.get(node.node, ()))
    for link in found.links:
        yield _link(link)
    for case, factor in found.noticed.items():
        if factor is None:
            yield f"{case}: too few nodes to call one slow"
        else:
            blind = ": more than --must-notice allows" if case in found.blind else ""
            yield f"{case}: a node that takes {factor:.2f}x the median time or more would be called slow{blind}"
    counts = Counter(node.verdict for node in found.nodes)
    rounds = len({pair.round for pair in pairs})
    yield (f"{counted(len(found.nodes), 'node')}: {', '.join(f'{n} {word}' for word, n in counts.most_common())}; "
           f"{counted(len(pairs), 'pair')} in {counted(rounds, 'round')}")


def _link(link: LinkFinding) -> str:
    what = f"{link.factor:.2f}x the median time in {link.case}" if link.factor else f"failed: {link.reason}"
    sure = ("" if link.confirmed else f"; in {link.bad} of {link.times} launches, which may be an "
            "accident")
    return f"link {link.nodes[0]} - {link.nodes[1]}: {what}, though both nodes are good with others{sure}"


def _history(past: Sequence[PastVerdict]) -> str:
    recent = [one for one in past[-_SHOWN:] if one.verdict != CANNOT_TELL]
    bad = [one for one in recent if one.verdict != GOOD]
    if not recent:
        return ""
    return f" [before: {len(bad)} of {counted(len(recent), 'sweep')} slow or broken]"


def document(fleet: Fleet, found: Judgement, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The fields of the JSON document."""
    return {"id": fleet.id, "started": fleet.started, "transport": fleet.transport,
            "ranks_per_node": fleet.ranks_per_node, "status": found.status,
            "nodes": msgspec.to_builtins(found.nodes), "links": msgspec.to_builtins(found.links),
            "noticed": dict(found.noticed), "blind": list(found.blind), "pairs": msgspec.to_builtins(pairs)}


def as_history(fleet: Fleet, found: Judgement) -> list[PastVerdict]:
    """Rows for `add_verdicts`."""
    return [PastVerdict(fleet.id, fleet.started, node.node, node.verdict, node.factor, node.pairs, node.reason)
            for node in found.nodes]
