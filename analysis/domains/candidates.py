"""Which domains a log may come from that does not name its accelerator."""

import re

import pandas as pd

from .facts import Domain

__all__ = ["candidates"]

_NAMELESS = ("not stated", "unknown", "cuda", "npu", "gpu")
_LIBRARIES = (("rccl", "rccl"), ("hccl", "hccl"), ("nccl|mscclpp", "nccl"))     # rccl-tests print NCCL, too
_ROUNDING = 1.02
_REDUCED = 2.0          # with reduction in the switches the bus bandwidth of an all_reduce is up to twice the link rate


def candidates(points: pd.DataFrame, domains: dict[str, Domain]) -> list[str]:
    """Keys of domains with the library of `points`, and links that can carry the bandwidth; the slowest first.

    None where the data name a device, even one that no domain has, or no library of accelerators.
    """
    if points.empty or not {str(name).lower() for name in points["device"].unique()} <= set(_NAMELESS):
        return []
    named = " ".join(str(name).lower() for column in ("library", "transport") for name in points[column].unique())
    library = next((name for pattern, name in _LIBRARIES if re.search(pattern, named)), None)
    if library is None:
        return []
    most_Bps = points["busbw_Bps"].max()
    found = []
    for key, domain in domains.items():
        rate = domain.tiers[-1].rate_Bps if domain.tiers else None
        if rate is None or domain.library != library or not (domain.status or "").startswith("shipping"):
            continue
        bound_Bps = rate.value * (_REDUCED if domain.in_network_reduction and domain.in_network_reduction.value else 1)
        if not most_Bps > _ROUNDING * bound_Bps:
            found.append((rate.value, key))
    return [key for _, key in sorted(found)]
