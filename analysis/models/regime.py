"""Categories of forecasts with similar errors: what was measured, how far the target is, and what lies between."""

import re
from typing import NamedTuple

from ..cost.levels import one_switch_apart
from ..domains.facts import Domain
from .curve import Curve

__all__ = ["BANDS_BYTES", "BUCKETS", "COUNTS", "REGIMES", "Category", "away_at", "bucket", "counts_class",
           "is_switched", "kind_of", "regime_of"]

COUNTS = (0, 1, 2, 3)             # rank counts fitted: only 2 ranks; one other count; two counts; three or more
BANDS_BYTES = (64 << 10, 4 << 20)       # message sizes that divide the classes; one more class lies beyond the last
BUCKETS = (2.01, 4.01, 8.01)      # upper ends of the distance classes; one more class lies beyond the last
REGIMES = ("switched", "inside", "crossing", "hosts", "tables")


# Libraries that carry out an expert-parallel exchange by their collectives; all others have kernels made for it.
_COLLECTIVE = re.compile(r"(?!nccl ep)(?:gloo|open ?mpi|mpich|mvapich|intel mpi|cray|nccl|rccl|hccl|xccl|loopback)")


class Category(NamedTuple):
    """The category of a forecast. Leaving out fields from the end gives successively wider groups.

    Args:
        counts: one of COUNTS.
        bucket: class of the distance, see `bucket`.
        regime: one of REGIMES.
        kind: family of the library, see `kind_of`.
        op: the operation.
    """

    counts: int
    bucket: int
    regime: str
    kind: str
    op: str

    @property
    def same_path(self) -> bool:
        """Whether a large message takes the same path as at the rank counts measured.

        It does for a collective library inside one switched domain, where every pair of ranks is one switch apart
        however many there are. Kernels made for one exchange change their implementation with the rank count.
        """
        return self.regime == "switched" and self.kind in ("nccl", "hccl")

    def reach(self, band: int) -> int:
        """Class of the distance that counts for the width: 0 for large messages where `same_path` holds, else `bucket`.

        Args:
            band: class of the message size, an index into BANDS_BYTES; one past its end for the largest messages.
        """
        return 0 if self.same_path and band == len(BANDS_BYTES) else self.bucket


def bucket(distance: float) -> int:
    """Class of a distance: up to 2x, 4x, 8x, more."""
    return sum(distance > edge for edge in BUCKETS)


def away_at(bucket_at: int, distance: float) -> float:
    """The distance, but no more than the class `bucket_at` holds."""
    return min(distance, 2.0 ** (bucket_at + 1)) if bucket_at < len(BUCKETS) else distance


def counts_class(counts: int, largest: int) -> int:
    """Class of a fit to `counts` rank counts up to `largest`, one of COUNTS.

    Two ranks neither share links nor forward messages, so a measurement of them alone tells less than any other.
    """
    return (0 if largest <= 2 else 1) if counts == 1 else min(counts, COUNTS[-1])


def kind_of(library: str | None, op: str) -> str:
    """The family of a communication library, which decides how time grows with the rank count."""
    name = (library or "").lower()
    if op.startswith("moe_") and not _COLLECTIVE.match(name):
        return "exchange"
    if "custom" in name:        # all-reduce kernels of serving engines
        return "custom"
    return next((family for family in ("nccl", "rccl", "hccl") if family in name), "mpi").replace("rccl", "nccl")


def is_switched(domain: Domain | None, ranks: int) -> bool:
    """Whether `ranks` ranks lie inside one domain in which every pair is one switch apart."""
    return domain is not None and domain.accelerators is not None and ranks <= domain.accelerators.value \
        and one_switch_apart(domain)


def regime_of(curve: Curve, target: int, crossed: bool, one_node: bool) -> str:
    """Where the target lies relative to the curve that a forecast is fitted to.

    Args:
        crossed: the target lies beyond a level of the machine that no measurement crossed.
        one_node: all ranks of all points were on one node.
    """
    largest = int(curve.counts[-1])
    if curve.switched:
        return "switched"
    if crossed or any(largest <= size < target for size in curve.levels):
        return "crossing"
    return "inside" if one_node or (curve.levels and target <= curve.levels[0]) else "hosts"
