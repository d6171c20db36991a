"""Is my number normal? Each point against a ceiling, published measurements and a baseline, and why it is below."""

from .judge import ABOVE, BELOW, COLUMNS, NORMAL, UNKNOWN, WITHIN, judge

__all__ = ["ABOVE", "BELOW", "COLUMNS", "NORMAL", "UNKNOWN", "WITHIN", "judge"]
