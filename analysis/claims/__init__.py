"""Public claims about 72 and 384 accelerators against what the models and data that ship say about them."""

from .claim import Claim, Figure
from .claims import all_claims

__all__ = ["Claim", "Figure", "all_claims"]
