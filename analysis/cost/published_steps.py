"""Time of a collective over several nodes, from what communication libraries publish about their own steps.

Nothing here is fitted. Latency is a base time plus steps inside nodes and steps between nodes, as the library's own
cost model counts them. The rate is what the cards of a node carry of the bytes that have to leave it, limited by the
links inside, times the share that the protocol leaves for payload. NCCL's model takes the rate from its search of the
topology instead, which is not known outside a run; steps, shares and limits per channel are NCCL's.

A node is what the library treats as one: a whole NVLink domain where it spans several hosts.
"""

import math
from collections.abc import Callable, Iterable
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from collbench.collectives.errors import UsageError

from .cards import Network, network_named
from .published_tables import nccl_tuning, table

__all__ = ["OPERATIONS", "PROTOCOLS", "Estimate", "StepFacts", "algorithms_of", "collective_time", "fastest",
           "step_between_nodes"]

PROTOCOLS = ("LL", "LL128", "Simple")
# Algorithms by operation, in the names of the registry. "in-switch" needs switches that reduce inside the node.
OPERATIONS = MappingProxyType({
    "all_reduce": ("ring", "chain and tree", "in-switch"), "all_gather": ("ring",), "reduce_scatter": ("ring",),
    "broadcast": ("ring",), "reduce": ("ring",), "all_to_all": ("pairwise",)})
_ROWS = MappingProxyType({"ring": "ring", "pairwise": "ring", "chain and tree": "tree", "in-switch": "nvls_tree"})
_AGES = ("volta", "ampere", "hopper", "blackwell")
_MOST_CHANNELS = 32
_CHANNELS = "as many channels as the cards call for"


class StepFacts(NamedTuple):
    """What a library publishes for one algorithm and protocol over nodes. Times in s, rates in bytes/s, one way.

    Args:
        base_s: once a call.
        step_inside_s: a step between two accelerators of a node.
        step_between_s: a step between nodes, with what the network adds.
        rate_Bps_per_card: what a card carries of payload, protocol aside; None if the network comes at several rates.
        source: of the step times.
        assumed: what is not published, in words.
        library, algorithm, protocol: whose and of what these facts are.
        step_alone_s: a step of a ring between nodes with one rank each; as other steps between nodes if None.
        post_s: least time of a step where a ring spans nodes; for an exchange, of each message that leaves a node.
        plateau: factor on the latency of a ring all-reduce from 64 bytes for each channel and rank.
        share: payload in the rate, on two nodes and on more.
        most_Bps: limit of the protocol, on two nodes and on more; None: no limit.
        channel_Bps: limit of one channel, on two nodes and on more; None: no limit.
        inside_Bps: of the links of an accelerator, or of one link of a mesh; None if not published.
        efficiency: share of the wire rate of a card.
        correction: share of the rate by message size, from 64 B, one for each power of two.
        extra_between: steps between nodes that the release counts beyond those that happen.
        doubles_from_Bps: rate of a channel from which the library makes two of it: with any number of channels, and
            with four at most.
    """

    base_s: float
    step_inside_s: float
    step_between_s: float
    rate_Bps_per_card: float | None
    source: str
    assumed: tuple[str, ...]
    library: str
    algorithm: str
    protocol: str
    step_alone_s: float | None = None
    post_s: float = 0.0
    plateau: float = 1.0
    share: tuple[float, float] = (1.0, 1.0)
    most_Bps: tuple[float, float] | None = None
    channel_Bps: tuple[float, float] | None = None
    inside_Bps: float | None = None
    efficiency: float = 0.8
    correction: tuple[float, ...] = ()
    extra_between: int = 0
    doubles_from_Bps: tuple[float, float] = (math.inf, math.inf)


class _NotOfferedError(UsageError):
    """The library has no such algorithm or protocol over nodes."""


class Estimate(NamedTuple):
    """Time of a collective, and the facts of the algorithm and protocol that it holds for."""

    seconds: float
    facts: StepFacts


def algorithms_of(library: str, op: str) -> tuple[str, ...]:
    """Algorithms that the published tables of `library` cover for `op` over nodes; empty if none."""
    if library not in ("nccl", "rccl", "hccl"):
        return ()
    names = OPERATIONS.get(op, ())
    return names if library == "nccl" else tuple(name for name in names if name != "in-switch" and (
        library == "rccl" or name != "chain and tree"))


@cache
def step_between_nodes(library: str, generation: str | None, network: str, protocol: str = "Simple", *,
                       algorithm: str = "ring", version: str | None = None, cpu: str | None = None) -> StepFacts:
    """Published step times of a library over nodes.

    Args:
        library: "nccl", "rccl" or "hccl".
        generation: of the accelerator: volta, ampere, hopper, blackwell; 910, 910B, 910C; None if unknown.
        network: kind of card, as in the table of cards.
        protocol: LL, LL128 or Simple; HCCL has none, any is accepted.
        algorithm: ring, "chain and tree" (or tree), in-switch, pairwise.
        version: release of the library; the newest known if None.
        cpu: "intel", "amd" or "other", the vendor of the hosts; None if unknown.

    Raises:
        UsageError: an unknown name, or an algorithm or protocol that the library does not offer.
    """
    card = network_named(network)
    name = "chain and tree" if algorithm == "tree" else algorithm
    if name not in _ROWS:
        raise UsageError(f"no step times are published for algorithm {algorithm!r}; known are {', '.join(_ROWS)}")
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}")
    if library not in _FACTS:
        raise UsageError(f"no step times between nodes are published for library {library!r}; known are "
                         f"{', '.join(_FACTS)}")
    return _FACTS[library](generation, card, protocol, name, version, cpu)


def collective_time(op: str, algorithm: str, ranks: int, ranks_per_node: int, payload_bytes: float, facts: StepFacts,
                    cards: int, card_rate_Bps: float | None = None) -> float:
    """Seconds of `op` over nodes.

    Args:
        op: all_reduce, all_gather, reduce_scatter, broadcast, reduce or all_to_all.
        algorithm: as in `step_between_nodes`; must be that of `facts`.
        payload_bytes: message size as nccl-tests counts it: for operations made of blocks, the total over ranks.
        facts: from `step_between_nodes`.
        cards: of one node.
        card_rate_Bps: wire rate of one card, one way; that of the network of `facts` if None.

    Raises:
        UsageError: the operation has no such algorithm, the ranks do not fill nodes, or no rate is known.
    """
    name = "chain and tree" if algorithm == "tree" else algorithm
    if name not in algorithms_of(facts.library, op) or name != facts.algorithm:
        raise UsageError(f"{facts.library} publishes nothing on {op} by {algorithm} over nodes from the facts of "
                         f"{facts.algorithm}")
    if ranks_per_node < 1 or ranks <= ranks_per_node:
        raise UsageError(f"{ranks} ranks with {ranks_per_node} a node do not span nodes")
    if not 0 <= payload_bytes < math.inf:
        raise UsageError(f"message size {payload_bytes:g}: expected 0 bytes or more")
    rate_Bps = facts.rate_Bps_per_card if card_rate_Bps is None else card_rate_Bps * facts.efficiency
    if rate_Bps is None:
        raise UsageError("the rate of the cards is not known; state it, as in --nic 8x400G")
    if cards < 1 or not 0 < rate_Bps < math.inf:
        raise UsageError(f"{cards} cards of {rate_Bps:g} bytes/s: expected 1 card or more and a rate above 0")
    job = _Job(op, ranks, ranks_per_node, math.ceil(ranks / ranks_per_node), payload_bytes,
               _channels(cards, rate_Bps / facts.efficiency, facts), cards * rate_Bps)
    if facts.library == "hccl":
        return _servers(job, facts)
    return {"ring": _ring, "chain and tree": _tree, "in-switch": _in_switch, "pairwise": _pairwise}[name](job, facts)


def fastest(op: str, ranks: int, ranks_per_node: int, payload_bytes: float, library: str, generation: str | None,
            network: str, cards: int, card_rate_Bps: float | None = None, *, in_network: bool = False,
            algorithm: str | None = None, protocol: str | None = None, version: str | None = None,
            cpu: str | None = None) -> Estimate | None:
    """The estimate that the library would choose: the least over algorithms and protocols, or over those given.

    None if the published tables do not cover `op`, or not as asked. `in_network`: switches inside a node reduce.

    Raises:
        UsageError: as `step_between_nodes` and `collective_time`.
    """
    named = "chain and tree" if algorithm == "tree" else algorithm
    offered = [name for name in algorithms_of(library, op)
               if (named is None or name == named) and (in_network or name != "in-switch")]
    found = []
    for name in offered:
        for each in _protocols(op, name, ranks, payload_bytes, library, network, generation, protocol):
            try:
                facts = step_between_nodes(library, generation, network, each, algorithm=name, version=version, cpu=cpu)
            except _NotOfferedError:
                continue
            found.append(Estimate(collective_time(op, name, ranks, ranks_per_node, payload_bytes, facts, cards,
                                                  card_rate_Bps), facts))
    return min(found, key=lambda estimate: estimate.seconds, default=None)


def _protocols(op: str, algorithm: str, ranks: int, payload_bytes: float, library: str, network: str,
               generation: str | None, asked: str | None) -> Iterable[str]:
    """Protocols to choose from: what the network carries and the algorithm offers."""
    if library == "hccl" or algorithm == "in-switch":
        return ("Simple",)
    if asked is not None:
        return (asked,)
    carried = [each for each in network_named(network).protocols if library == "nccl" or each != "LL128"]
    if op == "all_to_all":
        small = payload_bytes / ranks <= table("nccl_tuning")["p2p_ll_most_bytes"]
        return ("LL",) if small and "LL" in carried else ("Simple",)
    # LL128 needs NVLink inside the node, which an unknown generation does not promise.
    return [each for each in carried if each != "LL128" or generation is not None]


class _Job(NamedTuple):
    """One call: what, over how many ranks and nodes, and what the cards of a node carry."""

    op: str
    ranks: int
    node: int
    nodes: int
    payload_bytes: float
    channels: int
    out_Bps: float

    def of(self, pair: tuple[float, float] | None) -> float:
        """The figure for two nodes or for more; no limit if None."""
        return math.inf if pair is None else pair[0] if self.nodes == 2 else pair[1]


def _channels(cards: int, wire_Bps: float, facts: StepFacts) -> int:
    """A channel a card, or two where one would carry much."""
    doubled = wire_Bps >= facts.doubles_from_Bps[0] or (cards <= 4 and wire_Bps >= facts.doubles_from_Bps[1])
    return min(2 * cards if doubled else cards, _MOST_CHANNELS)


def _limited(job: _Job, facts: StepFacts, rate_Bps: float) -> float:
    """Rate of payload: the share of the protocol, within its own limit and that of its channels."""
    return min(rate_Bps * job.of(facts.share), job.of(facts.most_Bps), job.channels * job.of(facts.channel_Bps))


def _inside(facts: StepFacts) -> float:
    return math.inf if facts.inside_Bps is None else facts.inside_Bps


def _ring(job: _Job, facts: StepFacts) -> float:
    """Each channel is a ring that leaves a node once, so the cards of a node carry what a link carries in all."""
    rounds = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1}.get(job.op)
    bus = _limited(job, facts, min(job.out_Bps, _inside(facts)))
    if rounds is None:
        # A pipelined chain through all ranks.
        latency = (job.ranks - job.nodes) * facts.step_inside_s + (job.nodes - 1) * facts.step_between_s
        return facts.base_s + latency + job.payload_bytes / bus
    steps = rounds * (job.ranks - 1)
    between = rounds * (job.nodes - 1) + (facts.extra_between if job.op == "all_reduce" else 0)
    outer_s = facts.step_between_s if job.node > 1 or facts.step_alone_s is None else facts.step_alone_s
    latency = facts.base_s + (steps - between) * max(facts.step_inside_s, facts.post_s) + between * outer_s
    if job.op == "all_reduce" and job.payload_bytes / (job.channels * job.ranks) >= _plateau_bytes():
        latency *= facts.plateau
    return latency + job.payload_bytes * steps / job.ranks / bus


def _plateau_bytes() -> float:
    return float(table("nccl_tuning")["plateau_least_bytes"])


def _tree(job: _Job, facts: StepFacts) -> float:
    """Two binary trees over nodes, a chain inside each: twice the payload leaves a node, once if there are only two."""
    if job.nodes > 2:
        rate = _limited(job, facts, min(job.out_Bps, _inside(facts))) / 2
    elif facts.inside_Bps is None:
        rate = _limited(job, facts, 2 * job.out_Bps) / 2
    else:
        rate = min(job.out_Bps, _limited(job, facts, facts.inside_Bps) / 2)
    at = int(math.log2(job.payload_bytes / 64)) if job.payload_bytes >= 64 else -1
    if 0 <= at < len(facts.correction):
        rate *= facts.correction[at]
    steps = 2 * ((job.node - 1) * facts.step_inside_s + int(math.log2(job.nodes)) * facts.step_between_s)
    return facts.base_s + steps + job.payload_bytes / rate


def _in_switch(job: _Job, facts: StepFacts) -> float:
    """Switches reduce inside each node; a tree joins the nodes."""
    inside = _limited(job, facts, 2 * _inside(facts) * (job.channels - 1) / job.channels)
    bus = min(inside, 2 * job.out_Bps if job.nodes == 2 else job.out_Bps)
    latency = facts.base_s + facts.step_inside_s + 2 * int(math.log2(job.nodes)) * facts.step_between_s
    return latency + job.payload_bytes * 2 * (job.ranks - 1) / job.ranks / bus


def _pairwise(job: _Job, facts: StepFacts) -> float:
    """A message to each rank: what is for other nodes goes over the cards while the rest goes over the links inside."""
    away = job.ranks - job.node
    latency = facts.base_s + facts.step_between_s + away * facts.post_s
    share = job.of(facts.share)
    between = job.payload_bytes * job.node * away / job.ranks / (job.out_Bps * share)
    within = job.payload_bytes * (job.node - 1) / job.ranks / (_inside(facts) * share)
    return latency + max(between, within)


def _servers(job: _Job, facts: StepFacts) -> float:
    """HCCL: a mesh inside each server, and between servers the cheaper of a ring and a non-uniform ring."""
    rounds = 2 if job.op in ("all_reduce", "broadcast", "reduce") else 1
    share = (job.nodes - 1) / job.nodes
    steps = rounds * min(job.nodes - 1, math.ceil(math.log2(job.nodes)))
    within = rounds * job.payload_bytes / job.node / _inside(facts) if job.node > 1 else 0.0
    if job.op == "all_to_all":
        steps = job.nodes - 1
        within = job.payload_bytes / job.ranks / _inside(facts)
        out = job.payload_bytes * job.node * (job.ranks - job.node) / job.ranks
    else:
        out = rounds * share * job.payload_bytes
    return facts.base_s + (rounds * facts.step_inside_s if job.node > 1 else 0.0) + steps * facts.step_between_s \
        + out / job.out_Bps + within


def _of_card(card: Network) -> tuple[float | None, tuple[str, ...]]:
    rate = None if card.rate_Bps is None else card.rate_Bps * card.efficiency
    return rate, (f"cards reach {card.efficiency:.0%} of their rate ({card.efficiency_source})",)


def _nccl(generation: str | None, card: Network, protocol: str, algorithm: str, version: str | None,
          cpu: str | None) -> StepFacts:
    rows, at, row = nccl_tuning(version), PROTOCOLS.index(protocol), _ROWS[algorithm]
    rate, assumed = _of_card(card)
    if version is None:
        assumed += (f"NCCL {rows['version']} or later",)
    if cpu is None:
        assumed += ("hosts whose processors are not AMD",)
    made, said = _generation(generation, rows)
    assumed += (*said, _CHANNELS)
    if card.rate_Bps is None and not card.added_s:
        assumed += ("the network adds nothing to a step",)
    base, steps = rows["base_us"].get(row), rows["step_us"]
    inside, between = steps["nvlink"].get(row), steps["net"].get(row)
    if base is None or inside is None or between is None or not between[at]:
        raise _NotOfferedError(f"NCCL {rows['version']} does not offer {algorithm} with protocol {protocol} over nodes")
    added = card.added_s * (2 if protocol == "Simple" else 1)
    vendor = cpu if cpu in rows["post_us"] else "other"
    facts = StepFacts(base[at] / 1e6, inside[at] / 1e6, between[at] / 1e6 + added, rate, rows["source"], assumed,
                      "nccl", algorithm, protocol, inside_Bps=rows["inside_GBps"][made] * 1e9,
                      efficiency=card.efficiency, doubles_from_Bps=_doubling(rows, made))
    post = rows["post_us"][vendor] / 1e6
    if algorithm == "pairwise":
        # The model has no row for messages to each rank: one step, and the time to post each message.
        return facts._replace(post_s=post, share=_both(_ll_share(rows) if protocol == "LL" else 1.0),
                              assumed=(*assumed, "an exchange takes one step and the time to post its messages"))
    low = tuple(x * 1e9 for x in rows["ll_between_GBps"]["amd" if cpu == "amd" else "other"])
    if algorithm == "ring":
        return facts._replace(
            step_alone_s=steps["net"]["tree"][at] / 1e6 + added if rows["alone_as_tree"] else None,
            post_s=post * (3 if protocol == "Simple" else 1), extra_between=2 if rows["repeats_last_node"] else 0,
            plateau=rows["plateau"].get(made, rows["plateau"]["other"]) if protocol == "Simple" else 1.0,
            share=_both({"LL": _ll_share(rows), "LL128": rows["ring_ll128_share"], "Simple": 1.0}[protocol]),
            most_Bps=low if protocol == "LL" else None,
            channel_Bps=_channel(rows, "channel_ring_ll128_GBps", made) if protocol == "LL128" else None)
    if algorithm == "in-switch":
        known = rows["nvls_efficiency"].get(made)
        if known is None:
            raise _NotOfferedError(f"NCCL does not reduce in switches on {made}")
        limits = rows.get("channel_nvls_tree_GBps")
        return facts._replace(share=_both(known), channel_Bps=None if limits is None
                              else _channel(rows, "channel_nvls_tree_GBps", made))
    share = rows["tree_share"] * rows["tree_pattern_share"] * {
        "LL": rows["tree_ll_share"], "LL128": rows["tree_ll128_share"], "Simple": 1.0}[protocol]
    limits = "channel_tree_ll128_GBps" if protocol == "LL128" else "channel_tree_GBps"
    scale = rows["tree_pattern_share"]
    channel = _channel(rows, limits, made)
    return facts._replace(share=_both(share), correction=tuple(rows["tree_correction"][protocol]),
                          channel_Bps=(channel[0] * scale, channel[1] * scale),
                          most_Bps=(low[0] * scale, low[1] * scale) if protocol == "LL" else None)


def _both(share: float) -> tuple[float, float]:
    return share, share


def _doubling(rows: dict[str, Any], made: str) -> tuple[float, float]:
    """Wire rates of a card from which its channel is doubled. A channel takes up to 0.97 of a card."""
    any_number, few = (rows["doubles_GBps"]["older"] if made in _AGES[:2] else rows["doubles_GBps"]["hopper"])
    return any_number / 0.97 * 1e9, few / 0.97 * 1e9


def _ll_share(rows: dict[str, Any]) -> float:
    return float(rows["ring_ll_share"])


def _channel(rows: dict[str, Any], name: str, made: str) -> tuple[float, float]:
    """Limits of a channel on two nodes and on more."""
    known = rows[name].get(made) or rows[name]["hopper"]
    return known[1] * 1e9, known[2] * 1e9


def _generation(asked: str | None, rows: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Generation whose row holds, and the assumption in words."""
    if asked is None:
        return "hopper", ("an accelerator like Hopper",)
    if asked not in _AGES:
        raise UsageError(f"generation {asked!r} is not in NCCL's tables; known are {', '.join(_AGES)}")
    if asked not in rows["channel_tree_GBps"]:
        return asked, (f"NCCL {rows['version']} has no row for {asked}, so channels carry what they do on Hopper",)
    return asked, ()


def _rccl(generation: str | None, card: Network, protocol: str, algorithm: str, version: str | None,
          cpu: str | None) -> StepFacts:
    rows, at, row = table("rccl"), PROTOCOLS.index(protocol), _ROWS[algorithm]
    between = rows["step_us"]["net"].get(row)
    if between is None or not between[at]:
        raise _NotOfferedError(f"RCCL does not offer {algorithm} with protocol {protocol} over nodes")
    rate, assumed = _of_card(card)
    two, more = rows["share"]["two_nodes"][row][at], rows["share"]["more_nodes"][row][at]
    return StepFacts(rows["base_us"][row][at] / 1e6, rows["step_us"]["xgmi"][row][at] / 1e6, between[at] / 1e6, rate,
                     rows["source"], (*assumed, "every AMD accelerator steps like gfx942", _CHANNELS), "rccl",
                     algorithm, protocol, post_s=nccl_tuning()["post_us"]["amd" if cpu == "amd" else "other"] / 1e6,
                     share=_both(1.0) if algorithm == "pairwise" else (two, more), efficiency=card.efficiency)


def _hccl(generation: str | None, card: Network, protocol: str, algorithm: str, version: str | None,
          cpu: str | None) -> StepFacts:
    rows = table("hccl")
    known = rows["between"]
    made = generation if generation in known["rate_GBps"] else "910B"
    rate, assumed = _of_card(card)
    if made != generation:
        assumed += ("an accelerator like Ascend 910B",)
    step = math.exp(sum(map(math.log, rows["step_us"])) / len(rows["step_us"]))
    return StepFacts(0.0, step / 1e6, known["step_us"] / 1e6, rate or known["rate_GBps"][made] * 1e9, known["source"],
                     (*assumed, "no base time of a call is published", "a mesh inside a server"), "hccl", algorithm,
                     "Simple", inside_Bps=known["inside_link_GBps"][made] * 1e9, efficiency=card.efficiency)


_FACTS: MappingProxyType[str, Callable[[str | None, Network, str, str, str | None, str | None], StepFacts]] = \
    MappingProxyType({"nccl": _nccl, "rccl": _rccl, "hccl": _hccl})
