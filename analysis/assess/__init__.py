"""Is my number normal? Each point against a ceiling, published measurements and a baseline, and why it is below."""

from .assess_points import COLUMNS, assess_points
from .verdicts import HIGH, LOW, NO_REFERENCE, NORMAL, VERDICTS

__all__ = ["COLUMNS", "HIGH", "LOW", "NORMAL", "NO_REFERENCE", "VERDICTS", "assess_points"]
