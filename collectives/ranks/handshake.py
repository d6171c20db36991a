"""Where ranks say who they are before any library connects them, so that contradictions end the job with a reason.

The store is a key-value store that all ranks reach, such as torch's TCPStore. Every rank makes a handful of requests
and waits once; rank 0 reads all claims in one.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..errors import FaultError, UsageError
from .provenance import rank_facts
from .rendezvous import Place

__all__ = ["Claim", "contradiction", "meet", "name_ranks", "own_claim", "why_apart"]

_LOOK_S = 0.02
_SPEAK_S, _SPEAK_LATER = 10.0, 3       # when rank 0 first says whom it waits for; each next time so much later
_OBJECTION_S = 1.0
_FAREWELL_S = 3.0        # how long rank 0, who may hold the store, stays until others have read why the job ends


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Who a process says it is, and the device that it would take; `devices` is how many of those it sees.

    `identity` is what only one device in the world has; None where the library does not tell. Two processes with the
    same `boot` are on one host.
    """

    rank: int
    host: str
    boot: str
    pid: int
    local_rank: int
    device: str | None = None
    devices: int = 0
    identity: str | None = None


class Store(Protocol):
    """What is asked of the store."""

    def set(self, key: str, value: str) -> None:
        """Keep a value."""

    def get(self, key: str) -> bytes:
        """The value, once there is one."""

    def add(self, key: str, amount: int) -> int:
        """Count up; returns the new count."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Keep `desired` if what is there is `expected`, "" standing for nothing; returns what is there then."""

    def check(self, keys: list[str]) -> bool:
        """Whether all keys have values."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Many values at once."""


def own_claim(place: Place, **device: object) -> Claim:
    """That of this process; `device` is what the library says of the device it would take."""
    facts = rank_facts(place)
    return Claim(rank=place.rank, host=facts.host, boot=facts.boot, pid=os.getpid(), local_rank=place.local_rank,
                 **device)


def meet(store: Store, place: Place, claim: Claim, patience_s: float,
         environment: Mapping[str, str] = os.environ) -> None:
    """Return when all ranks came and none contradicts another. Collective over the job.

    UsageError, on all ranks: what contradicts what. FaultError: who did not come within `patience_s`.
    """
    at = f"collbench/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    said = int(store.compare_set(f"{at}/size", "", str(place.size)))
    if said != place.size:
        _object(store, at, place.rank,
                f"rank {place.rank} on {claim.host} was told of {place.size} ranks, others of {said}: they are of two "
                "jobs that meet at one address, or were given different sizes")
    if store.add(f"{at}/came/{place.rank}", 1) > 1:
        other = msgspec.json.decode(store.get(f"{at}/claim/{place.rank}"), type=Claim)
        _object(store, at, place.rank,
                f"two processes say that they are rank {place.rank} of {place.size}: pid {other.pid} on {other.host} "
                f"and pid {claim.pid} on {claim.host}; each needs a RANK of its own, and each job a MASTER_PORT of its "
                "own")
    store.set(f"{at}/claim/{place.rank}", msgspec.json.encode(claim).decode())
    store.add(f"{at}/arrived", 1)
    if place.rank == 0:
        store.set(f"{at}/verdict", _verdict(store, at, place.size, patience_s))
    verdict = store.get(f"{at}/verdict").decode()
    if verdict != "+":
        heard, deadline = store.add(f"{at}/heard", 1), time.monotonic() + _FAREWELL_S
        while place.rank == 0 and heard < store.add(f"{at}/arrived", 0) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            heard = store.add(f"{at}/heard", 0)
        raise (FaultError if verdict.startswith("absent: ") else UsageError)(verdict.removeprefix("absent: "))


def _object(store: Store, at: str, rank: int, reason: str) -> None:
    """Say what is wrong to all; rank 0, who may hold the store, stays until they may have read it."""
    store.set(f"{at}/objection", reason)
    if rank == 0:
        store.set(f"{at}/verdict", reason)
        time.sleep(_OBJECTION_S)
    raise UsageError(reason)


def _verdict(store: Store, at: str, size: int, patience_s: float) -> str:
    """`+` when all is well; else the reason, for all to say."""
    begin, speak_s = time.monotonic(), _SPEAK_S
    keys = [f"{at}/claim/{rank}" for rank in range(size)]
    while store.add(f"{at}/arrived", 0) < size:
        if store.check([f"{at}/objection"]):
            return store.get(f"{at}/objection").decode()
        waited_s = time.monotonic() - begin
        absent = [] if waited_s < min(speak_s, patience_s) else [
            rank for rank, key in enumerate(keys) if not store.check([key])]
        if absent and waited_s < patience_s:
            print(f"collbench: waiting for {name_ranks(absent)} of {size} since {waited_s:.0f} s", file=sys.stderr,
                  flush=True)
            speak_s *= _SPEAK_LATER
        elif absent:
            return (f"absent: {name_ranks(absent)} of {size} did not come within {patience_s:.0f} s: see what they "
                    "said last, and whether their hosts reach this one")
        time.sleep(_LOOK_S)
    return contradiction([msgspec.json.decode(raw, type=Claim) for raw in store.multi_get(keys)]) or "+"


def contradiction(claims: Sequence[Claim]) -> str | None:
    """Two ranks that would take one device, in words; None when there are none.

    Where devices have no identity, two ranks of a host are told apart by what they see: a single device may be the
    share that a scheduler cut out for a rank, so that it says nothing.
    """
    taken: dict[tuple, Claim] = {}
    for claim in claims:
        if claim.device is None or (claim.identity is None and claim.devices < 2):
            continue
        key = (claim.identity,) if claim.identity else (claim.boot, claim.local_rank, claim.device)
        other = taken.setdefault(key, claim)
        if other is not claim:
            return (f"ranks {other.rank} and {claim.rank} on {claim.host} would both take {claim.device} (local ranks "
                    f"{other.local_rank} and {claim.local_rank}, {claim.devices} device(s) seen): start one rank a "
                    "device, and let the launcher set the local rank")
    return None


def why_apart(place: Place, error: str) -> str:
    """One line for a store that could not be opened, or went away."""
    host, port = place.address or ("this host", 0)
    if "EADDRINUSE" in error:
        return f"port {port} is taken on this host, where rank 0 waits for the others: set MASTER_PORT to a free one"
    first = error.splitlines()[0] if error else "no reason given"
    return (f"rank {place.rank} of {place.size} on {socket.gethostname()} lost or never found rank 0 at {host} "
            f"port {port}: see whether rank 0 runs and that host and port can be reached from here ({first[:160]})")


def name_ranks(ranks: Sequence[int]) -> str:
    """`rank 3`, or `ranks 1-4, 7`: short however many they are."""
    spans: list[list[int]] = []
    for rank in sorted(ranks):
        if spans and rank == spans[-1][1] + 1:
            spans[-1][1] = rank
        else:
            spans.append([rank, rank])
    words = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"rank{'s' if len(ranks) > 1 else ''} {words}"
