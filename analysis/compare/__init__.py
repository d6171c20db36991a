"""Compare two sides, each one run or several launches: which cases are slower, faster, the same or undecided."""

from .sides import Match, Side, match, sides
from .verdict import BAND, Comparison, compare

__all__ = ["BAND", "Comparison", "Match", "Side", "compare", "match", "sides"]
