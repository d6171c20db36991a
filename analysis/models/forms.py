"""Cost models as values: frozen parameters, and the seconds that follow from them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..units import rate, seconds
from .costs import Shape

__all__ = ["AlphaBeta", "Anchored", "CostModel", "PowerLaw"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class AlphaBeta:
    """T = overhead + steps(n) * alpha + bytes(n) * S * beta, after Hockney, for one algorithm shape.

    Args:
        shared: all ranks' bytes go through one medium, such as the memory of a host, so they add up.
    """

    shape: Shape
    overhead_s: float = 0.0
    alpha_s: float = 0.0
    beta_s_per_byte: float = 0.0
    shared: bool = False

    @property
    def algorithm(self) -> str:
        """Name of the shape, and what its bytes share."""
        return f"{self.shape.algorithm}, shared medium" if self.shared else self.shape.algorithm

    def terms(self, ranks: Ints, message_bytes: Ints) -> Floats:
        """[point][3]: what multiplies overhead, alpha and beta."""
        steps = {int(n): float(self.shape.steps(int(n))) for n in np.unique(ranks)}
        share = {n: float(self.shape.factor(n)) * (n if self.shared else 1) for n in steps}
        return np.column_stack([np.ones(len(ranks)), [steps[int(n)] for n in ranks],
                                [share[int(n)] for n in ranks] * message_bytes.astype(float)])

    def with_parameters(self, found: Floats) -> "AlphaBeta":
        """The same shape with overhead, alpha and beta from a fit."""
        return replace(self, overhead_s=float(found[0]), alpha_s=float(found[1]), beta_s_per_byte=float(found[2]))

    def seconds(self, ranks: Ints, message_bytes: Ints) -> Floats:
        """Time of each (ranks, payload) pair."""
        return self.terms(ranks, message_bytes) @ [self.overhead_s, self.alpha_s, self.beta_s_per_byte]

    def describe(self) -> str:
        """Parameters with units."""
        return _text(self.overhead_s, self.beta_s_per_byte, f"alpha {seconds(self.alpha_s)} a step")


@dataclass(frozen=True)
class PowerLaw:
    """T = (overhead + S * beta) * n ** exponent: no algorithm assumed; exponent 0 is the constant model."""

    exponent: float = 0.0
    overhead_s: float = 0.0
    beta_s_per_byte: float = 0.0

    @property
    def algorithm(self) -> str:
        """`constant`, or `power law`: these stand for any algorithm."""
        return "constant" if self.exponent == 0 else "power law"

    def terms(self, ranks: Ints, message_bytes: Ints) -> Floats:
        """[point][2]: what multiplies overhead and beta."""
        return np.column_stack([np.ones(len(ranks)), message_bytes]) * (ranks.astype(float) ** self.exponent)[:, None]

    def with_parameters(self, found: Floats) -> "PowerLaw":
        """The same exponent with overhead and beta from a fit."""
        return replace(self, overhead_s=float(found[0]), beta_s_per_byte=float(found[1]))

    def seconds(self, ranks: Ints, message_bytes: Ints) -> Floats:
        """Time of each (ranks, payload) pair."""
        return self.terms(ranks, message_bytes) @ [self.overhead_s, self.beta_s_per_byte]

    def describe(self) -> str:
        """Parameters with units."""
        return _text(self.overhead_s, self.beta_s_per_byte, f"times ranks^{self.exponent:.2f}")


CostModel = AlphaBeta | PowerLaw


@dataclass(frozen=True)
class Anchored:
    """A cost model whose level is set, size by size, by the largest rank count measured.

    The model says how time changes with ranks; how it changes with size, with its protocol switches and caches,
    the measurement says. Between measured sizes the correction is interpolated in the logarithm of the size.

    Args:
        at_ranks: the rank count that the level comes from.
        log_sizes, log_corrections: [size] ascending; measured over modelled time, as a logarithm.
    """

    model: CostModel
    at_ranks: int
    log_sizes: Floats
    log_corrections: Floats

    def seconds(self, ranks: Ints, message_bytes: Ints) -> Floats:
        """Time of each (ranks, payload) pair."""
        correction = np.interp(np.log1p(message_bytes), self.log_sizes, self.log_corrections)
        return self.model.seconds(ranks, message_bytes) * np.exp(correction)


def _text(overhead_s: float, beta_s_per_byte: float, middle: str) -> str:
    bandwidth = f", {rate(1 / beta_s_per_byte)}" if beta_s_per_byte > 0 else ""
    return f"overhead {seconds(overhead_s)}, {middle}{bandwidth}"
