"""What all ranks settle together before the first case: groups, hosts, clocks, how to start and to time, the plan."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..cases import catalog
from ..cases.case import Case, rank_counts
from ..errors import UsageError
from ..interfaces import Communicator, Transport
from ..loop import alignment
from ..loop.clock import Clocks
from ..loop.verify import Inspector
from ..options import RunConfig
from ..ranks.provenance import RankFacts, host_cores, rank_facts
from ..ranks.rendezvous import Place
from ..records.record import Policy
from ..statistics.stopping import median
from .time_budget import Plan, Probe, make_plan

__all__ = ["Setting", "settle"]

_ENOUGH_NS = 1e9        # where so many ranks share so few cores that a call takes seconds, one says enough


class Setting(NamedTuple):
    """The same on every rank, but for `facts`, which rank 0 alone has.

    Args:
        communicators: by number of ranks; None where this rank is not in it.
        policy: with nothing left on `auto`.
        local_ranks: ranks of the job on this rank's host.
        loopback: whether all ranks share one loopback: on one host, and in one container of it.
        loop_reason: why calls are timed from the interpreter; None where they are not.
    """

    communicators: dict[int, Communicator | None]
    clocks: Clocks
    policy: Policy
    plan: Plan
    request: RunConfig
    local_ranks: int
    loopback: bool
    loop_reason: str | None
    facts: list[RankFacts]


def settle(request: RunConfig, transport: Transport, place: Place) -> Setting:
    """Collective over the job. UsageError when more ranks are asked for than there are."""
    ranks = request.sweep.ranks or rank_counts(transport.size)
    if max(ranks) > transport.size:
        raise UsageError(f"groups of {max(ranks)} ranks were asked for, but the job has {transport.size}")
    groups = msgspec.structs.replace(request.sweep, ranks=tuple(ranks)).group_sizes()
    communicators = {n: transport.communicator(n) for n in sorted({*groups, transport.size})}
    world = communicators[transport.size]
    facts, hosts, crowded = _meet(world, place, transport.threads)
    own_host = [rank for rank in range(world.size) if hosts[rank] == hosts[world.rank]]
    loop, reason = transport.configure(request.policy.loop, request.policy.persistent, world.rank == own_host[0],
                                       request.policy.graph)
    policy = msgspec.structs.replace(request.policy, loop=loop,
                                     alignment=alignment.choose(request.policy.alignment, crowded))
    seed = request.sweep.seed if request.sweep.seed is None else world.agree(request.sweep.seed)
    sweep = msgspec.structs.replace(request.sweep, ranks=tuple(ranks), seed=seed)
    plan = make_plan(sweep, policy, _probe(world, max(sweep.sizes), len(own_host)), transport.why_not, request.budget_s)
    return Setting(communicators, Clocks(hosts), policy, plan, msgspec.structs.replace(request, sweep=sweep),
                   len(own_host), _one_loopback(world, len(own_host)), reason, facts)


def _meet(world: Communicator, place: Place, threads: int) -> tuple[list[RankFacts], list[int], bool]:
    """Facts of all ranks (on rank 0 alone), and on every rank everybody's host, and whether a host is crowded.

    A host is named by its first rank; two ranks are on one when they run on the same booted kernel. It is crowded
    when its ranks have more busy threads than cores that they may use.
    """
    gathered = world.gather(msgspec.json.encode(rank_facts(place)))
    if gathered is None:
        facts, mine = [], [-math.inf] * (world.size + 1)
    else:
        facts = [msgspec.json.decode(raw, type=RankFacts) for raw in gathered]
        hosts = _hosts(facts)
        ranks_of = Counter(hosts)
        crowded = any(threads * ranks_of[host] > len(cores)
                      for host, cores in zip(hosts, host_cores(facts), strict=True))
        mine = [*hosts, crowded]
    *shared, crowded = world.all_max(mine)
    return facts, [int(host) for host in shared], bool(crowded)


def _one_loopback(world: Communicator, local_ranks: int) -> bool:
    """Containers on one host have one kernel and one clock, but each a network of its own."""
    try:
        own = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        own = 0
    most, least = world.all_max([own, -own])
    return local_ranks == world.size and most == -least


def _hosts(facts: Sequence[RankFacts]) -> list[int]:
    first: dict[str, int] = {}
    return [first.setdefault(fact.boot, rank) for rank, fact in enumerate(facts)]


def _probe(world: Communicator, largest: int, local_ranks: int) -> Probe:
    """Time a few all_reduces of the whole world, untold and unrecorded, to forecast how long the sweep will take.

    Of what fits into an eighth of the memory: what does not fit at all becomes a record later.
    """
    room = world.room_bytes(local_ranks)
    least, = world.all_max([-math.inf if room is None else -room])
    largest = max(8, min(largest, largest if least == -math.inf else int(-least) // 8))
    sizes = [catalog.round_up("all_reduce", size, world.size, "float32") for size in (8, largest)]
    times = []
    for size in sizes:
        case = Case(op="all_reduce", ranks=world.size, bytes=size, dtype="float32", redop="sum", in_place=True)
        prepared = world.prepare(case, 1)
        inspector = Inspector(case, world.rank, prepared)
        laps_ns = []
        for lap in range(4):
            inspector.reset(lap)
            world.barrier()
            begin, end = prepared.block(0)
            laps_ns += world.all_max([end - begin])
            if sum(laps_ns) > _ENOUGH_NS:
                break
        prepared.release()
        times.append(median(laps_ns) / 1e9)
    barriers = 8 if sum(laps_ns) <= _ENOUGH_NS else 1
    begin = world.now_ns()
    for _ in range(barriers):
        world.barrier()
    control_s, = world.all_max([(world.now_ns() - begin) / barriers / 1e9])
    return Probe(sizes[0], times[0], sizes[1], times[1], control_s, world.size)
