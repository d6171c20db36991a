"""What all ranks agree on before the first case: groups, hosts, clocks, alignment, timing loop and plan."""

import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..cases import catalog
from ..cases.case import Case, rank_counts
from ..errors import UsageError
from ..interfaces import CallSettings, Communicator, EnterPhase, Transport, ignore_phase
from ..loop import alignment
from ..loop.clock import Clocks
from ..loop.verify import Inspector
from ..options import RunConfig
from ..ranks.host_facts import HostFacts, ask_hosts, describe_host, located
from ..ranks.provenance import RankFacts, host_cores, rank_facts
from ..ranks.rendezvous import Place
from ..records.record import Policy
from ..statistics.stopping import median
from .plan import ForecastProbe, Plan, make_plan

__all__ = ["Session", "open_session"]

_PAGE = 4096
_LONG_NS = 1e9      # if probes take this long (many ranks on few cores), one is enough


class Session(NamedTuple):
    """The state of a run; the same on every rank, except `facts` and `host_facts`, which only rank 0 has.

    Args:
        communicators: by number of ranks; None if this rank is not in it.
        set_up_s: seconds to make each of them and to make its first call, on its slowest rank.
        world: the communicator of all ranks.
        policy: with every `auto` resolved.
        hosts: for each rank the first rank of its host.
        local_ranks: ranks of the job on this rank's host.
        loopback: whether all ranks share one loopback interface: one host, and one network namespace.
        loop_reason: why calls are timed from the interpreter; None if the compiled loop is used.
    """

    communicators: dict[int, Communicator | None]
    set_up_s: dict[int, float]
    world: Communicator
    clocks: Clocks
    policy: Policy
    plan: Plan
    request: RunConfig
    local_ranks: int
    loopback: bool
    loop_reason: str | None
    hosts: list[int]
    facts: list[RankFacts]
    host_facts: dict[int, HostFacts]

    def communicator(self, ranks: int) -> Communicator:
        """The communicator of the first `ranks` ranks, of which this rank must be one."""
        communicator = self.communicators[ranks]
        assert communicator is not None
        return communicator


def open_session(request: RunConfig, transport: Transport, place: Place,
                 enter: EnterPhase = ignore_phase) -> Session:
    """Collective over the job. UsageError if more ranks are requested than the job has."""
    ranks = request.sweep.ranks or rank_counts(transport.size)
    if max(ranks) > transport.size:
        raise UsageError(f"groups of {max(ranks)} ranks were requested, but the job has {transport.size}")
    groups = msgspec.structs.replace(request.sweep, ranks=tuple(ranks)).group_sizes()
    communicators, set_up_s = _communicators(transport, sorted({*groups, transport.size}), enter)
    world = communicators[transport.size]
    assert world is not None
    set_up_s = dict(zip(set_up_s, world.all_max(list(set_up_s.values())), strict=True))
    facts, hosts, crowded = _exchange_facts(world, rank_facts(place, transport.own_device), transport.threads)
    host_facts = ask_hosts(world, hosts, describe_host, HostFacts)
    own_host = [rank for rank in range(world.size) if hosts[rank] == hosts[world.rank]]
    wanted = request.policy
    loop, reason = transport.configure(CallSettings(wanted.loop, wanted.persistent, wanted.graph,
                                                    compiles=world.rank == own_host[0]))
    policy = msgspec.structs.replace(wanted, loop=loop, alignment=alignment.choose(wanted.alignment, crowded))
    seed = request.sweep.seed if request.sweep.seed is None else world.agree(request.sweep.seed)
    sweep = msgspec.structs.replace(request.sweep, ranks=tuple(ranks), seed=seed)
    probe = _probe(world, max(sweep.sizes), len(own_host), 1 if transport.device == "cpu" else 2)
    plan = make_plan(sweep, policy, probe._replace(set_up_s=set_up_s), transport.why_not, request.budget_s)
    return Session(communicators, set_up_s, world, Clocks(hosts), policy, plan,
                   msgspec.structs.replace(request, sweep=sweep), len(own_host),
                   _one_loopback(world, len(own_host)), reason, hosts,
                   located(facts, hosts, host_facts), host_facts)


def _communicators(transport: Transport, groups: Sequence[int],
                   enter: EnterPhase) -> tuple[dict[int, Communicator | None], dict[int, float]]:
    """Communicators by number of ranks, and the seconds that each took on this rank; 0 where it is not a member.

    They are made before anything is measured: on accelerators each may take from half a second to a minute.
    """
    made: dict[int, Communicator | None] = {}
    set_up_s: dict[int, float] = {}
    for ranks in groups:
        enter("communicators")
        begin = time.monotonic()
        made[ranks] = transport.communicator(ranks)
        set_up_s[ranks] = time.monotonic() - begin if transport.rank < ranks else 0.0
    enter("start-up")
    return made, set_up_s


def _exchange_facts(world: Communicator, own: RankFacts, threads: int) -> tuple[list[RankFacts], list[int], bool]:
    """Facts of all ranks (on rank 0 only); and on every rank the host of each rank, and whether any host is crowded.

    A host is identified by its first rank; two ranks share a host if they run on the same booted kernel. It is
    crowded if its ranks have more busy threads than cores available to them.
    """
    gathered = world.gather(msgspec.json.encode(own))
    if gathered is None:
        facts: list[RankFacts] = []
        mine = [-math.inf] * (world.size + 1)
    else:
        facts = [msgspec.json.decode(raw, type=RankFacts) for raw in gathered]
        hosts = _hosts(facts)
        ranks_of = Counter(hosts)
        own_crowded = any(threads * ranks_of[host] > len(cores)
                          for host, cores in zip(hosts, host_cores(facts), strict=True))
        mine = [*hosts, own_crowded]
    *shared, crowded = world.all_max(mine)
    return facts, [int(host) for host in shared], bool(crowded)


def _one_loopback(world: Communicator, local_ranks: int) -> bool:
    """Containers on one host share its kernel and clock, but each has its own network namespace."""
    try:
        own = os.stat("/proc/self/ns/net").st_ino
    except OSError:
        own = 0
    largest, smallest_negated = world.all_max([own, -own])
    return local_ranks == world.size and largest == -smallest_negated


def _hosts(facts: Sequence[RankFacts]) -> list[int]:
    first: dict[str, int] = {}
    return [first.setdefault(fact.boot, rank) for rank, fact in enumerate(facts)]


def _probe(world: Communicator, largest: int, local_ranks: int, passes: int) -> ForecastProbe:
    """Time a few unrecorded all_reduces over the whole world, to forecast how long the sweep will take.

    Calls, and filling and comparing the buffers, are timed apart, with all ranks at work: on an accelerator both are
    fast, on a crowded CPU both are slow. The largest size is limited to an eighth of the memory; a case that does not
    fit becomes a record later.
    """
    room = world.room_bytes(local_ranks)
    least, = world.all_max([-math.inf if room is None else -room])
    largest = max(8, min(largest, largest if least == -math.inf else int(-least) // 8))
    sizes = [catalog.round_up("all_reduce", size, world.size, "float32") for size in (8, largest)]
    times = [_probe_size(world, sizes[0])]
    # Among many ranks on few cores an all_reduce takes seconds because of its number of steps, in each of which a rank
    # sends its share of the message; with shares below a page, one size is enough.
    steps_only = times[0].call_s * 1e9 > _LONG_NS and sizes[1] < _PAGE * world.size
    times.append(times[0] if steps_only else _probe_size(world, sizes[1]))
    control_s = _control_s(world, 8 if max(time.call_s for time in times) * 1e9 <= _LONG_NS else 1)
    touched_s = max(0.0, times[1].touched_s - times[0].touched_s) / max(1, sizes[1] - sizes[0])
    further = max(0.0, times[1].fastest_s - times[0].fastest_s) / max(1, sizes[1] - sizes[0])
    return ForecastProbe(sizes[0], times[0].call_s, sizes[1], times[1].call_s, control_s, world.size,
                         times[0].touched_s, touched_s, world.slots_bytes, passes, further_s_per_byte=further)


class _ProbeTimes(NamedTuple):
    """Of one size, on the slowest rank: a call, the fastest call, and preparing, filling and comparing its buffer."""

    call_s: float
    fastest_s: float
    touched_s: float


def _probe_size(world: Communicator, size: int) -> _ProbeTimes:
    case = Case(op="all_reduce", ranks=world.size, bytes=size, dtype="float32", redop="sum", in_place=True)
    touched_ns: list[float] = []
    laps_ns: list[float] = []
    while len(touched_ns) < 2 and sum(touched_ns) < _LONG_NS:       # the first time, memory is new
        begin = world.now_ns()
        prepared = world.prepare(case, 1)
        inspector = Inspector(case, world.rank, prepared)
        inspector.rehearse()
        world.drain()
        touched_ns += world.all_max([world.now_ns() - begin])
        if len(touched_ns) < 2 and sum(touched_ns) < _LONG_NS:
            prepared.release()
    for lap in range(5):        # the first one is not counted: libraries set up connections and kernels in it
        inspector.reset(lap)
        world.drain()
        world.barrier()
        begin_ns, end_ns = prepared.block(0)
        laps_ns += world.all_max([end_ns - begin_ns])
        if sum(laps_ns) > _LONG_NS:
            break
    prepared.release()
    counted_ns = laps_ns[1:] or laps_ns
    return _ProbeTimes(median(counted_ns) / 1e9, min(counted_ns) / 1e9, min(touched_ns) / 1e9)


def _control_s(world: Communicator, barriers: int) -> float:
    """Seconds of one barrier on the control path, on the slowest rank."""
    begin = world.now_ns()
    for _ in range(barriers):
        world.barrier()
    slowest, = world.all_max([(world.now_ns() - begin) / barriers / 1e9])
    return slowest
