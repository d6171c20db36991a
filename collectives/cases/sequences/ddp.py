"""Gradients of data-parallel training, reduced bucket by bucket while the backward pass goes on.

As torch's DistributedDataParallel: the first bucket is 1 MiB, so that communication begins early, the others 25 MiB
(`bucket_cap_mb` and `_DEFAULT_FIRST_BUCKET_BYTES` of torch 2.13); all are in flight together.
"""

from ..calls import Call

__all__ = ["AXIS", "PARAMETERS", "TITLE", "calls"]

TITLE = "all-reduce of gradients in buckets; the size is that of all gradients"
AXIS = "dp"
PARAMETERS = {"bucket_mib": 25, "first_mib": 1}
_MIB = 1 << 20


def calls(size: int, ranks: int, bucket_mib: int, first_mib: int) -> list[Call]:
    """One all_reduce for each bucket."""
    first = min(size, first_mib * _MIB)
    whole, rest = divmod(size - first, bucket_mib * _MIB)
    buckets = [(first, 1), (bucket_mib * _MIB, whole), (rest, 1)]
    return [Call("all_reduce", length, count=count, overlap=True) for length, count in buckets if length and count]
