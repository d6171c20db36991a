"""Hard upper bounds on bus bandwidth: from links, from links between hosts, from memory.

Links. A rank must send, or receive, a known share of the data through its own links; busbw is defined so that the bound
is the one-way rate of a rank. Switches that reduce lower the share of an all-reduce from 2 (n - 1) / n to 1. Ranks on
several hosts are bound by what must leave a host over its cards, never by the links within one, which no byte that goes
to another host needs to pass.

Memory. On a CPU there is no link: ranks of a host communicate through memory, and every byte is loaded and stored by
some core. One copy of a byte is one load and one store; the `copy` operation of the same data measures how fast as many
ranks copy at once. An operation that makes each rank load and store `share` times the message takes at least
share * size / rate; a byte that passes through a shared segment or a socket is copied twice, so half is usual there.
A rank may copy for another, for example into the memory of a root, so shares are means over ranks.
"""

from typing import Any, cast

import numpy as np
import pandas as pd

from collbench.collectives.cases.catalog import OPERATIONS
from collbench.collectives.cases.moe_workload import is_workload

from ..cost.cards import cards_in_words
from ..cost.fabric import exchange_share
from ..cost.operations import copies_share, is_routed, least_share
from ..cost.token_loads import least_bytes, tokens_of
from ..cost.wires import card_time_s
from ..domains.facts import Domain
from ..frames.bandwidth import bus_factor
from .table_spread import apart

__all__ = ["BETWEEN", "COLUMNS", "DEVICE_MEMORY", "LINK", "MEMORY", "add_ceilings", "host_group", "on_cpu"]

LINK, BETWEEN, MEMORY, DEVICE_MEMORY = "link", "between hosts", "memory", "device memory"
# One rank holds the whole message, each other rank a block of it.
_BY_BLOCK = ("gather", "scatter", "incast", "outcast")
_TEXTS = ("ceiling_kind", "ceiling_assumes")
# `ceiling_most_Bps` follows from the most generous source, or the upper end of the copy's confidence interval.
COLUMNS = ("ceiling_Bps", "ceiling_most_Bps", "ceiling_kind", "wire_Bps", "ceiling_rate_Bps", "ceiling_assumes")


def add_ceilings(points: pd.DataFrame, home: tuple[str, Domain] | None) -> pd.DataFrame:
    """A frame of COLUMNS beside `points`; NaN and None where no ceiling is known.

    `ceiling_Bps` is in busbw; `ceiling_rate_Bps` is the rate that it follows from: of a link, a network card or a
    copy. `wire_Bps` is what each rank's links carry where switches reduce: algbw, since each rank sends its data once;
    the ceiling is then that of this mechanism. NaN elsewhere, where busbw is what the links carry. `ceiling_assumes`
    are the cards that a ceiling between hosts rests on, in words.
    """
    found = pd.DataFrame(np.nan, index=points.index, columns=list(COLUMNS)).astype(dict.fromkeys(_TEXTS, object))
    found[list(_TEXTS)] = None
    cpu = on_cpu(points)
    if home is not None and home[1].tiers and home[1].tiers[-1].rate_Bps is not None:
        _by_links(points[~cpu], home[1], found)
        _by_routing(points[~cpu], home[1], found)
        found.loc[found["ceiling_kind"].eq(BETWEEN), "ceiling_assumes"] = cards_in_words(*home)
    if cpu.any():
        _by_memory(points[cpu], found)
    return found


def on_cpu(points: pd.DataFrame) -> pd.Series:
    """Which points were measured on a CPU, where no accelerator link applies."""
    cpus = [device for device in points["device"].unique()
            if isinstance(device, str) and device.lower().startswith("cpu")]
    return points["device"].isin(cpus)


def host_group(domain: Domain, ranks: int, ranks_per_node: float) -> int:
    """How many of `ranks` ranks share one scale-up domain; fewer than `ranks` if they span several."""
    size = int(domain.accelerators.value) * domain.dies if domain.accelerators else ranks
    one_host = domain.hosts is not None and domain.hosts.value == 1
    if one_host and not np.isnan(ranks_per_node):
        size = min(size, int(ranks_per_node))
    return max(1, min(size, ranks))


def _by_links(points: pd.DataFrame, domain: Domain, found: pd.DataFrame) -> None:
    """Bounds from link rates, into `found`; where switches reduced, those of that mechanism."""
    slim = points.loc[~_is_routed(points), ["op", "ranks", "ranks_per_node", "algorithm", "busbw_Bps", "algbw_Bps"]]
    for key, rows in slim.groupby(["op", "ranks", "ranks_per_node"], dropna=False, sort=False):
        op, ranks, node = cast(tuple[str, int, float], key)
        bound = _link_bound(domain, op, int(ranks), float(node))
        if bound is None:
            continue
        bus, rate, kind, most = bound
        factor = bus_factor(op, ranks)
        found.loc[rows.index, ["ceiling_Bps", "ceiling_most_Bps", "ceiling_rate_Bps"]] = bus, bus * most, rate
        found.loc[rows.index, "ceiling_kind"] = kind
        if op == "all_reduce" and kind == LINK and ranks > 2:
            named = rows["algorithm"].astype(object).fillna("").astype(str).str.upper().str.contains("NVLS|SHARP")
            switched = list(rows.index[(rows["busbw_Bps"] > _most_of_a_ring(domain, bus * most)) | named])
            ceiling = rate * factor / least_share("all_reduce", int(ranks), in_network=True)
            found.loc[switched, "wire_Bps"] = rows.loc[switched, "algbw_Bps"]
            found.loc[switched, "ceiling_Bps"] = ceiling
            found.loc[switched, "ceiling_most_Bps"] = ceiling * most


def _is_routed(points: pd.DataFrame) -> pd.Series:
    return points["op"].isin([op for op in points["op"].unique() if is_routed(op)])


def _by_routing(points: pd.DataFrame, domain: Domain, found: pd.DataFrame) -> None:
    """Bounds of exchanges between experts within a domain, from what some rank must receive by the routing."""
    outer = domain.tiers[-1]
    known = points[_is_routed(points)]
    known = known[known["traffic"].map(is_workload).astype(bool)]
    inside = [host_group(domain, int(ranks), node) >= ranks >= 2
              for ranks, node in zip(known["ranks"], known["ranks_per_node"], strict=True)]
    for at, row in known[inside].iterrows():
        op, ranks, size = str(row["op"]), int(row["ranks"]), float(row["message_bytes"])
        least = least_bytes(op, row["traffic"], row["dtype"], ranks, tokens_of(row["traffic"], row["dtype"], size))
        if outer.rate_Bps is not None and least > 0:
            bus = outer.rate_Bps.value * bus_factor(op, ranks) * size / least
            found.loc[at, ["ceiling_Bps", "ceiling_most_Bps", "ceiling_rate_Bps"]] = (
                bus, bus * max(outer.rate_Bps.all_values()) / outer.rate_Bps.value, outer.rate_Bps.value)
            found.loc[at, "ceiling_kind"] = LINK


def _most_of_a_ring(domain: Domain, link_Bps: float) -> float:
    """Busbw of an all-reduce above which switches must have reduced; infinite if the domain has no such switches."""
    if domain.in_network_reduction is None or not domain.in_network_reduction.value:
        return float("inf")
    ring = domain.all_reduce_ring_busbw_Bps
    return min(link_Bps, ring.value * apart()[1]) if ring else link_Bps


def _link_bound(domain: Domain, op: str, ranks: int, node: float) -> tuple[float, float, str, float] | None:
    """Busbw, the rate it follows from, its kind, and the factor by which the most generous source exceeds it."""
    outer, row = domain.tiers[-1], OPERATIONS.get(op)
    if row is None or not row.has_payload or outer.rate_Bps is None:
        return None
    rate = outer.rate_Bps.value
    most = max(outer.rate_Bps.all_values()) / rate
    if row.memories is not None:
        directions = len(row.memories)
        if op == "copy":
            return (domain.hbm_Bps.value / 2, domain.hbm_Bps.value, DEVICE_MEMORY, 1.0) if domain.hbm_Bps else None
        return (directions * rate, rate, LINK, most) if outer.topology == "tree" else None
    if ranks < 2:
        return None
    group = host_group(domain, ranks, node)
    if row.pairs and outer.pair_Bps:
        rate = outer.pair_Bps.value
    ways = bus_factor(op, ranks) if row.pairs else 1.0
    inside = rate * ways * (1.0 if row.pairs else exchange_share(domain, op, min(ranks, group)))
    if group >= ranks:
        return inside, rate, LINK, most
    if domain.scaleout_Bps is None:
        return None
    card = domain.scaleout_Bps.value
    if row.pairs:
        return card * ways, card, BETWEEN, 1.0
    s_per_byte = float(card_time_s(op, ranks, np.ones(1), domain, group)[0])
    return (bus_factor(op, ranks) / s_per_byte, card, BETWEEN, 1.0) if s_per_byte else None


def _by_memory(points: pd.DataFrame, found: pd.DataFrame) -> None:
    """Bounds from copies on the same system: the best rate at this size or a larger one, which caches help less.

    The rate is that of as many ranks as copy at once in the operation, or the next smaller measured count, since fewer
    ranks copy faster each; if only larger counts were measured, their combined rate. The size is what a rank copies at
    most if all ranks share the work: for gather and scatter one block.
    """
    is_copy = points["op"].eq("copy")
    copies = points.loc[is_copy & (points["algbw_Bps"] > 0),
                        ["system", "ranks", "message_bytes", "algbw_Bps", "busbw_Bps", "busbw_hi_Bps"]]
    if copies.empty:
        return
    copies["most"] = copies["busbw_hi_Bps"].fillna(copies["busbw_Bps"])
    best = copies.groupby(["system", "ranks", "message_bytes"], dropna=False)[["algbw_Bps", "most"]].max().reset_index()
    others = points.loc[~is_copy, ["system", "op", "ranks", "traffic", "message_bytes"]]
    held = others["message_bytes"].to_numpy(float)
    bounds = np.full((3, len(others)), np.nan)      # of `ceiling_Bps`, `ceiling_most_Bps`, `ceiling_rate_Bps`
    for key, rows in others.groupby(["system", "op", "ranks", "traffic"], dropna=False, sort=False).indices.items():
        system, op, ranks, traffic = cast(tuple[Any, str, int, Any], key)
        share = copies_share(op, int(ranks), traffic if isinstance(traffic, str) else None)
        here = best[best["system"].isna() if pd.isna(system) else best["system"].eq(system)]
        if share is None or here.empty:
            continue
        at_once = ranks // 2 if OPERATIONS[op].timed_by_initiators and op != "bi_bandwidth" else ranks
        known = here.loc[here["ranks"] <= at_once, "ranks"]
        copiers = known.max() if len(known) else here["ranks"].min()
        rates = here[here["ranks"] == copiers].sort_values("message_bytes")
        sizes = rates["message_bytes"].to_numpy(float)
        copied = held[rows] / (ranks if op in _BY_BLOCK else 1)
        place = np.minimum(np.searchsorted(sizes, copied), len(sizes) - 1)
        together = max(1.0, copiers / at_once)
        rate, most = (np.maximum.accumulate(rates[name].to_numpy(float)[::-1])[::-1][place] * together
                      for name in ("algbw_Bps", "most"))
        scale = bus_factor(op, int(ranks)) / share
        bounds[:, rows] = scale * rate, scale * most, rate
    capped = others.index[np.isfinite(bounds[0])]
    found.loc[others.index, ["ceiling_Bps", "ceiling_most_Bps", "ceiling_rate_Bps"]] = bounds.T
    found.loc[capped, "ceiling_kind"] = MEMORY
