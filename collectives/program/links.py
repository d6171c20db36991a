"""Every link by itself: all pairs in rounds of disjoint pairs, then the suspicious ones again while all others rest.

A pair that is slow only in a round shares something with others of it; one that is slow alone has a slow link.
"""

import msgspec

from ..cases import catalog, link_rounds
from ..errors import CollbenchError
from ..interfaces import Transport
from ..options import RunConfig
from ..ranks.rendezvous import Place
from ..records.journal import read_journal
from ..records.record import Record, Run
from ..statistics.stopping import median
from ..watchdog.watchdog import UNWATCHED, Unwatched
from .sweep import run_sweep

__all__ = ["measures_links", "run_links", "suspicious"]

_SLOWER = 1.3           # than the typical pair of its kind: worth another look
_MOST_OF_A_RANK = 3     # of one rank's links; what is wrong with the rank itself shows in so many
_MOST = 24              # pairs that are measured alone


def measures_links(request: RunConfig) -> bool:
    """Whether all links are asked for, rather than one pairing of them."""
    return (any(catalog.OPERATIONS[name].linked for name in request.sweep.ops)
            and not any(map(link_rounds.is_name, request.sweep.traffics)))


def run_links(request: RunConfig, transport: Transport, place: Place, watch: Unwatched = UNWATCHED) -> int:
    """Measure what the request asks for, then suspicious pairs alone. Collective; the exit status of this rank."""
    status = run_sweep(request, transport, place, watch)
    names = _share(_again(request, status) if transport.rank == 0 else [], transport)
    if not names:
        return status
    ops = tuple(name for name in request.sweep.ops if catalog.OPERATIONS[name].linked)
    sweep = msgspec.structs.replace(request.sweep, ops=("noop", *ops), traffics=names, ranks=(transport.size,))
    return max(status, run_sweep(msgspec.structs.replace(request, sweep=sweep), transport, place, watch))


def _again(request: RunConfig, status: int) -> list[link_rounds.Pair]:
    if status:
        return []
    try:
        runs, records, _ = read_journal(request.journal)
    except CollbenchError:
        return []
    last = list(runs.values())[-1]
    alike = {run.id for run in runs.values() if _who(run) == _who(last)}
    return suspicious(last, [record for record in records if record.run in alike])


def _who(run: Run) -> tuple[object, ...]:
    return run.transport, run.library, run.device, run.world


def suspicious(run: Run, records: list[Record]) -> list[link_rounds.Pair]:
    """Pairs that took much longer than the typical pair of the same kind (same host, or not), the worst first."""
    hosts = run.provenance.get("hosts")
    found: dict[link_rounds.Pair, float] = {}
    for times_s in _times(records).values():
        kinds = {pair: _same_host(hosts, pair) for pair in times_s}
        typical_s = {kind: median([times_s[pair] for pair in kinds if kinds[pair] == kind])
                     for kind in set(kinds.values())}
        for pair, time_s in times_s.items():
            ratio = time_s / max(typical_s[kinds[pair]], 1e-12)
            if ratio > _SLOWER:
                found[pair] = max(ratio, found.get(pair, 0.0))
    return _fewer(sorted(found, key=found.get, reverse=True))


def _times(records: list[Record]) -> dict[str, dict[link_rounds.Pair, float]]:
    """By operation and pair the median time of one message in the last of its modes."""
    times_s: dict[str, dict[link_rounds.Pair, float]] = {}
    for record in records:
        if record.case.operation.linked and record.status == "ok":
            samples = record.timings[-1].pair_s(record.case)
            times_s.setdefault(record.case.op, {}).update((pair, median(taken)) for pair, taken in samples.items())
    return times_s


def _same_host(hosts: object, pair: link_rounds.Pair) -> bool | None:
    if not isinstance(hosts, list) or max(pair) >= len(hosts):
        return None
    return hosts[pair[0]] == hosts[pair[1]]


def _fewer(pairs: list[link_rounds.Pair]) -> list[link_rounds.Pair]:
    """The first of them, but not all of one rank, so that a slow rank does not hide a slow link elsewhere."""
    kept: list[link_rounds.Pair] = []
    taken: dict[int, int] = {}
    for pair in pairs:
        if len(kept) < _MOST and all(taken.get(rank, 0) < _MOST_OF_A_RANK for rank in pair):
            kept.append(pair)
            taken.update((rank, taken.get(rank, 0) + 1) for rank in pair)
    return kept


def _share(pairs: list[link_rounds.Pair], transport: Transport) -> tuple[str, ...]:
    """Rank 0's pairs on all ranks, as names of pairings."""
    world = transport.communicator(transport.size)
    count = world.agree(len(pairs))
    words = [source * world.size + target for source, target in pairs] or [0] * count
    return tuple(link_rounds.single_pair(*divmod(world.agree(word), world.size)) for word in words)
