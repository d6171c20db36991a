"""Is my number normal? Each point against a ceiling, published measurements and a baseline, and why it is below."""

from .assess_points import ABOVE, BELOW, COLUMNS, NORMAL, UNKNOWN, WITHIN, assess_points

__all__ = ["ABOVE", "BELOW", "COLUMNS", "NORMAL", "UNKNOWN", "WITHIN", "assess_points"]
