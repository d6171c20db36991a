"""The shortest time that the links of a domain allow: the bytes that must move over the rate of what carries them.

Two bounds, of which the larger one holds: some rank must send or receive its least share over its own links, and beyond
one domain some domain must send what has to leave it over its cards. Where a measurement shows more than a stated rate
(a faster card, a network that reduces), the measured rate takes its place: no bound contradicts what was measured.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..domains.facts import Domain, Figure
from .operations import least_share, share_between_hosts

__all__ = ["card_time_s", "receive_time_s", "wire_time_s"]

Floats = NDArray[np.float64]


def wire_time_s(op: str, ranks: int, payload: Floats, domain: Domain, seen: list[tuple[int, Floats, Floats]],
                traffic: str | None = None) -> Floats:
    """[size] least time in seconds at `ranks` ranks; 0 where no rate is known.

    Args:
        payload: [size] message sizes in bytes.
        seen: measurements: rank count, [size] message sizes in bytes, [size] seconds; NaN where there is none.
        traffic: traffic pattern of an operation with blocks of uneven size.
    """
    own = _bound_s(_own_share(op, ranks, domain, traffic), payload, _most(domain.tiers[-1].rate_Bps if domain.tiers
                                                                          else None),
                   [_seen_rate(_own_share(op, count, domain, traffic), *times) for count, *times in seen])
    size = int(domain.accelerators.value) if domain.accelerators else None
    if size is None or ranks <= size:
        return own
    out = card_time_s(op, ranks, payload, domain, size,
                      [_seen_rate(share_between_hosts(op, count, size), *times) for count, *times in seen
                       if count > size])
    return np.maximum(own, out)


def card_time_s(op: str, ranks: int, payload: Floats, domain: Domain, group: int,
                seen_Bps: Sequence[float] = ()) -> Floats:
    """[size] least time in seconds in which what must leave a group passes its cards; 0 where no rate is known.

    Args:
        payload: [size] message sizes in bytes.
        group: ranks that share cards: of a host, or of a domain.
        seen_Bps: rates out of a group that were measured.
    """
    card_Bps = _most(domain.scaleout_Bps)
    return _bound_s(share_between_hosts(op, ranks, group), payload, group * card_Bps if card_Bps else None, seen_Bps)


def receive_time_s(least_bytes: Floats, domain: Domain, seen: Sequence[tuple[Floats, Floats]]) -> Floats:
    """[size] least time in seconds in which some rank receives `least_bytes`; 0 where no rate is known.

    Args:
        seen: measurements: [size] least bytes and seconds; NaN where there is none.
    """
    stated = _most(domain.tiers[-1].rate_Bps if domain.tiers else None)
    return _bound_s(1.0, least_bytes, stated, [_seen_rate(1.0, *times) for times in seen])


def _own_share(op: str, ranks: int, domain: Domain, traffic: str | None) -> float:
    reduces = bool(domain.in_network_reduction and domain.in_network_reduction.value)
    return least_share(op, ranks, reduces, traffic)


def _most(figure: Figure | None) -> float | None:
    """The largest rate that any source gives."""
    return max(figure.all_values()) if figure else None


def _seen_rate(share: float | None, payload: Floats, time_s: Floats) -> float:
    """The highest rate of these measurements in bytes/s; 0 if there is none."""
    if not share:
        return 0.0
    with np.errstate(all="ignore"):
        rates = share * payload / time_s
    known = rates[np.isfinite(rates)]
    return float(known.max()) if len(known) else 0.0


def _bound_s(share: float | None, payload: Floats, stated_Bps: float | None, seen_Bps: Sequence[float]) -> Floats:
    if not share or not stated_Bps:
        return np.zeros(len(payload))
    return share * payload / max([stated_Bps, *seen_Bps])
