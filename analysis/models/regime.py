"""Classes of forecasts that err alike: what was measured, how far away the target is, and what lies between."""

from typing import NamedTuple

from ..cost.levels import one_switch_apart
from ..domains.facts import Domain
from .curve import Curve

__all__ = ["BANDS_BYTES", "BUCKETS", "COUNTS", "REGIMES", "Case", "away_at", "bucket", "counts_class", "is_switched",
           "kind_of", "regime_of"]

COUNTS = (0, 1, 2, 3)             # classes of what was fitted to: one count, of 2 ranks; another one; two; more
BANDS_BYTES = (64 << 10, 4 << 20)       # message sizes that divide the classes; one more class lies beyond the last
BUCKETS = (2.01, 4.01, 8.01)      # upper ends of the distance classes; one more class lies beyond the last
REGIMES = ("switched", "inside", "crossing", "hosts", "tables")


class Case(NamedTuple):
    """The class of a forecast, from the widest group to the narrowest.

    Args:
        counts: of COUNTS.
        bucket: class of the distance.
        regime: of REGIMES.
        kind: family of the library, see `kind_of`.
        op: the operation.
    """

    counts: int
    bucket: int
    regime: str
    kind: str
    op: str

    @property
    def level(self) -> bool:
        """Whether a large message of a collective library travels as at the rank counts measured.

        Inside one switched domain every pair of ranks is one switch apart, however many there are. Kernels made for
        one exchange switch between implementations there, so that they are no such case.
        """
        return self.regime == "switched" and self.kind in ("nccl", "hccl")

    def reach(self, band: int) -> int:
        """Class of the distance as far as it makes the forecast of a message less certain.

        Args:
            band: class of the message size; large ones take the time of moving them.
        """
        return 0 if self.level and band == len(BANDS_BYTES) else self.bucket


def bucket(distance: float) -> int:
    """Class of a distance: up to 2x, 4x, 8x, more."""
    return sum(distance > edge for edge in BUCKETS)


def away_at(bucket_at: int, distance: float) -> float:
    """The distance, but no more than the class `bucket_at` holds."""
    return min(distance, 2.0 ** (bucket_at + 1)) if bucket_at < len(BUCKETS) else distance


def counts_class(counts: int, largest: int) -> int:
    """Class of a fit to `counts` rank counts up to `largest`.

    A pair has a link to itself in one sense only: it neither shares links nor forwards, so it tells less than others.
    """
    return (0 if largest <= 2 else 1) if counts == 1 else min(counts, COUNTS[-1])


def kind_of(library: str | None, op: str) -> str:
    """The family of a communication library, which decides how time grows with the rank count."""
    name = (library or "").lower()
    if op.startswith("moe"):
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
