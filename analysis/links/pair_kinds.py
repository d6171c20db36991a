"""Where ranks are, as recorded in a run, and what that means for pairs of ranks."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "Places"]

KINDS = ("same host", "other host of the same domain", "other host", "other domain")
_SAME_HOST, _SAME_DOMAIN, _OTHER_HOST, _OTHER_DOMAIN = range(len(KINDS))
_UNKNOWN = "location unknown"


class Places:
    """Hosts of ranks, and their scale-up domains; empty if the run does not record them."""

    def __init__(self, provenance: Mapping[str, object], ranks: int) -> None:
        self.hosts = _names(provenance.get("hosts"), ranks)
        topology = provenance.get("topology")
        self.domains = _names(topology.get("domains") if isinstance(topology, Mapping) else None, ranks)
        self.kinds: NDArray[np.int64] = np.array([[self._kind(a, b) for b in range(ranks)] for a in range(ranks)])

    def _kind(self, a: int, b: int) -> int:
        if not self.hosts or self.hosts[a] == self.hosts[b]:
            return _SAME_HOST
        if not self.domains or None in (self.domains[a], self.domains[b]):
            return _OTHER_HOST
        return _SAME_DOMAIN if self.domains[a] == self.domains[b] else _OTHER_DOMAIN

    def words(self, a: int, b: int) -> str:
        """`same host` and the like."""
        return KINDS[self.kinds[a, b]] if self.hosts else _UNKNOWN

    def kind_words(self, kind: int) -> str:
        """The same for a number in `kinds`."""
        return KINDS[kind] if self.hosts else _UNKNOWN

    def host_ranks(self, rank: int) -> tuple[int, ...]:
        """All ranks on the host of `rank`; only itself if hosts are unknown."""
        if not self.hosts:
            return (rank,)
        return tuple(other for other, host in enumerate(self.hosts) if host == self.hosts[rank])

    def name(self, rank: int) -> str:
        """`rank 3 (host n1)`."""
        return f"rank {rank} (host {self.hosts[rank]})" if len(set(self.hosts)) > 1 else f"rank {rank}"


def _names(values: object, ranks: int) -> tuple[str, ...]:
    return tuple(values[:ranks]) if isinstance(values, list) and len(values) >= ranks else ()
