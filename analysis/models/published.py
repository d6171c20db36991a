"""Times beyond a domain that no measurement crossed, from the published cost model of the communication library.

The step time between hosts cannot be seen inside one. The libraries publish theirs; with the rate of the cards they
give the time of a collective over hosts, fitted to nothing.
"""

from typing import NamedTuple

import numpy as np

from collbench.collectives.errors import UsageError

from ..cost.published_steps import fastest
from ..domains.facts import Domain
from .curve import Floats

__all__ = ["Published", "published_times"]

_NETWORK = "infiniband"     # where nothing names the network; the rate of the cards is stated apart
# Log half widths below and above that hold 90 % of the errors of these tables, by message size in bytes: on A100, H100,
# GH200, B300, GB200 and MI355X systems over InfiniBand, RoCE, EFA and Slingshot (benchmarks/published_steps.py). Small
# messages are late, above all where LL does not run as assumed.
_EDGES = (1 << 16, 1 << 20, 1 << 26)
_BELOW = np.array([0.35, 0.35, 0.35, 0.35])
_ABOVE = np.array([0.8, 1.7, 0.8, 0.35])


class Published(NamedTuple):
    """[size] log of time, NaN where the tables have none, and log half widths of its 90 % interval; the assumptions."""

    middle: Floats
    below: Floats
    above: Floats
    words: str


def published_times(op: str, library: str | None, domain: Domain, target: int, sizes: Floats,
                    algorithm: str | None = None) -> Published | None:
    """Times at `target` ranks over several domains; None if no table covers the library, the operation or the cards."""
    family = next((name for name in ("rccl", "nccl") if name in (library or "").lower()), None)
    if family is None or domain.accelerators is None or domain.scaleout_Bps is None:
        return None
    node = int(domain.accelerators.value)
    found, words = np.full(len(sizes), np.nan), ""
    try:
        for at, size in enumerate(sizes.tolist()):
            one = fastest(op, target, node, size, family, domain.generation, _NETWORK, node, domain.scaleout_Bps.value,
                          algorithm=algorithm)
            if one is not None and one.seconds > 0:
                found[at] = np.log(one.seconds)
                words = f"step times and rates between domains are those of {one.facts.source}"
    except UsageError:      # a rank count or an operation that the tables do not have
        return None
    if not np.isfinite(found).any():
        return None
    band = np.searchsorted(_EDGES, sizes, side="right")
    return Published(found, _BELOW[band], _ABOVE[band], words)
