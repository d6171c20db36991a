"""What each operation costs in bytes, against numbers worked out by hand for 2, 3 and 8 ranks."""

import pytest

from collbench.analysis.cost.fabric import algorithms_without_a_rule
from collbench.analysis.cost.operations import (
    COSTS,
    UNKNOWN,
    bus_factor,
    copies_share,
    cost_of,
    least_share,
    share_between_hosts,
)
from collbench.collectives.cases.catalog import OPERATIONS

RANKS = (2, 3, 8)
ALL, NONE, RING = (1, 1, 1), (0, 0, 0), (1 / 2, 2 / 3, 7 / 8)
LOAD_STORE, ONE_BLOCK = (3 / 4, 2 / 3, 9 / 16), (1 / 4, 2 / 9, 7 / 64)

# Bandwidth factor, least share, least share where switches reduce, copies per rank; at 2, 3 and 8 ranks.
BY_HAND = {
    "all_reduce": ((1, 4 / 3, 7 / 4), (1, 4 / 3, 7 / 4), ALL, ALL),
    "all_gather": (RING, RING, RING, RING),
    "reduce_scatter": (RING, RING, RING, LOAD_STORE),
    "broadcast": (ALL, ALL, ALL, RING),
    "reduce": (ALL, ALL, ALL, LOAD_STORE),
    "gather": (RING, RING, RING, ONE_BLOCK),
    "scatter": (RING, RING, RING, ONE_BLOCK),
    "all_to_all": (RING, RING, RING, RING),
    "all_to_all_v": (RING, RING, RING, RING),
    "barrier": (ALL, NONE, NONE, None),
    "send_recv": (ALL, ALL, ALL, ALL),
    "ping_pong": (ALL, ALL, ALL, ALL),
    "bandwidth": (ALL, ALL, ALL, ALL),
    "bi_bandwidth": ((2, 2, 2), ALL, ALL, ALL),
    "link_latency": (ALL, ALL, ALL, ALL),
    "link_bandwidth": (ALL, ALL, ALL, ALL),
    "link_bi_bandwidth": ((2, 2, 2), ALL, ALL, ALL),
    "message_rate": ((1, 3 / 2, 4), ALL, ALL, ALL),
    "bisection": (RANKS, ALL, ALL, ALL),
    "incast": (ALL, ALL, ALL, (1 / 2, 1 / 3, 1 / 8)),
    "outcast": (ALL, ALL, ALL, (1 / 2, 1 / 3, 1 / 8)),
    "permutation": (ALL, ALL, ALL, ALL),
    "halo_exchange": (ALL, ALL, ALL, RING),
    "all_reduce_one_shot": ((1, 4 / 3, 7 / 4), (1, 2, 7), (1, 2, 7), ALL),
    "copy": (ALL, NONE, NONE, ALL),
    "copy_h2d": (ALL, NONE, NONE, ALL),
    "copy_d2h": (ALL, NONE, NONE, ALL),
    "copy_both": ((2, 2, 2), NONE, NONE, ALL),
    "copy_h2d_pageable": (ALL, NONE, NONE, ALL),
    "copy_d2h_pageable": (ALL, NONE, NONE, ALL),
    "moe_dispatch": (RING, NONE, NONE, None),
    "moe_combine": (RING, NONE, NONE, None),
    "moe_pair": (RING, NONE, NONE, None),
    "comm_init": (ALL, NONE, NONE, None),
    "comm_first_call": (ALL, NONE, NONE, None),
    "comm_destroy": (ALL, NONE, NONE, None),
    "interference": (ALL, NONE, NONE, None),
    "overlap": (ALL, NONE, NONE, None),
    "sequence": (ALL, NONE, NONE, None),
    "all_reduce_hierarchical": ((1, 4 / 3, 7 / 4), (1, 4 / 3, 7 / 4), (1, 4 / 3, 7 / 4), ALL),
    "noop": (ALL, NONE, NONE, None),
}

# Share that leaves a host: 8 ranks on 2 hosts of 4, and 8 ranks on 4 hosts of 2.
BETWEEN_HOSTS = {"all_reduce": (1, 3 / 2), "all_gather": (1 / 2, 3 / 4), "reduce_scatter": (1 / 2, 3 / 4),
                 "broadcast": (1, 1), "reduce": (1, 1), "send_recv": (1, 1), "all_to_all": (2, 3 / 2),
                 "all_to_all_v": (2, 3 / 2)}


def test_every_operation_of_the_catalog_has_a_row_and_no_other():
    assert set(COSTS) == set(OPERATIONS) == set(BY_HAND)


@pytest.mark.parametrize("op", BY_HAND)
def test_columns_by_hand(op):
    factor, least, in_switch, copies = BY_HAND[op]
    assert [bus_factor(op, n) for n in RANKS] == pytest.approx(factor)
    assert [least_share(op, n) for n in RANKS] == pytest.approx(least)
    assert [least_share(op, n, in_network=True) for n in RANKS] == pytest.approx(in_switch)
    found = [copies_share(op, n) for n in RANKS]
    assert found == ([None] * 3 if copies is None else pytest.approx(copies))


@pytest.mark.parametrize("op", BY_HAND)
def test_share_that_leaves_a_host_by_hand(op):
    found = [share_between_hosts(op, 8, group) for group in (4, 2)]
    assert found == (pytest.approx(BETWEEN_HOSTS[op]) if op in BETWEEN_HOSTS else [None, None])


def test_an_uneven_exchange_moves_what_its_traffic_gives_the_busiest_rank():
    # hot: rank 0 receives 4 units from each of 3 ranks, of which it is one: 8 of 12 cross its links.
    assert least_share("all_to_all_v", 3, traffic="hot") == pytest.approx(8 / 12)
    # linear, 3 ranks: rows (1 2 3), (2 3 1), (3 1 2). The diagonal is 1, 3, 2, so rank 0 sends 5 of 6 units.
    assert least_share("all_to_all_v", 3, traffic="linear") == pytest.approx(5 / 6)
    assert copies_share("all_to_all_v", 3, "linear") == pytest.approx(12 / 6 / 3)


def test_default_algorithms_and_stand_ins():
    assert algorithms_without_a_rule("all_reduce", in_network=True) == ("ring", "in-switch")
    assert algorithms_without_a_rule("all_gather", in_network=True) == ("ring",)
    assert {op: row.similar for op, row in COSTS.items() if row.similar} == {
        "all_to_all_v": "all_to_all", "broadcast": "all_gather", "reduce": "reduce_scatter", "gather": "all_gather",
        "scatter": "all_gather", "barrier": "all_reduce"}
    assert {op for op, row in COSTS.items() if row.exchange} == {"all_to_all", "all_to_all_v"}


def test_an_operation_of_another_tool_is_bounded_by_nothing():
    assert cost_of("all_reduce_fp8") is UNKNOWN
    assert least_share("all_reduce_fp8", 8) == 0
    assert copies_share("all_reduce_fp8", 8) is None
    assert algorithms_without_a_rule("all_reduce_fp8", in_network=True) == ()
    assert bus_factor("all_reduce_fp8", 8) == 7 / 8
