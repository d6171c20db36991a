"""Check that all ranks are present and consistent before a library connects them, to fail with a clear reason.

Every rank publishes a claim in a key-value store that all ranks can reach, such as torch's TCPStore, with a handful of
requests and one wait; rank 0 reads all claims in a single request and publishes the verdict.
"""

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol

import msgspec

from ..errors import FaultError, UsageError, write_error
from ..text import name_ranks
from ..topology.device_identity import RankDevice, compare_devices, given_uuid
from .provenance import RankFacts, rank_facts
from .rendezvous import Place

__all__ = ["RankClaim", "claims_of", "contradiction", "doubt", "meet", "own_claim", "why_apart"]

_POLL_S = 0.02
_REPORT_S, _REPORT_GROWTH = 10.0, 3      # when rank 0 first reports missing ranks; later reports get rarer
_OBJECTION_S = 1.0
_FAREWELL_S = 3.0       # how long rank 0, which may host the store, waits until all others have read the verdict


class RankClaim(RankDevice, frozen=True, kw_only=True):
    """A process's rank, location and device. Two processes with the same `boot` are on one host."""

    rank: int
    host: str
    boot: str
    pid: int
    local_rank: int


class Store(Protocol):
    """The operations used of the key-value store."""

    def set(self, key: str, value: str) -> None:
        """Store a value."""

    def get(self, key: str) -> bytes:
        """Wait for a value and return it."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter; returns the new count."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Set `desired` if the value is `expected` ("" if unset); returns the resulting value."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are set."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Values of many keys, in one request."""


def own_claim(place: Place, device: str | None = None, devices: int = 0, identity: str | None = None,
              name: str | None = None, bus: str | None = None, partition: int | None = None,
              mask: str | None = None) -> RankClaim:
    """The claim of this process, with its device as described by the library; see `RankDevice`."""
    facts = rank_facts(place)
    return RankClaim(rank=place.rank, host=facts.host, boot=facts.boot, pid=os.getpid(), local_rank=place.local_rank,
                     device=device, devices=devices, identity=given_uuid(identity), name=name, bus=bus,
                     partition=partition, mask=mask)


def meet(store: Store, place: Place, claim: RankClaim, patience_s: float,
         environment: Mapping[str, str] = os.environ) -> None:
    """Return when all ranks have arrived and are consistent. Collective over the job.

    Raises:
        UsageError: on all ranks: which ranks contradict each other.
        FaultError: which ranks did not arrive within `patience_s` seconds.
    """
    at = f"collbench/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    size = int(store.compare_set(f"{at}/size", "", str(place.size)))
    if size != place.size:
        _object(store, at, place.rank,
                f"rank {place.rank} on {claim.host} has world size {place.size}, others have {size}: two jobs use one "
                "address, or the ranks were started with different sizes")
    if store.add(f"{at}/came/{place.rank}", 1) > 1:
        other = msgspec.json.decode(store.get(f"{at}/claim/{place.rank}"), type=RankClaim)
        _object(store, at, place.rank,
                f"two processes have rank {place.rank} of {place.size}: pid {other.pid} on {other.host} and pid "
                f"{claim.pid} on {claim.host}; each process needs its own RANK, and each job its own MASTER_PORT")
    store.set(f"{at}/claim/{place.rank}", msgspec.json.encode(claim).decode())
    store.add(f"{at}/arrived", 1)
    if place.rank == 0:
        store.set(f"{at}/verdict", _verdict(store, at, place.size, patience_s))
    verdict = store.get(f"{at}/verdict").decode()
    if verdict != "+":
        heard, deadline = store.add(f"{at}/heard", 1), time.monotonic() + _FAREWELL_S
        while place.rank == 0 and heard < store.add(f"{at}/arrived", 0) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            heard = store.add(f"{at}/heard", 0)
        raise (FaultError if verdict.startswith("absent: ") else UsageError)(verdict.removeprefix("absent: "))


def _object(store: Store, at: str, rank: int, reason: str) -> None:
    """Publish what is wrong and raise; rank 0, which may host the store, first gives the others time to read it."""
    store.set(f"{at}/objection", reason)
    if rank == 0:
        store.set(f"{at}/verdict", reason)
        time.sleep(_OBJECTION_S)
    raise UsageError(reason)


def _verdict(store: Store, at: str, size: int, patience_s: float) -> str:
    """`+` if all ranks are present and consistent, otherwise the reason."""
    begin, report_s = time.monotonic(), _REPORT_S
    keys = [f"{at}/claim/{rank}" for rank in range(size)]
    while store.add(f"{at}/arrived", 0) < size:
        if store.check([f"{at}/objection"]):
            return store.get(f"{at}/objection").decode()
        waited_s = time.monotonic() - begin
        absent = [] if waited_s < min(report_s, patience_s) else [
            rank for rank, key in enumerate(keys) if not store.check([key])]
        if absent and waited_s < patience_s:
            write_error(f"collbench: waiting for {name_ranks(absent)} of {size} for {waited_s:.0f} s")
            report_s *= _REPORT_GROWTH
        elif absent:
            return (f"absent: {name_ranks(absent)} of {size} did not arrive within {patience_s:.0f} s: check their "
                    "output, and whether their hosts can reach this one")
        time.sleep(_POLL_S)
    claims = [msgspec.json.decode(raw, type=RankClaim) for raw in store.multi_get(keys)]
    if (reason := contradiction(claims)) is None and (note := doubt(claims)):
        write_error(f"collbench: {note}")
    return reason or "+"


def contradiction(claims: Sequence[RankClaim]) -> str | None:
    """Two ranks that would use one device, as a message; None if there are none."""
    return next((_shared(one, other) for one, other in _pairs(claims) if compare_devices(one, other)), None)


def _shared(one: RankClaim, other: RankClaim) -> str:
    known = other.identity or other.bus
    return (f"ranks {one.rank} and {other.rank} on {_where(one, other)} would both use one device"
            f"{f' ({known})' if known else ''}: {one.device} (local rank {one.local_rank}) and {other.device} (local "
            f"rank {other.local_rank}, {other.devices} visible): start one rank per device, let the launcher set the "
            "local rank, or measure the CPUs with --device cpu")


def _where(one: RankClaim, other: RankClaim) -> str:
    return one.host if one.host == other.host else f"{one.host} and {other.host}"


def doubt(claims: Sequence[RankClaim]) -> str | None:
    """Ranks of which it cannot be told whether they share a device, as a note; None if all can be told apart."""
    pairs = [pair for pair in _pairs(claims) if compare_devices(*pair) is None]
    if not pairs:
        return None
    ranks = sorted({claim.rank for pair in pairs for claim in pair})
    one, other = pairs[0]
    return (f"{name_ranks(ranks)} may share a device: no uuid, PCI address or number tells theirs apart "
            f"({one.device} of rank {one.rank}, {other.device} of rank {other.rank})")


def claims_of(facts: Sequence[RankFacts]) -> list[RankClaim]:
    """The claims of all ranks, after the fact."""
    return [RankClaim(rank=rank, host=fact.host, boot=fact.boot, pid=0, local_rank=fact.local_rank,
                      **msgspec.structs.asdict(fact.own)) for rank, fact in enumerate(facts)]


def _pairs(claims: Sequence[RankClaim]) -> Iterator[tuple[RankClaim, RankClaim]]:
    """Pairs of ranks that could use one device: the same globally unique one, or one of the same host.

    Containers of one host, which have their own names, also number their own devices.
    """
    near: dict[tuple[str | None, ...], list[RankClaim]] = {}
    for claim in claims:
        if claim.device is not None:
            place = (claim.boot, None if claim.bus else claim.host)
            near.setdefault((claim.identity,) if claim.identity else place, []).append(claim)
    for group in near.values():
        yield from combinations(group, 2)


def why_apart(place: Place, error: str) -> str:
    """The message for a store that could not be opened, or was lost."""
    host, port = place.address or ("this host", 0)
    if "EADDRINUSE" in error:
        return f"port {port} is in use on this host, but rank 0 has to listen there: set MASTER_PORT to a free one"
    first = error.splitlines()[0] if error else "no reason given"
    return (f"rank {place.rank} of {place.size} on {socket.gethostname()} could not connect to rank 0 at {host} port "
            f"{port}, or lost it: check that rank 0 is running and reachable from here ({first[:160]})")
