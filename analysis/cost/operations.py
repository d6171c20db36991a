"""Bytes that each operation must move, whatever the algorithm: one row per operation of the catalog.

A new operation is one row in the catalog and one row here. Shares are fractions of the message size, which for
operations with a block per rank is the total over ranks, as in the catalog. Bandwidth factors stay in the catalog.
"""

from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.traffic import busiest, is_traffic, weights

__all__ = [
    "COSTS",
    "UNKNOWN",
    "OperationCost",
    "bus_factor",
    "copies_share",
    "cost_of",
    "is_routed",
    "least_share",
    "share_between_hosts",
]


class OperationCost(NamedTuple):
    """One operation.

    Args:
        least: (ranks) -> share that some rank must send or receive through its own links.
        least_in_switch: the same where switches reduce; None if that changes nothing.
        copies: (ranks) -> copies (a load and a store) of the message per rank, averaged over ranks; None if there is no
            message.
        between_hosts: (ranks, ranks per host) -> share that must leave some host; None if no bound is known.
        algorithms: assumed to run where the selection rule of the library is unknown.
        similar: the operation whose measurements stand in where none of this operation ship.
        exchange: every rank has different data for every other rank, so the bisection of the fabric limits the rate.
    """

    least: Callable[[int], float]
    copies: Callable[[int], float] | None = None
    between_hosts: Callable[[int, int], float] | None = None
    algorithms: tuple[str, ...] = ()
    similar: str | None = None
    exchange: bool = False
    least_in_switch: Callable[[int], float] | None = None


def _all(ranks: int) -> float:
    return 1.0


def _none(ranks: int) -> float:
    return 0.0


def _others(ranks: int) -> float:
    """All blocks except the rank's own."""
    return (ranks - 1) / ranks


def _one_block(ranks: int) -> float:
    """The root copies all blocks except its own; averaged over ranks."""
    return (ranks - 1) / ranks**2


def _load_all_store_block(ranks: int) -> float:
    """Everything is loaded, and one share in `ranks` is stored."""
    return (1 + 1 / ranks) / 2


def _whole_between(ranks: int, group: int) -> float:
    return 1.0


def _once_between(ranks: int, group: int) -> float:
    hosts = -(-ranks // group)
    return (hosts - 1) / hosts


def _twice_between(ranks: int, group: int) -> float:
    return 2 * _once_between(ranks, group)


def _exchange_between(ranks: int, group: int) -> float:
    """Each rank of a host sends the blocks of all ranks of other hosts."""
    return (ranks - group) / ranks * group


def _one_rank(ranks: int) -> float:
    """One rank has the whole message; averaged over ranks."""
    return 1 / ranks


_PAIR = OperationCost(_all, _all)
_FAN = OperationCost(_all, _one_rank, algorithms=("one after another",))
_LOCAL_COPY = OperationCost(_none, _all)
_EMPTY = OperationCost(_none)
_CONTENDED = OperationCost(_none)       # what else is sent decides, which the message size does not tell
_ROUTED = OperationCost(_none)      # the routing decides, which the message size does not tell
_LIFECYCLE = OperationCost(_none, algorithms=("dissemination", "tree up and down", "ring"))

COSTS = MappingProxyType({
    "all_reduce": OperationCost(lambda n: 2 * _others(n), _all, _twice_between, ("ring",), least_in_switch=_all),
    "all_gather": OperationCost(_others, _others, _once_between, ("ring",)),
    "reduce_scatter": OperationCost(_others, _load_all_store_block, _once_between, ("ring",)),
    "broadcast": OperationCost(_all, _others, _whole_between, ("pipelined tree",), similar="all_gather"),
    "reduce": OperationCost(_all, _load_all_store_block, _whole_between, ("pipelined tree",), similar="reduce_scatter"),
    "gather": OperationCost(_others, _one_block, None, ("linear",), similar="all_gather"),
    "scatter": OperationCost(_others, _one_block, None, ("linear",), similar="all_gather"),
    "all_to_all": OperationCost(_others, _others, _exchange_between, ("pairwise",), exchange=True),
    "all_to_all_v": OperationCost(_others, _others, _exchange_between, ("pairwise",), similar="all_to_all",
                                  exchange=True),
    "barrier": OperationCost(_none, algorithms=("dissemination",), similar="all_reduce"),
    "send_recv": OperationCost(_all, _all, _whole_between, ("neighbour shift",)),
    "ping_pong": _PAIR,
    "bandwidth": _PAIR,
    "bi_bandwidth": _PAIR,
    "link_latency": _PAIR,
    "link_bandwidth": _PAIR,
    "link_bi_bandwidth": _PAIR,
    "message_rate": _PAIR,
    "bisection": _PAIR,
    "incast": _FAN,
    "outcast": _FAN,
    "permutation": OperationCost(_all, _all, algorithms=("one message",)),
    # On a line, the first and the last rank have one neighbour.
    "halo_exchange": OperationCost(_all, _others, algorithms=("neighbour shift",)),
    "all_reduce_one_shot": OperationCost(lambda n: float(n - 1), _all, algorithms=("all to all ranks",)),
    "moe_dispatch": _ROUTED,
    "moe_combine": _ROUTED,
    "moe_pair": _ROUTED,
    "comm_init": _LIFECYCLE,
    "comm_first_call": _LIFECYCLE,
    "comm_destroy": _LIFECYCLE,
    "copy": _LOCAL_COPY,
    "copy_h2d": _LOCAL_COPY,
    "copy_d2h": _LOCAL_COPY,
    "copy_both": _LOCAL_COPY,
    "copy_h2d_pageable": _LOCAL_COPY,
    "copy_d2h_pageable": _LOCAL_COPY,
    "interference": _CONTENDED,
    "overlap": _CONTENDED,
    "sequence": _CONTENDED,
    "all_reduce_hierarchical": OperationCost(lambda n: 2 * _others(n), _all),
    "noop": _EMPTY,
})

# An operation of another tool that the catalog does not know, for example a quantised all-reduce. It has no
# lower bound and no assumed algorithm; its bandwidth factor is that of an exchange, which most of these resemble.
UNKNOWN = OperationCost(_none)


def cost_of(op: str) -> OperationCost:
    """The row of `op`; UNKNOWN if the catalog does not know the operation."""
    return COSTS.get(op, UNKNOWN)


def is_routed(op: str) -> bool:
    """Whether its bytes follow from how tokens choose experts, which the message size alone does not tell."""
    return op in OPERATIONS and OPERATIONS[op].group == "moe"


def bus_factor(op: str, ranks: int) -> float:
    """busbw / algbw as in the catalog; that of an all-to-all for an unknown operation."""
    return OPERATIONS[op if op in OPERATIONS else "all_to_all"].bus_factor(ranks)


@cache
def least_share(op: str, ranks: int, in_network: bool = False, traffic: str | None = None) -> float:
    """Share of the message that some rank must send or receive, whatever the algorithm; bounds the time from below.

    Without switches that reduce, an all-reduce moves 2 (n - 1) / n; with them, each rank still sends its data once.
    """
    row = cost_of(op)
    if in_network and row.least_in_switch is not None:
        return row.least_in_switch(ranks)
    if _uneven(op, traffic):
        sent = _without_own(traffic, ranks)
        return float(max(sent.sum(axis=0).max(), sent.sum(axis=1).max()) / busiest(str(traffic), ranks))
    return row.least(ranks)


@cache
def copies_share(op: str, ranks: int, traffic: str | None = None) -> float | None:
    """Copies (a load and a store) of the message per rank, averaged over ranks; None if nothing is copied."""
    copies = cost_of(op).copies
    if copies is None or ranks < 2:
        return None
    if _uneven(op, traffic):
        return float(_without_own(traffic, ranks).sum() / busiest(str(traffic), ranks) / ranks)
    return copies(ranks)


def share_between_hosts(op: str, ranks: int, group: int) -> float | None:
    """Share of the message that must leave some host of `group` ranks; None if no bound is known."""
    between = cost_of(op).between_hosts
    return between(ranks, group) if between else None


def _uneven(op: str, traffic: str | None) -> bool:
    return op in OPERATIONS and OPERATIONS[op].uneven and is_traffic(traffic)


def _without_own(traffic: str | None, ranks: int) -> NDArray[np.int64]:
    """[source][destination] weights; 0 from a rank to itself."""
    sent = np.array(weights(str(traffic), ranks))
    np.fill_diagonal(sent, 0)
    return sent
