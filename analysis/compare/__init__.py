"""Two sides, each one run or several repeats: what became slower, what faster, and what cannot be told apart."""

from .sides import Match, Side, match, sides
from .verdict import BAND, Comparison, compare

__all__ = ["BAND", "Comparison", "Match", "Side", "compare", "match", "sides"]
