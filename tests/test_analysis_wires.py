"""No forecast is faster than its wires: over every shipped domain and operation, inside and beyond it."""

import numpy as np
import pandas as pd
import pytest

from collbench.analysis.cost.operations import bus_factor
from collbench.analysis.cost.wires import wire_time_s
from collbench.analysis.domains.facts import load_domains
from collbench.analysis.forecast import extrapolate
from collbench.collectives.cases.catalog import OPERATIONS

DOMAINS = {key: domain for key, domain in load_domains().items()
           if domain.accelerators and domain.accelerators.value >= 2 and domain.tiers and domain.tiers[-1].rate_Bps}
SIZES = [1 << 10, 1 << 20, 1 << 30]


def frame(op, times):
    """A frame as `frames.load` gives it, of {(ranks, bytes): seconds}."""
    rows = pd.DataFrame([(ranks, size, time_s) for (ranks, size), time_s in times.items()],
                        columns=["ranks", "message_bytes", "time_s"])
    same = dict.fromkeys(("time_lo_s", "time_hi_s", "p5_s", "p95_s"), rows["time_s"])
    return rows.assign(system="mine", library="mine", transport="other", device="x", op=op, dtype="float32",
                       redop="sum" if OPERATIONS[op].reduces else None, traffic=None, mode="streamed",
                       place="out-of-place", time_kind="slowest rank", asked_bytes=rows["message_bytes"],
                       oversubscribed=pd.array([False] * len(rows), dtype="boolean"), **same)


def measured(domain, op, share):
    """At `share` of the link rate over 2, 4 ... ranks of the domain, and 10 us."""
    size, link = int(domain.accelerators.value), domain.tiers[-1].rate_Bps.value
    return frame(op, {(ranks, payload): 1e-5 + bus_factor(op, ranks) * payload / (share * link)
                      for ranks in (2, 4, 8) if ranks <= size for payload in SIZES})


def test_bytes_that_leave_a_domain_by_hand():
    """8 x 50 GB/s of cards: 4 domains exchange 3/4 of an all-gather through each, twice as much in an all-reduce."""
    domain = DOMAINS["hgx_h100_8"]
    cards = 8 * domain.scaleout_Bps.value
    size = np.array([float(1 << 30)])
    own = 31 / 32 * (1 << 30) / domain.tiers[-1].rate_Bps.value      # each GPU receives the blocks of all others
    assert wire_time_s("all_gather", 32, size, domain, [])[0] == pytest.approx(own)
    assert own > 0.75 * (1 << 30) / cards
    assert wire_time_s("all_reduce", 32, size, domain, [])[0] == pytest.approx(1.5 * (1 << 30) / cards)
    assert wire_time_s("all_to_all", 32, size, domain, [])[0] == pytest.approx(24 / 32 * 8 * (1 << 30) / cards)
    faster = [(16, size, size / (1.25 * cards))]      # measured over 2 domains, with faster cards than the stated ones
    assert wire_time_s("all_reduce", 32, size, domain, faster)[0] == pytest.approx(1.5 * (1 << 30) / cards / 1.25)


@pytest.mark.parametrize("key", DOMAINS)
def test_no_forecast_is_faster_than_its_wires(key):
    domain = DOMAINS[key]
    size, link = int(domain.accelerators.value), max(domain.tiers[-1].rate_Bps.all_values())
    card = max(domain.scaleout_Bps.all_values()) if domain.scaleout_Bps else None
    reduces = 2 if domain.in_network_reduction and domain.in_network_reduction.value else 1
    for op in ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all"):
        for share in (0.6, 0.99):
            found = extrapolate(measured(domain, op, share), [size, 2 * size, 8 * size], (key, domain))
            made = found[found["kind"] == "extrapolated"]
            for row in made.itertuples():
                least = bus_factor(op, row.ranks) * row.message_bytes / link / (reduces if op == "all_reduce" else 1)
                if card and row.ranks > size and op != "broadcast":
                    hosts = row.ranks / size
                    leaves = {"all_reduce": 2 * (hosts - 1) / hosts, "all_to_all": size * (hosts - 1) / hosts}.get(
                        op, (hosts - 1) / hosts)
                    least = max(least, leaves * row.message_bytes / (size * card))
                assert row.time_lo_s >= least * 0.999, (op, row)
                assert row.time_lo_s <= row.time_s <= row.time_hi_s, (op, row)


@pytest.mark.parametrize("op", ["all_reduce", "broadcast", "reduce"])
def test_a_whole_message_for_each_rank_gets_no_faster_with_more_ranks(op):
    """Times that fall from 4 to 8 ranks do not go on falling."""
    times = {(ranks, size): time_s * (1 + size / (1 << 20)) for ranks, time_s in ((2, 3e-5), (4, 2e-5), (8, 1e-5))
             for size in SIZES}
    found = extrapolate(frame(op, times), [16, 72])
    last = {size: 1e-5 * (1 + size / (1 << 20)) for size in SIZES}
    assert len(found) == 6
    assert all(row.time_s >= last[row.asked_bytes] * 0.999 for row in found.itertuples())
