"""What an operation should take on a domain without measuring it there, and thresholds for the gates of other tools."""

from .expectation import Expectation, expect, expect_from
from .thresholds import FORMATS, thresholds

__all__ = ["FORMATS", "Expectation", "expect", "expect_from", "thresholds"]
