"""Measure every link: all pairs in rounds of disjoint pairs, then the suspicious pairs again, each alone.

A pair that is slow only in a round shares a resource with other pairs of that round; a pair that is slow alone has a
slow link.
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
from ..watchdog.watchdog import NullWatchdog
from .sweep import run_sweep

__all__ = ["measures_links", "run_links", "suspicious"]

_SUSPICIOUS_RATIO = 1.3     # time over the median of pairs of the same kind
_MAX_PER_RANK = 3           # enough to show that the rank itself, not its links, is slow
_MAX_PAIRS = 24             # measured alone
_NOT_WATCHED = NullWatchdog()


def measures_links(request: RunConfig) -> bool:
    """Whether all links are requested, rather than one round of them."""
    return (any(catalog.OPERATIONS[name].linked for name in request.sweep.ops)
            and not any(map(link_rounds.is_name, request.sweep.traffics)))


def run_links(request: RunConfig, transport: Transport, place: Place, watch: NullWatchdog = _NOT_WATCHED) -> int:
    """Measure the request, then the suspicious pairs alone. Collective; returns the exit status of this rank."""
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
    alike = {run.id for run in runs.values() if _system(run) == _system(last)}
    return suspicious(last, [record for record in records if record.run in alike])


def _system(run: Run) -> tuple[object, ...]:
    return run.transport, run.library, run.device, run.world


def suspicious(run: Run, records: list[Record]) -> list[link_rounds.Pair]:
    """Pairs that took much longer than the median pair of the same kind (same host or not), the worst first."""
    hosts = run.provenance.get("hosts")
    found: dict[link_rounds.Pair, float] = {}
    for times_s in _times(records).values():
        kinds = {pair: _same_host(hosts, pair) for pair in times_s}
        typical_s = {kind: median([times_s[pair] for pair in kinds if kinds[pair] == kind])
                     for kind in set(kinds.values())}
        for pair, time_s in times_s.items():
            ratio = time_s / max(typical_s[kinds[pair]], 1e-12)
            if ratio > _SUSPICIOUS_RATIO:
                found[pair] = max(ratio, found.get(pair, 0.0))
    return _limited(sorted(found, key=found.__getitem__, reverse=True))


def _times(records: list[Record]) -> dict[str, dict[link_rounds.Pair, float]]:
    """Median time of one message in the last mode, by operation and pair."""
    times_s: dict[str, dict[link_rounds.Pair, float]] = {}
    for record in records:
        if record.case.operation.linked and record.status == "ok":
            samples = record.timings[-1].pair_s(record.case)
            times_s.setdefault(record.case.op, {}).update((pair, median(taken)) for pair, taken in samples.items())
    return times_s


def _same_host(hosts: object, pair: link_rounds.Pair) -> bool | None:
    if not isinstance(hosts, list) or max(pair) >= len(hosts):
        return None
    return bool(hosts[pair[0]] == hosts[pair[1]])


def _limited(pairs: list[link_rounds.Pair]) -> list[link_rounds.Pair]:
    """The first pairs, with a limit per rank, so that a slow rank does not hide a slow link elsewhere."""
    kept: list[link_rounds.Pair] = []
    taken: dict[int, int] = {}
    for pair in pairs:
        if len(kept) < _MAX_PAIRS and all(taken.get(rank, 0) < _MAX_PER_RANK for rank in pair):
            kept.append(pair)
            taken.update((rank, taken.get(rank, 0) + 1) for rank in pair)
    return kept


def _share(pairs: list[link_rounds.Pair], transport: Transport) -> tuple[str, ...]:
    """Rank 0's pairs on all ranks, as names of traffic patterns. Collective."""
    world = transport.communicator(transport.size)
    assert world is not None
    count = world.agree(len(pairs))
    words = [source * world.size + target for source, target in pairs] or [0] * count
    return tuple(link_rounds.single_pair(*divmod(world.agree(word), world.size)) for word in words)
